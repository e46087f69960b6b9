//! The tokio drivers of both sides on a simulated network: each test runs over many seeds, and a seed chooses the latencies, how
//! many devices there are, and when what breaks. See `seeds` for how to repeat a failure.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod drain;
mod half_open;
mod handshake;
mod impostor;
mod net;
mod seeds;
mod storm;
mod timeouts;
mod world;
