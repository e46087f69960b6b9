//! The baselines: the same bytes through redb and WebSocket alone.

mod file;
mod socket;

pub use file::{Flush, Log, ReplicaFile, StoredEntity, UpdateBytes, entity_key, open_only};
pub use socket::{Socket, connect, serve_echo, serve_frames};
