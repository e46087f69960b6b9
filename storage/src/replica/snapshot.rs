//! Snapshots: one chunk in place of an entity's first changes, and back.
//!
//! A snapshot is a cache that its maker has loaded back; the changes are the truth. The rows that it stands for go in the
//! transaction that stores it. Those that wait for the relay stay until they are acknowledged: the outbox points at them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::tables::{self, EntityState, Waiting};
use super::write::Writer;
use super::{OutboxSeq, StoredChange};
use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, EntityId};
use crate::layout::{entity_key, ordered_key};
use crate::octets;

const DUE_BYTES_MIN: u64 = 16 * 1024;
const DUE_CHANGES_MIN: u64 = 32;

/// Whether an entity is due for a snapshot: so many changes, with so many bytes, lie behind the one that it has, which has so many
/// bytes (0 for none).
///
/// It is with more than 16 KiB, and more than the snapshot has: what is written for snapshots stays within what is written for
/// changes. And with more than 32 changes: a snapshot of a few large ones saves nobody anything.
///
/// ```
/// use headwater_storage::snapshot_is_due;
/// assert!(snapshot_is_due(100, 20_000, 0));
/// assert!(!snapshot_is_due(100, 20_000, 30_000), "not as much as the snapshot");
/// assert!(!snapshot_is_due(2, 20_000, 0), "only two changes");
/// ```
pub fn snapshot_is_due(changes: u64, changes_bytes: u64, snapshot_bytes: u64) -> bool {
    changes > DUE_CHANGES_MIN && changes_bytes > snapshot_bytes.max(DUE_BYTES_MIN)
}

/// One chunk that stands for the first changes of an entity.
///
/// ```
/// use headwater_storage::{Bytes, ChangeHash, StoredSnapshot};
/// let snapshot = StoredSnapshot {
///     hash: ChangeHash::from_bytes([1; 32]),
///     changes: 500,
///     changes_bytes: 60_000,
///     payload: Bytes::from_static(b"document"),
/// };
/// assert!((snapshot.payload.len() as u64) < snapshot.changes_bytes);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct StoredSnapshot {
    /// The hash of the chunk.
    #[n(0)]
    pub hash: ChangeHash,
    /// How many changes it stands for.
    #[n(1)]
    pub changes: u64,
    /// How many bytes their payloads had.
    #[n(2)]
    pub changes_bytes: u64,
    /// The chunk.
    #[n(3)]
    #[cbor(with = "octets")]
    pub payload: Bytes,
}

/// What is stored of an entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredEntity {
    /// What stands for its first changes.
    pub snapshot: Option<StoredSnapshot>,
    /// The changes behind the snapshot, in the order in which they were stored, which is a causal order.
    pub changes: Vec<StoredChange>,
    /// Which rows these are.
    pub extent: Extent,
}

/// Which rows of an entity a snapshot was made from. It takes their place only if they are still what they were then.
#[derive(Debug, Clone, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Extent {
    /// The number of the first change behind the snapshot.
    #[n(0)]
    from: u32,
    /// The number of the next change.
    #[n(1)]
    to: u32,
    /// How many there are in between.
    #[n(2)]
    rows: u64,
    /// Those of them that wait for the relay. Only read by [`ReplicaStore::foldable`](super::ReplicaStore::foldable).
    #[n(3)]
    waiting: Vec<(OutboxSeq, u32)>,
}

/// A snapshot to store, in place of an older one and of the changes that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct NewSnapshot {
    /// The entity.
    #[n(0)]
    pub entity: EntityId,
    /// Its collection, if it is not here yet.
    #[n(1)]
    pub collection: CollectionName,
    /// What it was made from. The default for one that came from elsewhere, of an entity that is not here yet.
    #[n(2)]
    pub extent: Extent,
    /// The snapshot.
    #[n(3)]
    pub snapshot: StoredSnapshot,
    /// Whether the entity is now in step with the relay, because it came from there.
    #[n(4)]
    pub is_from_relay: bool,
}

