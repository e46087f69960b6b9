//! samod, Automerge's repository in Rust, as a system of the comparison.
//!
//! `headwater-compare-samod server --port P --directory D` serves; `headwater-compare-samod client` does what stdin says.
//!
//! Defaults of samod that matter, all kept:
//! - All documents of a repository run in one task of the runtime (`ConcurrencyConfig::AsyncRuntime`), so on one core at a time.
//! - Each change becomes a file of its own, until a document has more than ten; then they are written as one. No file is flushed
//!   (`fsync`), and an error of the disk is dropped.
//! - Nothing is throttled or debounced: each edit is sent and stored at once.
//! - The server announces every document to every client (see [`server`]).
//! - Every repository wakes up ten times a second to see whether a dialer wants to retry.
//!
//! Not a default: see [`websocket`] on Nagle's algorithm.

mod client;
mod document;
mod local_store;
mod server;
mod websocket;

use headwater_compare_adapter::{Result, Role, serve};

#[tokio::main]
async fn main() -> Result<()> {
    match Role::from_command_line() {
        Role::Server { port, directory } => server::run(port, &directory).await,
        Role::Client => serve(client::Samod).await,
    }
}
