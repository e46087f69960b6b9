//! Headwater as a system of the comparison: `headwater-compare-headwater client` does what stdin says. The server is the relay's own
//! binary.
//!
//! A client with a store is a replica in a file, and waits for its disk at every edit. A client without one is a replica in memory,
//! as the other systems' clients are without theirs. The relay always waits for its disk before it confirms or passes on anything.

mod client;
mod document;
mod events;

use headwater_compare_adapter::{Result, Role, serve};

#[tokio::main]
async fn main() -> Result<()> {
    match Role::from_command_line() {
        Role::Server { .. } => Err("the server is headwater-relay".into()),
        Role::Client => serve(client::Headwater).await,
    }
}
