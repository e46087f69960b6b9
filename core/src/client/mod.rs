//! The tokio driver: moves a session's frames over a WebSocket and does what it asks of the replica. It decides nothing about
//! syncing itself; that is [`crate::sync`].

mod connection;
mod driver;
mod error;
mod options;
mod socket;
mod status;
mod transport;

pub use connection::Connection;
pub use error::{ConnectError, SyncError};
pub use options::{ConnectOptions, SyncOptions};
pub use status::{Phase, Progress, Status, SyncReport};
pub use transport::{ByteStream, Opening, Tcp, Transport};

pub use crate::sync::client::Direction;
