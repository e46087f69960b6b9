//! What the work behind the feed needs: which entities have changed, how far it has come, and what is in quarantine.

use std::ops::Bound;

use redb::Durability;

use super::{RedbFeed, find_entity, tables};
use crate::error::StoreError;
use crate::feed::{EntityHeads, Quarantined, ReadError};
use crate::file::Written;
use crate::id::{ChangeHash, EntityId, SpaceId};
use crate::layout::{change_key, ordered_key};
use crate::position::Seq;

impl RedbFeed {
    /// At most `limit` entities whose last change or verdict comes after `after`, in the order of those, with their seqs.
    ///
    /// ```
    /// # use headwater_storage::{Append, DeviceId, FeedEpoch, InMemoryBackend, NewFeed, RedbFeed, Seq, SpaceId};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// let (space, origin) = (SpaceId::from_name("home"), DeviceId::from_bytes([1; 16]));
    /// let epoch_if_new = FeedEpoch::from_bytes([2; 16]);
    /// feed.append_all(vec![Append { space, origin, pusher: headwater_storage::Pusher::default(), received_ms: 0, epoch_if_new, entries: vec![] }])?;
    /// assert!(feed.changed_after(space, Seq::ZERO, 10)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changed_after(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, EntityId)>, ReadError> {
        self.read(space, |txn, state| {
            let tails = txn.open_table(tables::TAILS).map_err(StoreError::from)?;
            let from = ordered_key(state.number, after.next().get());
            let to = ordered_key(state.number, u64::MAX);
            let rows = tails.range::<&[u8; 12]>(&from..=&to).map_err(StoreError::from)?;
            rows.take(limit)
                .map(|row| {
                    let (key, entity) = row.map_err(StoreError::from)?;
                    Ok((Seq::new(tables::seq_of(key.value())), EntityId::from_bytes(*entity.value())))
                })
                .collect()
        })
    }

    /// The last seq of an entity, and its heads without what is in quarantine. `None` if the feed does not know it.
    pub fn entity(&self, space: SpaceId, entity: EntityId) -> Result<Option<(Seq, EntityHeads)>, ReadError> {
        self.read(space, |txn, state| {
            let known = find_entity(txn, state.number, entity)?;
            Ok(known.map(|known| {
                let heads = EntityHeads { entity, collection: known.collection, heads: known.heads };
                (Seq::new(known.last), heads)
            }))
        })
    }

    /// At most `limit` changes in quarantine, in ascending order of entity and hash, from the one after `after`.
    ///
    /// ```
    /// # use headwater_storage::{Append, DeviceId, FeedEpoch, InMemoryBackend, NewFeed, RedbFeed, Seq, SpaceId};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// let (space, origin) = (SpaceId::from_name("home"), DeviceId::from_bytes([1; 16]));
    /// let epoch_if_new = FeedEpoch::from_bytes([2; 16]);
    /// feed.append_all(vec![Append { space, origin, pusher: headwater_storage::Pusher::default(), received_ms: 0, epoch_if_new, entries: vec![] }])?;
    /// assert!(feed.quarantined(space, None, 10)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quarantined(
        &self,
        space: SpaceId,
        after: Option<(EntityId, ChangeHash)>,
        limit: usize,
    ) -> Result<Vec<Quarantined>, ReadError> {
        let first = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included((EntityId::from_bytes([0; 16]), ChangeHash::from_bytes([0; 32]))),
        };
        self.quarantined_between(space, first, EntityId::from_bytes([0xff; 16]), limit)
    }

    /// The changes of one entity that are in quarantine.
    pub fn quarantined_of(&self, space: SpaceId, entity: EntityId) -> Result<Vec<Quarantined>, ReadError> {
        let first = Bound::Included((entity, ChangeHash::from_bytes([0; 32])));
        self.quarantined_between(space, first, entity, usize::MAX)
    }

    fn quarantined_between(
        &self,
        space: SpaceId,
        first: Bound<(EntityId, ChangeHash)>,
        last: EntityId,
        limit: usize,
    ) -> Result<Vec<Quarantined>, ReadError> {
        self.read(space, |txn, state| {
            let table = txn.open_table(tables::QUARANTINE).map_err(StoreError::from)?;
            let known = txn.open_table(tables::KNOWN).map_err(StoreError::from)?;
            let first = first.map(|(entity, hash)| change_key(state.number, entity, hash));
            let last = change_key(state.number, last, ChangeHash::from_bytes([0xff; 32]));
            let rows = table
                .range::<&[u8; 52]>((first.as_ref(), Bound::Included(&last)))
                .map_err(StoreError::from)?;
            rows.take(limit)
                .map(|row| {
                    let (key, value) = row.map_err(StoreError::from)?;
                    let seq = known.get(key.value()).map_err(StoreError::from)?;
                    let seq = seq.map(|seq| Seq::new(u64::from_be_bytes(*seq.value())));
                    let (entity, hash) = tables::parse_change_key(key.value());
                    let (verdict, at_ms, reason) = tables::parse_quarantine(value.value())?;
                    Ok(Quarantined { entity, hash, seq, verdict, at_ms, reason })
                })
                .collect()
        })
    }

    /// How far `name` has come in its work behind the feed. Zero if it has never said.
    pub fn progress(&self, space: SpaceId, name: &str) -> Result<Seq, ReadError> {
        self.read(space, |txn, state| {
            let table = txn.open_table(tables::PROGRESS).map_err(StoreError::from)?;
            let key = tables::progress_key(state.number, name);
            let value = table.get(key.as_slice()).map_err(StoreError::from)?;
            Ok(value.map_or(Seq::ZERO, |value| Seq::new(value.value())))
        })
    }

    /// Remembers how far `name` has come. Durable with the next append: after a crash some of the work is done again.
    ///
    /// ```
    /// # use headwater_storage::{Append, DeviceId, FeedEpoch, InMemoryBackend, NewFeed, RedbFeed, Seq, SpaceId};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// let (space, origin) = (SpaceId::from_name("home"), DeviceId::from_bytes([1; 16]));
    /// let epoch_if_new = FeedEpoch::from_bytes([2; 16]);
    /// feed.append_all(vec![Append { space, origin, pusher: headwater_storage::Pusher::default(), received_ms: 0, epoch_if_new, entries: vec![] }])?;
    /// feed.set_progress(space, "projection", Seq::new(7))?;
    /// assert_eq!(feed.progress(space, "projection")?, Seq::new(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_progress(&self, space: SpaceId, name: &str, seq: Seq) -> Result<(), ReadError> {
        let number = self.read(space, |_, state| Ok(state.number))?;
        Ok(self.file.write(Durability::None, |txn| {
            let key = tables::progress_key(number, name);
            txn.open_table(tables::PROGRESS)?.insert(key.as_slice(), seq.get())?;
            Ok(Written::Commit(()))
        })?)
    }
}
