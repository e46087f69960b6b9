//! How often the tests kill, and when.

/// How often each test kills: `HEADWATER_KILLS`, or 10.
pub(crate) fn kills() -> u64 {
    std::env::var("HEADWATER_KILLS").map_or(10, |kills| kills.parse().unwrap())
}

/// A number that differs from round to round and is the same in every run.
pub(crate) fn varied(round: u64, below: u64) -> u64 {
    let mut bits = round.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 31;
    bits.wrapping_mul(0xbf58_476d_1ce4_e5b9) % below
}
