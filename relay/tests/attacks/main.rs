//! Every measured attack, sent to a running relay and to a running replica, while others work on the same entity.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../support/process.rs"]
mod process;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "../relay/raw.rs"]
mod raw;
mod relay;
mod replica;
mod running;
