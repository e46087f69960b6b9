//! The replica store: what one device keeps of its spaces, in one redb file.
//!
//! Reads see the last commit and never wait for a writer. Every write is one [`Commit`]: changes, view rows,
//! outbox and position of a space go in together, so no crash can part them. `commit` says what one is,
//! `encoding` is it as bytes, and `write` takes its steps.

mod commit;
mod encoding;
mod judge;
mod names;
mod snapshot;
mod store;
mod tables;
mod write;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

pub use self::commit::{
    Commit, CommitDurability, CommitError, Committed, EntityWrite, NewChange, Outbox, Step,
};
pub use self::encoding::CommitDecodeError;
pub use self::judge::Judged;
pub use self::snapshot::{Extent, NewSnapshot, StoredEntity, StoredSnapshot, Unfolded, snapshot_is_due};
pub use self::store::ReplicaStore;

use crate::change::{ChangeRecord, PayloadKind, Refusal};
use crate::id::{ChangeHash, CollectionName, DeviceId, EntityId};
use crate::octets;

/// What a replica file gets when it is created. An existing file keeps what it has.
///
/// ```
/// use headwater_storage::{DeviceId, NewReplica};
/// let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 1_700_000_000_000 };
/// # let _ = new;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewReplica {
    /// The permanent id of the device.
    pub device: DeviceId,
    /// The time now, in milliseconds since 1970.
    pub created_ms: u64,
}

/// The place of a change in the outbox. Given out in increasing order, once per replica file. 0 is before the first.
///
/// ```
/// use headwater_storage::OutboxSeq;
/// assert!(OutboxSeq::ZERO < OutboxSeq::new(1));
/// ```
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(transparent)]
pub struct OutboxSeq(#[n(0)] u64);

impl OutboxSeq {
    /// Before the first.
    pub const ZERO: Self = Self(0);

    /// The place with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this place.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for OutboxSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OutboxSeq {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A stored change of an entity that the caller already knows.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct StoredChange {
    /// What `payload` is.
    #[n(0)]
    pub kind: PayloadKind,
    /// The hash of the change.
    #[n(1)]
    pub hash: ChangeHash,
    /// The bytes.
    #[n(2)]
    #[cbor(with = "octets")]
    pub payload: Bytes,
}

impl StoredChange {
    fn into_record(self, entity: EntityId, collection: CollectionName) -> ChangeRecord {
        ChangeRecord { entity, collection, kind: self.kind, hash: self.hash, payload: self.payload }
    }
}

/// How an entity stands towards the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntitySync {
    /// How many of its changes the relay has not acknowledged yet.
    pub waiting: u32,
    /// When a change of it was last acknowledged by the relay, or came from there, in milliseconds since 1970.
    pub synced_ms: Option<u64>,
}

/// A change that waits for the relay's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the outbox.
    pub seq: OutboxSeq,
    /// The change.
    pub record: ChangeRecord,
}

/// Who did not want a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Direction {
    /// It came from the relay, and this replica could not use it.
    #[n(0)]
    FromRelay,
    /// It was made here, and the relay refused it.
    #[n(1)]
    Refused,
    /// The relay's verdict is that everybody leaves it out.
    #[n(2)]
    Quarantined,
    /// It does not load any more. A whole copy from the relay takes its place.
    #[n(3)]
    Damaged,
    /// The feed has an entity with its id in another collection. The change can be made again under a new id.
    #[n(4)]
    OtherCollection,
}

impl Direction {
    fn code(self) -> u8 {
        match self {
            Direction::FromRelay => 0,
            Direction::Refused => 1,
            Direction::Quarantined => 2,
            Direction::Damaged => 3,
            Direction::OtherCollection => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Direction::FromRelay,
            1 => Direction::Refused,
            2 => Direction::Quarantined,
            3 => Direction::Damaged,
            4 => Direction::OtherCollection,
            _ => return None,
        })
    }
}

/// A change that is kept apart, with the reason. Its bytes are never thrown away.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct SetAside {
    /// The change.
    #[n(0)]
    pub record: ChangeRecord,
    /// Who did not want it.
    #[n(1)]
    pub direction: Direction,
    /// Why.
    #[n(2)]
    pub reason: Refusal,
    /// When, in milliseconds since 1970.
    #[n(3)]
    pub time_ms: u64,
}
