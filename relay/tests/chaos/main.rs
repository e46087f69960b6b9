//! What networks, disks and process tables do to real processes: connections cut at any byte, disks that are full, relay and replica
//! killed at once, a relay that sleeps. Each case says what repeats it when it fails.
//!
//! - `HEADWATER_CUTS`: `all` cuts at every byte, a number at every so many bytes, `client:123:reset` only there.
//! - `HEADWATER_KILLS`: how often relay and replica are killed, and the relay is stopped. The default is 10.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod asleep;
mod cuts;
mod disk_full;
#[path = "../support/feed.rs"]
mod feed;
mod gone;
#[path = "../support/held.rs"]
mod held;
mod killed;
#[path = "../support/kills.rs"]
mod kills;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/process.rs"]
mod process;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/repeated.rs"]
mod repeated;
mod tmpfs;
