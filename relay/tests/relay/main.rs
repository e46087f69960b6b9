//! Replicas that sync through a relay over real sockets on 127.0.0.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod coffees;
mod collections;
mod damage;
#[path = "../support/data.rs"]
mod data;
mod fan_out;
mod heads;
mod hostile;
mod opening;
mod project;
#[allow(dead_code, reason = "what else it can do is for the tests of cuts")]
#[path = "../support/proxy.rs"]
mod proxy;
mod quarantine;
mod raw;
mod reconnect;
mod refused;
mod reports;
mod restore;
mod running;
mod serving;
mod silence;
mod snapshot;
mod sniffer;
mod status;
mod stopping;
mod sync;
