//! See `headwater_fuzz::targets::intent`.
#![no_main]

use headwater_fuzz::targets::{alone, intent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(intent, data));
