//! Replicas without any network: edits, merges and what survives them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod aside;
mod clocks;
mod collections;
mod edit;
mod evolve;
mod exceptions;
mod golden;
mod heads;
mod long;
mod merge;
mod outside;
mod pair;
mod patches;
mod projection;
mod renamed;
mod reopen;
mod salvage;
mod snapshot;
mod united;
