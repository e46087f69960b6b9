//! See `headwater_fuzz::targets::nested`.
#![no_main]

use headwater_fuzz::targets::{alone, nested};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(nested, data));
