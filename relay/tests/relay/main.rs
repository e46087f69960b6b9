//! Replicas that sync through a relay over real sockets on 127.0.0.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod coffees;
mod damage;
#[path = "../support/data.rs"]
mod data;
mod fan_out;
mod hostile;
mod opening;
mod project;
mod quarantine;
mod raw;
mod reconnect;
mod refused;
mod restore;
mod running;
mod serving;
mod snapshot;
mod sniffer;
mod stopping;
mod sync;
