//! The baselines: the same bytes through redb and WebSocket alone.

mod broadcast;
mod file;
mod group;
mod socket;

pub use broadcast::serve_broadcast;
pub use file::{Flush, Log, ReplicaFile, StoredEntity, UpdateBytes, entity_key, open_only};
pub use group::serve_group_commit;
pub use socket::{Socket, connect, serve_echo, serve_frames};
