//! Real processes that are killed while they work. Each test keeps its own record of what was acknowledged, outside of what is
//! killed, and compares afterwards. `HEADWATER_KILLS` sets how often each of them kills; the default is 10.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/feed.rs"]
mod feed;
#[path = "../support/kills.rs"]
mod kills;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/process.rs"]
mod process;
mod relay;
mod replica;
