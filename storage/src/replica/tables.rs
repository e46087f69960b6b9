//! The tables of a replica's file, and the layouts of their keys and values.
//!
//! Spaces and collections get short numbers, from 1 up, so that the keys of the large tables stay short. All numbers are
//! big-endian.

use bytes::Bytes;
use redb::{TableDefinition, WriteTransaction};

use crate::change::PayloadKind;
use crate::change::Refusal;
use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, EntityId, FeedEpoch};
use crate::layout::{Fields, put_name};
use crate::meta::META;
use crate::position::{ChainHash, Position, Seq, Watermark};
use crate::replica::snapshot::StoredSnapshot;
use crate::replica::{Direction, SetAside, StoredChange};
use crate::{ChangeRecord, DeviceId};

// spaces_v1: the spaces of this replica, and how far each one has come.
//   key:   space 16
//   value: space number u32 | flags u8 (1: a watermark follows, 2: a cursor follows)
//          | epoch 16, seq u64, chain 32 (if flagged) | cursor, to the end (if flagged)
pub(super) const SPACES: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("spaces_v1");

// collections_v1: the collections of each space.
//   key:   space number u32 | name, to the end
//   value: collection number u32 | number of rows u64
pub(super) const COLLECTIONS: TableDefinition<&[u8], &[u8; 12]> = TableDefinition::new("collections_v1");

// rows_v1: the view row of every entity that has one.
//   key:   collection number u32 | entity 16
//   value: the row's bytes, which mean nothing to the store
pub(super) const ROWS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("rows_v1");

// entities_v1: where an entity is, the number of its next change, and how it stands towards the relay.
//   key:   space number u32 | entity 16
//   value: collection number u32 | next change number u32 | number of its changes in the outbox u32
//          | when a change of it was last acknowledged or came in u64, milliseconds since 1970, 0 for never
//          | number of the first change behind its snapshot u32 | bytes of payloads from there on u64
//          | bytes of the snapshot u64, 0 for none
pub(super) const ENTITIES: TableDefinition<&[u8; 20], &[u8; 40]> = TableDefinition::new("entities_v1");

// changes_v1: every change, in the order in which this replica stored it, which is a causal order.
//   key:   space number u32 | entity 16 | change number u32
//   value: kind u8 | hash 32 | payload, to the end
pub(super) const CHANGES: TableDefinition<&[u8; 24], &[u8]> = TableDefinition::new("changes_v1");

// snapshots_v1: what stands for an entity's changes up to the number in entities_v1. Of their rows, only those that wait for the
// relay are still there.
//   key:   space number u32 | entity 16
//   value: hash of the chunk 32 | how many changes it stands for u64 | bytes of their payloads u64 | chunk, to the end
pub(super) const SNAPSHOTS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("snapshots_v1");

// outbox_v1: the changes that the relay has not acknowledged yet.
//   key:   space number u32 | outbox seq u64
//   value: entity 16 | change number u32 | collection number u32
// The key (space, 0) holds how many of the space's changes wait (u64), then zeros, so that opening does not count them.
// The key (0, 0) holds the counter instead: the last outbox seq given out (u64), then zeros. It is here and not in
// meta_v1 so that a local write touches one table less.
pub(super) const OUTBOX: TableDefinition<&[u8; 12], &[u8; 24]> = TableDefinition::new("outbox_v1");
pub(super) const OUTBOX_COUNTER: [u8; 12] = [0; 12];

// set_aside_v1: changes that could not be used, each with its reason.
//   key:   space number u32 | entity 16 | hash 32
//   value: direction u8 (0 from the relay, 1 refused by the relay, 2 in quarantine, 3 damaged, 4 in another collection)
//          | reason code u16 | time u64, milliseconds since 1970
//          | kind u8 | name length u8, collection name | reason length u32, reason text | payload, to the end
pub(super) const SET_ASIDE: TableDefinition<&[u8; 52], &[u8]> = TableDefinition::new("set_aside_v1");

pub(super) const DEVICE: &str = "device";

/// Makes all tables, so that no reader has to deal with a missing one.
pub(super) fn create(txn: &WriteTransaction, device: DeviceId) -> Result<(), StoreError> {
    txn.open_table(META)?.insert(DEVICE, device.as_bytes().as_slice())?;
    txn.open_table(SPACES)?;
    txn.open_table(COLLECTIONS)?;
    txn.open_table(ROWS)?;
    txn.open_table(ENTITIES)?;
    txn.open_table(CHANGES)?;
    txn.open_table(SNAPSHOTS)?;
    txn.open_table(OUTBOX)?;
    txn.open_table(SET_ASIDE)?;
    Ok(())
}