/// An entity whose snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Unfolded {
    /// The entity.
    #[n(0)]
    pub entity: EntityId,
    /// All changes that it is to have, in causal order. One that waits for the relay and is not among them leaves the outbox.
    #[n(1)]
    pub changes: Vec<StoredChange>,
}

/// Reads what is stored of an entity.
pub(super) fn read(txn: &ReadTransaction, space: u32, entity: EntityId) -> Result<StoredEntity, StoreError> {
    let key = entity_key(space, entity);
    let Some(state) = state(&txn.open_table(tables::ENTITIES)?, &key)? else {
        return Ok(StoredEntity::default());
    };
    let snapshot = txn.open_table(tables::SNAPSHOTS)?.get(&key)?;
    let snapshot = snapshot.map(|value| tables::parse_snapshot(value.value())).transpose()?;
    let changes = rows(&txn.open_table(tables::CHANGES)?, key, state.base..u32::MAX)?;
    let extent = Extent { from: state.base, to: state.next, rows: changes.len() as u64, waiting: Vec::new() };
    Ok(StoredEntity { snapshot, changes: changes.into_iter().map(|(_, change)| change).collect(), extent })
}

/// As [`read`], with the changes that wait for the relay, for which the outbox is walked.
pub(super) fn read_foldable(
    txn: &ReadTransaction,
    space: u32,
    entity: EntityId,
) -> Result<StoredEntity, StoreError> {
    let mut stored = read(txn, space, entity)?;
    let from = stored.extent.from;
    let state = state(&txn.open_table(tables::ENTITIES)?, &entity_key(space, entity))?;
    if state.is_some_and(|state| state.waiting > 0) {
        let outbox = waiting_of(&txn.open_table(tables::OUTBOX)?, space, entity)?;
        stored.extent.waiting = outbox.into_iter().filter(|(_, number)| *number >= from).collect();
    }
    Ok(stored)
}

/// Every row of an entity, whether a snapshot stands for it or not.
pub(super) fn loose(
    txn: &ReadTransaction,
    space: u32,
    entity: EntityId,
) -> Result<Vec<StoredChange>, StoreError> {
    let rows = rows(&txn.open_table(tables::CHANGES)?, entity_key(space, entity), 0..u32::MAX)?;
    Ok(rows.into_iter().map(|(_, change)| change).collect())
}

