//! The session of both sides, one behaviour per file, on virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test by panicking")]

mod catch_up;
mod closing;
mod damage;
mod heartbeat;
mod live;
mod pair;
mod push;
mod reconcile;
mod records;
mod replica;
mod resume;
mod schedules;
mod window;
