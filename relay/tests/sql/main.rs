//! Entities in SQL, from end to end: a real Postgres with psql on one side, replicas on the other, relays between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(unix)]

mod audit;
mod bed;
mod intents;
mod projection;
mod values;
mod write_back;
