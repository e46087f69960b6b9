//! Relays in processes of their own, on a Postgres that is killed, cut off, restored from an older copy and shared.
//!
//! - `HEADWATER_DATABASE_CRASHES`: how often the server dies in each of those tests. The default is 3.
//! - `HEADWATER_DATABASE_CUTS`: at how many bytes the relay is cut off its database, or `all`. The default is 40.
//! - `HEADWATER_DATABASE_SECONDS`: for how long relays come and go. The default is 8; from 30 on there are more replicas.
//! - `HEADWATER_RELAY_LOG`: shows what the relays log, as `RUST_LOG` does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod appends;
mod crashes;
mod cuts;
mod devices;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/feed.rs"]
mod feed;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/held.rs"]
mod held;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/kills.rs"]
mod kills;
mod live;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/process.rs"]
mod process;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/proxy.rs"]
mod proxy;
mod relays;
#[path = "../support/repeated.rs"]
mod repeated;
mod restore;
mod schema;
mod table;
mod tls;

/// A number from the environment.
fn size(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
