//! Snapshots of entities: verified copies beside the rows, so that a new replica does not have to get every change by itself.
//!
//! The rows stay the log and the truth. A snapshot may be dropped at any time, and a damaged one counts as none.

use redb::{Durability, ReadTransaction, ReadableTable, WriteTransaction};

use super::tables::{self, StoredSnapshot};
use super::{RedbFeed, damage};
use crate::error::StoreError;
use crate::feed::{FeedSnapshot, ReadError};
use crate::file::Written;
use crate::id::{ChangeHash, EntityId, SpaceId};
use crate::layout::{change_key, entity_key};
use crate::position::Seq;

impl RedbFeed {
    /// Keeps a snapshot of an entity, in place of an older one. Says whether it did.
    ///
    /// It does not if the feed does not have the entity up to there, if anything of the entity is in quarantine, if a damaged row
    /// of it was not replaced up to there, or if the snapshot that is there covers as much. Durable with the next append: after a
    /// crash the older one may be there, or none.
    ///
    /// ```
    /// # use headwater_storage::{Append, DeviceId, EntityId, FeedEpoch, InMemoryBackend, NewFeed, RedbFeed, SpaceId};
    /// use headwater_storage::{Bytes, ChangeHash, FeedSnapshot, Seq};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// # let (space, origin) = (SpaceId::from_name("home"), DeviceId::from_bytes([1; 16]));
    /// # let epoch_if_new = FeedEpoch::from_bytes([2; 16]);
    /// # feed.append_all(vec![Append { space, origin, pusher: headwater_storage::Pusher::default(), received_ms: 0, epoch_if_new, entries: vec![] }])?;
    /// let (hash, payload) = (ChangeHash::from_bytes([1; 32]), Bytes::from_static(b"document"));
    /// let snapshot = FeedSnapshot { covers: Seq::new(7), changes: 5, changes_bytes: 900, hash, payload };
    /// assert!(!feed.put_snapshot(space, EntityId::from_bytes([3; 16]), snapshot)?, "the entity is not known");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_snapshot(
        &self,
        space: SpaceId,
        entity: EntityId,
        snapshot: FeedSnapshot,
    ) -> Result<bool, ReadError> {
        let number = self.read(space, |_, state| Ok(state.number))?;
        let value = tables::snapshot_value(&snapshot);
        Ok(self.file.write(Durability::None, |txn| {
            if !may_cover(txn, number, entity, snapshot.covers)? {
                return Ok(Written::Nothing(false));
            }
            let mut snapshots = txn.open_table(tables::SNAPSHOTS)?;
            let key = entity_key(number, entity);
            let covered = snapshots.get(&key)?.and_then(|stored| Some(whole(stored.value())?.covers));
            if covered.is_some_and(|covered| covered >= snapshot.covers) {
                return Ok(Written::Nothing(false));
            }
            snapshots.insert(&key, value.as_slice())?;
            Ok(Written::Commit(true))
        })?)
    }

    /// The snapshot of an entity. `None` if there is none, or if it is damaged.
    pub fn snapshot(&self, space: SpaceId, entity: EntityId) -> Result<Option<FeedSnapshot>, ReadError> {
        self.read(space, |txn, state| {
            let snapshots = txn.open_table(tables::SNAPSHOTS).map_err(StoreError::from)?;
            let stored = snapshots.get(&entity_key(state.number, entity)).map_err(StoreError::from)?;
            Ok(stored.and_then(|stored| whole(stored.value()).map(|stored| stored.snapshot())))
        })
    }

    /// Removes the snapshots of a space whose payloads are damaged. Says how many there were.
    ///
    /// ```
    /// # use headwater_storage::{Append, DeviceId, FeedEpoch, InMemoryBackend, NewFeed, RedbFeed, SpaceId};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// let (space, origin) = (SpaceId::from_name("home"), DeviceId::from_bytes([1; 16]));
    /// let epoch_if_new = FeedEpoch::from_bytes([2; 16]);
    /// feed.append_all(vec![Append { space, origin, pusher: headwater_storage::Pusher::default(), received_ms: 0, epoch_if_new, entries: vec![] }])?;
    /// assert_eq!(feed.drop_damaged_snapshots(space)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_damaged_snapshots(&self, space: SpaceId) -> Result<u64, ReadError> {
        // Reading all payloads takes a while, and must not hold up appends.
        let damaged = self.read(space, |txn, state| Ok(damaged_keys(txn, state.number)?))?;
        if damaged.is_empty() {
            return Ok(0);
        }
        Ok(self.file.write(Durability::None, |txn| {
            let mut snapshots = txn.open_table(tables::SNAPSHOTS)?;
            let mut dropped = 0;
            for key in &damaged {
                let was_replaced = snapshots.get(key)?.is_some_and(|stored| whole(stored.value()).is_some());
                if !was_replaced && snapshots.remove(key)?.is_some() {
                    dropped += 1;
                }
            }
            Ok(Written::Commit(dropped))
        })?)
    }
}

/// Whether one payload can stand for all that an entity has up to `covers`.
fn may_cover(txn: &WriteTransaction, number: u32, entity: EntityId, covers: Seq) -> Result<bool, StoreError> {
    let entities = txn.open_table(tables::ENTITIES)?;
    let state = entities.get(&entity_key(number, entity))?.map(|value| tables::parse_entity(value.value()));
    let is_there = state.transpose()?.is_some_and(|state| covers > Seq::ZERO && covers.get() <= state.last);
    if !is_there || damage::lacks_up_to(txn, number, entity, covers)? {
        return Ok(false);
    }
    let quarantine = txn.open_table(tables::QUARANTINE)?;
    let first = change_key(number, entity, ChangeHash::from_bytes([0; 32]));
    let last = change_key(number, entity, ChangeHash::from_bytes([0xff; 32]));
    Ok(quarantine.range::<&[u8; 52]>(&first..=&last)?.next().transpose()?.is_none())
}

/// A row of `snapshots_v1`, unless it is damaged.
fn whole(value: &[u8]) -> Option<StoredSnapshot<'_>> {
    StoredSnapshot::parse(value).ok().filter(StoredSnapshot::is_whole)
}

fn damaged_keys(txn: &ReadTransaction, number: u32) -> Result<Vec<[u8; 20]>, StoreError> {
    let snapshots = txn.open_table(tables::SNAPSHOTS)?;
    let first = entity_key(number, EntityId::from_bytes([0; 16]));
    let last = entity_key(number, EntityId::from_bytes([0xff; 16]));
    let mut damaged = Vec::new();
    for row in snapshots.range::<&[u8; 20]>(&first..=&last)? {
        let (key, value) = row?;
        if whole(value.value()).is_none() {
            damaged.push(*key.value());
        }
    }
    Ok(damaged)
}