pub(super) fn space_value(number: u32, position: &Position) -> Vec<u8> {
    let flags = u8::from(position.watermark.is_some()) | u8::from(position.cursor.is_some()) << 1;
    let mut value = number.to_be_bytes().to_vec();
    value.push(flags);
    if let Some(watermark) = &position.watermark {
        value.extend_from_slice(watermark.epoch.as_bytes());
        value.extend_from_slice(&watermark.seq.get().to_be_bytes());
        value.extend_from_slice(watermark.chain.as_bytes());
    }
    value.extend_from_slice(position.cursor.as_deref().unwrap_or_default());
    value
}

pub(super) fn parse_space(value: &[u8]) -> Result<(u32, Position), StoreError> {
    let mut fields = Fields::new("spaces_v1", value);
    let number = fields.u32()?;
    let flags = fields.u8()?;
    let watermark = match flags & 1 {
        0 => None,
        _ => Some(Watermark {
            epoch: FeedEpoch::from_bytes(fields.array()?),
            seq: Seq::new(fields.u64()?),
            chain: ChainHash::from_bytes(fields.array()?),
        }),
    };
    let cursor = (flags & 2 != 0).then(|| Bytes::copy_from_slice(fields.rest()));
    Ok((number, Position { watermark, cursor }))
}

pub(super) fn collection_key(space: u32, name: &CollectionName) -> Vec<u8> {
    let mut key = space.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

pub(super) fn parse_collection_key(key: &[u8]) -> Result<(u32, CollectionName), StoreError> {
    let mut fields = Fields::new("collections_v1", key);
    let space = fields.u32()?;
    let damaged = fields.damaged();
    let text = std::str::from_utf8(fields.rest()).map_err(|_| damaged.clone())?;
    Ok((space, CollectionName::new(text).map_err(|_| damaged)?))
}

pub(super) fn collection_value(number: u32, rows: u64) -> [u8; 12] {
    let mut value = [0; 12];
    value[..4].copy_from_slice(&number.to_be_bytes());
    value[4..].copy_from_slice(&rows.to_be_bytes());
    value
}

pub(super) fn parse_collection(value: &[u8; 12]) -> Result<(u32, u64), StoreError> {
    let mut fields = Fields::new("collections_v1", value);
    Ok((fields.u32()?, fields.u64()?))
}

/// Where an entity is, and how it stands towards the relay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct EntityState {
    pub(super) collection: u32,
    pub(super) next: u32,
    pub(super) waiting: u32,
    pub(super) synced_ms: u64,
    pub(super) base: u32,
    pub(super) tail_bytes: u64,
    pub(super) snapshot_bytes: u64,
}

impl EntityState {
    pub(super) fn new(collection: u32) -> Self {
        Self { collection, next: 0, waiting: 0, synced_ms: 0, base: 0, tail_bytes: 0, snapshot_bytes: 0 }
    }

    pub(super) fn value(self) -> [u8; 40] {
        let mut value = [0; 40];
        value[..4].copy_from_slice(&self.collection.to_be_bytes());
        value[4..8].copy_from_slice(&self.next.to_be_bytes());
        value[8..12].copy_from_slice(&self.waiting.to_be_bytes());
        value[12..20].copy_from_slice(&self.synced_ms.to_be_bytes());
        value[20..24].copy_from_slice(&self.base.to_be_bytes());
        value[24..32].copy_from_slice(&self.tail_bytes.to_be_bytes());
        value[32..].copy_from_slice(&self.snapshot_bytes.to_be_bytes());
        value
    }

    pub(super) fn parse(value: &[u8; 40]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("entities_v1", value);
        Ok(Self {
            collection: fields.u32()?,
            next: fields.u32()?,
            waiting: fields.u32()?,
            synced_ms: fields.u64()?,
            base: fields.u32()?,
            tail_bytes: fields.u64()?,
            snapshot_bytes: fields.u64()?,
        })
    }
}

