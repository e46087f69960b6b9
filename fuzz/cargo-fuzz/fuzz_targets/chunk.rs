//! See `headwater_fuzz::targets::chunk`.
#![no_main]

use headwater_fuzz::targets::{alone, chunk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(chunk, data));
