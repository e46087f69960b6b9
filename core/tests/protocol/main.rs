//! The wire format: its document, its limits, and what it does with bytes that nobody should have sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test by panicking")]

mod document;
mod examples;
mod hostile;
mod limits;
mod seal;