impl Writer<'_> {
    /// Stores a snapshot, unless its entity's rows have changed since. Says whether it did.
    pub(super) fn fold(&mut self, txn: &WriteTransaction, new: &NewSnapshot) -> Result<bool, StoreError> {
        let NewSnapshot { entity, collection, extent, snapshot, is_from_relay } = new;
        let number = self.number();
        let key = entity_key(number, *entity);
        let mut entities = txn.open_table(tables::ENTITIES)?;
        let mut changes = txn.open_table(tables::CHANGES)?;
        let mut state = match state(&entities, &key)? {
            Some(state) => state,
            None => EntityState::new(self.collection(collection)?),
        };
        let replaced = rows(&changes, key, extent.from..extent.to)?;
        if state.base != extent.from || state.next < extent.to || replaced.len() as u64 != extent.rows {
            return Ok(false);
        }
        let outbox = txn.open_table(tables::OUTBOX)?;
        let mut waiting = HashSet::with_capacity(extent.waiting.len());
        for (seq, at) in &extent.waiting {
            if outbox.get(&ordered_key(number, seq.get()))?.is_some() {
                waiting.insert(*at);
            }
        }
        let mut left_bytes = state.tail_bytes;
        for (at, change) in replaced {
            left_bytes = left_bytes.saturating_sub(change.payload.len() as u64);
            if !waiting.contains(&at) || cfg!(bug = "snapshot-eats-the-outbox") {
                changes.remove(&tables::numbered_key(key, at))?;
            }
        }
        if *is_from_relay {
            state.synced_ms = self.now_ms();
        }
        state.base = extent.to;
        state.tail_bytes = left_bytes;
        state.snapshot_bytes = snapshot.payload.len() as u64;
        entities.insert(&key, &state.value())?;
        let value = tables::snapshot_value(snapshot);
        txn.open_table(tables::SNAPSHOTS)?.insert(&key, value.as_slice())?;
        Ok(true)
    }

    /// Takes an entity's snapshot away and gives it these changes.
    pub(super) fn unfold(&mut self, txn: &WriteTransaction, unfolded: &Unfolded) -> Result<(), StoreError> {
        let number = self.number();
        let key = entity_key(number, unfolded.entity);
        let mut entities = txn.open_table(tables::ENTITIES)?;
        let mut changes = txn.open_table(tables::CHANGES)?;
        let mut outbox = txn.open_table(tables::OUTBOX)?;
        let Some(mut state) = state(&entities, &key)? else { return Ok(()) };
        txn.open_table(tables::SNAPSHOTS)?.remove(&key)?;
        let mut hashes = HashMap::new();
        for (at, change) in rows(&changes, key, 0..u32::MAX)? {
            hashes.insert(at, change.hash);
            changes.remove(&tables::numbered_key(key, at))?;
        }
        let mut numbers = HashMap::with_capacity(unfolded.changes.len());
        (state.base, state.next, state.tail_bytes, state.snapshot_bytes) = (0, 0, 0, 0);
        for change in &unfolded.changes {
            let value = tables::change_value(change.kind, change.hash, &change.payload);
            changes.insert(&tables::numbered_key(key, state.next), value.as_slice())?;
            numbers.insert(change.hash, state.next);
            state.tail_bytes = state.tail_bytes.saturating_add(change.payload.len() as u64);
            state.next = state.next.checked_add(1).ok_or(StoreError::Exhausted)?;
        }
        if state.waiting > 0 {
            for (seq, at) in waiting_of(&outbox, number, unfolded.entity)? {
                let place = ordered_key(number, seq.get());
                let now_at = hashes.get(&at).and_then(|hash| numbers.get(hash));
                let row = outbox.remove(&place)?.map(|value| Waiting::parse(value.value())).transpose()?;
                if let (Some(row), Some(now_at)) = (row, now_at) {
                    outbox.insert(&place, &Waiting { number: *now_at, ..row }.value())?;
                } else {
                    state.waiting = state.waiting.saturating_sub(1);
                    self.left_outbox(1);
                }
            }
        }
        entities.insert(&key, &state.value())?;
        Ok(())
    }
}

fn state(
    entities: &impl ReadableTable<&'static [u8; 20], &'static [u8; 40]>,
    key: &[u8; 20],
) -> Result<Option<EntityState>, StoreError> {
    entities.get(key)?.map(|value| EntityState::parse(value.value())).transpose()
}

fn rows(
    changes: &impl ReadableTable<&'static [u8; 24], &'static [u8]>,
    key: [u8; 20],
    numbers: std::ops::Range<u32>,
) -> Result<Vec<(u32, StoredChange)>, StoreError> {
    let (from, to) = (tables::numbered_key(key, numbers.start), tables::numbered_key(key, numbers.end));
    changes
        .range::<&[u8; 24]>(&from..&to)?
        .map(|row| {
            let (at, value) = row?;
            Ok((tables::number_of(at.value()), tables::parse_change(value.value())?))
        })
        .collect()
}

/// The places in the outbox of an entity's changes, and the numbers of those. Walks the whole outbox of the space.
fn waiting_of(
    outbox: &impl ReadableTable<&'static [u8; 12], &'static [u8; 24]>,
    space: u32,
    entity: EntityId,
) -> Result<Vec<(OutboxSeq, u32)>, StoreError> {
    let (from, to) = (ordered_key(space, 1), ordered_key(space, u64::MAX));
    let mut found = Vec::new();
    for row in outbox.range::<&[u8; 12]>(&from..=&to)? {
        let (place, value) = row?;
        let waiting = Waiting::parse(value.value())?;
        if waiting.entity == entity {
            found.push((super::store::outbox_seq(place.value()), waiting.number));
        }
    }
    Ok(found)
}
