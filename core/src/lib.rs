//! Headwater keeps an app's data in a local file and merges it, field by field, with other devices and people.
//!
//! An edit travels through the modules in this order:
//!
//! 1. [`model`]: an app's struct becomes a [`Value`], and back.
//! 2. [`document`]: the difference between two values becomes one Automerge change; incoming changes are checked and applied.
//! 3. [`replica`]: one redb transaction stores the change, the row that reads see, and the outbox entry.
//! 4. [`sync`]: a session without sockets or clocks decides which frame goes out next, on both sides.
//! 5. [`wire`]: a frame becomes bytes, and back.
//! 6. [`client`]: a thin tokio driver moves those bytes over a WebSocket (feature `client`, on by default).
//!
//! ```
//! use headwater::{Replica, Text};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct CoffeeBag {
//!     name: String,
//!     rating: f64,
//!     notes: Text,
//! }
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("journal.headwater");
//! let replica = Replica::open(path)?;
//! let bags = replica.space("home").collection::<CoffeeBag>("coffee_bags")?;
//! let id = bags.insert(&CoffeeBag { name: "Guji".into(), rating: 4.0, notes: "juicy".into() })?.id;
//! bags.update(id, |bag| bag.rating = 4.5)?;
//! assert_eq!(bags.get(id)?.map(|bag| bag.rating), Some(4.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "client")]
pub mod client;
pub mod document;
pub mod ingest;
pub mod model;
pub mod replica;
pub mod sync;
pub mod wire;

// What an app writes with is here, and so is every type that a signature of those names.
#[cfg(feature = "client")]
pub use client::{
    ByteStream, ConnectError, ConnectOptions, Connection, Opening, Phase, Progress, Status, SyncError,
    SyncOptions, SyncReport, Tcp, Transport,
};
pub use document::{EntityMeta, ViewError, WriteError};
pub use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, CommitError, DeviceId, EntityId, NameError, OpenError,
    ParseIdError, PayloadKind, Refusal, SetAside, SpaceId, StorageBackend, StoreError,
};
pub use ingest::IngestError;
pub use model::{
    Counter, DecodeError, EncodeError, IdField, KeyField, Keyed, Map, Splice, Text, Timestamp, Value,
};
pub use replica::{
    AsideCause, Collection, DynamicCollection, EditError, EntitySync, Environment, Listed, Misfit, Missed,
    Notice, Notices, Origin, Patch, PatchKind, Patches, ReadError, ReapplyError, Receipt, ReceiptError,
    Record, Replica, Space, SpaceRef, StillOpen, TakeBackError, Verified, Withdrawn, Written,
};
pub use sync::Backoff;
pub use sync::client::Direction;
pub use wire::{ErrorCode, Limits};

/// Runs the examples of the project's README.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../../README.md")]
struct Readme;
