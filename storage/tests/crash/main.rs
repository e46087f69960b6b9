//! Both stores on a disk that crashes or fails at every operation: what was acknowledged is there afterwards, whole.
//!
//! `HEADWATER_CRASHES=N` adds N random scripts, crashes and faults; `HEADWATER_CRASH_SEED` is the first seed. A failure
//! prints the command that replays it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod feed;
mod replica;
mod run;

use self::feed::Feed;
use self::replica::Replica;

/// Would lose a local edit that the user was told is saved, or show half of one.
#[test]
fn a_replica_survives_a_crash_at_every_operation() {
    run::crashes::<Replica>("a_replica_survives_a_crash_at_every_operation");
}

/// Would go on over a disk in an unknown state after an error, and lose what was acknowledged before or after it.
#[test]
fn a_replica_survives_a_fault_at_every_operation() {
    run::faults::<Replica>("a_replica_survives_a_fault_at_every_operation");
}

/// Would lose a change that the relay has acknowledged, or give its seq to another one.
#[test]
fn a_feed_survives_a_crash_at_every_operation() {
    run::crashes::<Feed>("a_feed_survives_a_crash_at_every_operation");
}

/// Would acknowledge pushes that a full or failing disk never kept.
#[test]
fn a_feed_survives_a_fault_at_every_operation() {
    run::faults::<Feed>("a_feed_survives_a_fault_at_every_operation");
}
