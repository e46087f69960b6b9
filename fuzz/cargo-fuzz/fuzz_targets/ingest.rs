//! See `headwater_fuzz::targets::ingest`.
#![no_main]

use headwater_fuzz::targets::{alone, ingest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| alone(ingest, data));
