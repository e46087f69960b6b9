//! See `headwater_fuzz::targets::frame`.
#![no_main]

use headwater_fuzz::targets::{alone, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(frame, data));
