//! Replicas that sync through a relay over real sockets on 127.0.0.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod running;
mod sync;
