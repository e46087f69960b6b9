//! See `headwater_fuzz::targets::relay_stream`.
#![no_main]

use headwater_fuzz::targets::{alone, relay_stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(relay_stream, data));