pub(super) fn numbered_key(entity_key: [u8; 20], number: u32) -> [u8; 24] {
    let mut key = [0; 24];
    key[..20].copy_from_slice(&entity_key);
    key[20..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn number_of(key: &[u8; 24]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&key[20..]);
    u32::from_be_bytes(number)
}

pub(super) fn change_value(kind: PayloadKind, hash: ChangeHash, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(33 + payload.len());
    value.push(kind.code());
    value.extend_from_slice(hash.as_bytes());
    value.extend_from_slice(payload);
    value
}

pub(super) fn parse_change(value: &[u8]) -> Result<StoredChange, StoreError> {
    let mut fields = Fields::new("changes_v1", value);
    // A code that nobody knows is a damaged one: the change behind it may be whole.
    let kind = PayloadKind::from_code(fields.u8()?).unwrap_or(PayloadKind::Snapshot);
    let hash = ChangeHash::from_bytes(fields.array()?);
    Ok(StoredChange { kind, hash, payload: Bytes::copy_from_slice(fields.rest()) })
}

pub(super) fn snapshot_value(snapshot: &StoredSnapshot) -> Vec<u8> {
    let mut value = Vec::with_capacity(48 + snapshot.payload.len());
    value.extend_from_slice(snapshot.hash.as_bytes());
    value.extend_from_slice(&snapshot.changes.to_be_bytes());
    value.extend_from_slice(&snapshot.changes_bytes.to_be_bytes());
    value.extend_from_slice(&snapshot.payload);
    value
}

pub(super) fn parse_snapshot(value: &[u8]) -> Result<StoredSnapshot, StoreError> {
    let mut fields = Fields::new("snapshots_v1", value);
    Ok(StoredSnapshot {
        hash: ChangeHash::from_bytes(fields.array()?),
        changes: fields.u64()?,
        changes_bytes: fields.u64()?,
        payload: Bytes::copy_from_slice(fields.rest()),
    })
}

/// An outbox row: which change waits.
pub(super) struct Waiting {
    pub(super) entity: EntityId,
    pub(super) number: u32,
    pub(super) collection: u32,
}

impl Waiting {
    pub(super) fn value(&self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..16].copy_from_slice(self.entity.as_bytes());
        value[16..20].copy_from_slice(&self.number.to_be_bytes());
        value[20..].copy_from_slice(&self.collection.to_be_bytes());
        value
    }

    pub(super) fn parse(value: &[u8; 24]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("outbox_v1", value);
        Ok(Self {
            entity: EntityId::from_bytes(fields.array()?),
            number: fields.u32()?,
            collection: fields.u32()?,
        })
    }
}

pub(super) fn counter_value(last: u64) -> [u8; 24] {
    let mut value = [0; 24];
    value[..8].copy_from_slice(&last.to_be_bytes());
    value
}

pub(super) fn parse_counter(value: &[u8; 24]) -> Result<u64, StoreError> {
    Fields::new("outbox_v1", value).u64()
}

pub(super) fn set_aside_value(row: &SetAside) -> Vec<u8> {
    let record = &row.record;
    let mut value = Vec::with_capacity(64 + row.reason.message.len() + record.payload.len());
    value.push(row.direction.code());
    value.extend_from_slice(&row.reason.code.to_be_bytes());
    value.extend_from_slice(&row.time_ms.to_be_bytes());
    value.push(record.kind.code());
    put_name(&mut value, &record.collection);
    let message = row.reason.message.as_bytes();
    // A message never comes near 4 GiB; if it did, what does not fit its length field is left out.
    let len = u32::try_from(message.len()).unwrap_or(0);
    value.extend_from_slice(&len.to_be_bytes());
    value.extend_from_slice(&message[..len as usize]);
    value.extend_from_slice(&record.payload);
    value
}

pub(super) fn parse_set_aside(key: &[u8; 52], value: &[u8]) -> Result<SetAside, StoreError> {
    let mut key = Fields::new("set_aside_v1", key);
    key.u32()?;
    let entity = EntityId::from_bytes(key.array()?);
    let hash = ChangeHash::from_bytes(key.array()?);
    let mut fields = Fields::new("set_aside_v1", value);
    let direction = Direction::from_code(fields.u8()?).ok_or_else(|| fields.damaged())?;
    let code = fields.u16()?;
    let time_ms = fields.u64()?;
    let kind = PayloadKind::from_code(fields.u8()?).map_err(|_| fields.damaged())?;
    let collection = fields.name()?;
    let len = usize::try_from(fields.u32()?).map_err(|_| fields.damaged())?;
    let message = String::from_utf8_lossy(fields.take(len)?).into_owned();
    let payload = Bytes::copy_from_slice(fields.rest());
    Ok(SetAside {
        record: ChangeRecord { entity, collection, kind, hash, payload },
        direction,
        reason: Refusal { code, message },
        time_ms,
    })
}
