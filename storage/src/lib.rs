//! What survives a restart: ids, bytes and sequences. This crate does not know Automerge; a payload is bytes to it.
//!
//! - [`ReplicaStore`] is what a device keeps: changes, view rows, the outbox and its position in each feed. Every write is one
//!   [`Commit`], which is stored whole or not at all.
//! - [`FeedStore`] is what a relay keeps: the ordered log of each space. [`Appended`] is the receipt that an acknowledgement is
//!   made from. [`RedbFeed`] is the same on one redb file, with blocking calls.
//!
//! Time and ids are always arguments. A file that is not ours, or is newer than this crate, is refused and left as it is
//! ([`OpenError`]). After an I/O error a store answers nothing more until it is opened again ([`StoreError::Poisoned`]); a feed
//! does that by itself if there was merely no room, or its file was away ([`StoreError::Gone`]).
//!
//! Read on in this order: `id`, `position` and `change` are the words; `meta` and `file` open; `replica` and `feed` are the two stores.

mod change;
mod create;
mod error;
mod feed;
mod file;
mod held;
mod id;
mod layout;
mod meta;
mod named;
mod octets;
mod position;
mod replica;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use bytes::Bytes;
pub use change::{ChangeRecord, PayloadKind, Refusal, UnknownPayloadKind};
pub use error::StoreError;
#[cfg(any(test, feature = "conformance"))]
pub use feed::conformance;
#[cfg(feature = "postgres")]
pub use feed::postgres::sql;
pub use feed::{
    Append, AppendError, Appended, CursorError, DamagedRow, EntityHeads, EntityPage, FeedEntry, FeedRow,
    FeedSnapshot, FeedStore, Judgement, NewFeed, Numbers, Page, PageLimit, Placement, ProjectedEntity,
    Pusher, Quarantined, ReadError, RedbFeed, RedbStore, Standing, Walked, WriterLimits, cursor_beyond,
};
#[cfg(feature = "postgres")]
pub use feed::{DatabaseError, PostgresFeed, PostgresOptions, Wake, Wakes};
pub use id::{ChangeHash, CollectionName, DeviceId, EntityId, FeedEpoch, NameError, ParseIdError, SpaceId};
pub use meta::OpenError;
pub use position::{ChainHash, Position, Seq, Watermark};
pub use redb::StorageBackend;
pub use redb::backends::InMemoryBackend;
pub use replica::{
    Commit, CommitDecodeError, CommitDurability, CommitError, Committed, Direction, EntitySync, EntityWrite,
    Extent, Judged, NewChange, NewReplica, NewSnapshot, Outbox, OutboxEntry, OutboxSeq, ReplicaStore,
    SetAside, Step, StoredChange, StoredEntity, StoredSnapshot, Unfolded, snapshot_is_due,
};
