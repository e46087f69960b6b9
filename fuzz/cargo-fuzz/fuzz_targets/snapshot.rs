//! See `headwater_fuzz::targets::snapshot`.
#![no_main]

use headwater_fuzz::targets::{alone, snapshot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(snapshot, data));
