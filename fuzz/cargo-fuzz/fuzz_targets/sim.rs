//! See `headwater_fuzz::targets::sim`.
#![no_main]

use headwater_fuzz::targets::{alone, sim};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(sim, data));
