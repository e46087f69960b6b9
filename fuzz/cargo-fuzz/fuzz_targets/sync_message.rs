//! See `headwater_fuzz::targets::sync_message`.
#![no_main]

use headwater_fuzz::targets::{alone, sync_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(sync_message, data));
