//! A disk that crashes and fails on command, for the tests of whatever stands on a store.
//!
//! [`SimulatedDisk`] is what a store is opened on. [`Replay`] walks through what was written to it once more and gives the
//! image that a crash at any of those operations would have left, so that one run is enough for all of them. [`Postgres`] is a
//! real server.

mod disk;
mod image;
mod pages;
#[cfg(unix)]
mod postgres;

pub use self::disk::{Fault, Operation, SimulatedDisk};
pub use self::image::{CrashMode, Dice, Replay};
#[cfg(unix)]
pub use self::postgres::{Postgres, URL_VARIABLE};
