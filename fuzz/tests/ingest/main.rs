//! What ingest lets in and what not, from every generator of hostile and of honest changes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its tally"
)]

mod attacks;
mod honest;
mod limits;
mod mutants;
mod snapshots;
