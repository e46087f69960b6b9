//! Real processes that are killed while they work. Each test keeps its own record of what was acknowledged, outside of what is
//! killed, and compares afterwards. `HEADWATER_KILLS` sets how often each of them kills; the default is 10.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/process.rs"]
mod process;
mod relay;
mod replica;

fn kills() -> u64 {
    std::env::var("HEADWATER_KILLS").map_or(10, |kills| kills.parse().unwrap())
}

/// A number that differs from round to round and is the same in every run.
fn varied(round: u64, below: u64) -> u64 {
    let mut bits = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 31;
    bits.wrapping_mul(0xbf58_476d_1ce4_e5b9) % below
}
