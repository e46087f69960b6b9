//! See `headwater_fuzz::targets::convergence`.
#![no_main]

use headwater_fuzz::targets::{alone, convergence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(convergence, data));
