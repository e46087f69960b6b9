//! See `headwater_fuzz::targets::json`.
#![no_main]

use headwater_fuzz::targets::{alone, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(json, data));
