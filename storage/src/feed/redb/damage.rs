//! Rows of a feed whose payloads are damaged: found by walking it, left out by readers, and replaced when somebody pushes them again.
//!
//! A damaged row stays where it is, because the chain runs through its entity and hash. The change itself counts as unknown again, so
//! that a replica's copy is taken in as a new row at the end, where every reader gets it.

use std::collections::BTreeSet;

use redb::{Durability, ReadTransaction, ReadableTable, WriteTransaction};

use super::{RedbFeed, tables};
use crate::change::ChangeRecord;
use crate::error::StoreError;
use crate::feed::{DamagedRow, ReadError, Walked};
use crate::file::Written;
use crate::id::{ChangeHash, EntityId, SpaceId};
use crate::layout::{change_key, entity_key, ordered_key};
use crate::position::Seq;

impl RedbFeed {
    /// Walks at most `limit` rows after `after`: compares the chain, and asks `is_whole` about each payload.
    ///
    /// What is damaged is not marked yet; a [`Judgement`](crate::Judgement) does that. A chain that breaks is [`StoreError::Corrupt`]: then the feed is not to be trusted at all.
    ///
    /// ```
    /// # use headwater_storage::{Append, DeviceId, FeedEpoch, InMemoryBackend, NewFeed, RedbFeed, Seq, SpaceId};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// let (space, origin) = (SpaceId::from_name("home"), DeviceId::from_bytes([1; 16]));
    /// let epoch_if_new = FeedEpoch::from_bytes([2; 16]);
    /// feed.append_all(vec![Append { space, origin, pusher: headwater_storage::Pusher::default(), received_ms: 0, epoch_if_new, entries: vec![] }])?;
    /// assert_eq!(feed.walk(space, Seq::ZERO, 100, |_| true)?.rows, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn walk(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
        is_whole: impl Fn(&ChangeRecord) -> bool,
    ) -> Result<Walked, ReadError> {
        let mut walked = Walked { next: self.verify_chain(space, after, limit)?, ..Walked::default() };
        self.read(space, |txn, state| {
            let known_damaged = damaged_seqs(txn, state.number)?;
            let last = walked.next.unwrap_or(state.head.seq);
            let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
            let known = txn.open_table(tables::KNOWN).map_err(StoreError::from)?;
            for seq in after.get() + 1..=last.get() {
                let (_, row) = tables::row_at(&feed, state.number, seq)?;
                let (entity, hash) = (row.record.entity, row.record.hash);
                walked.rows += 1;
                let is_marked = known_damaged.contains(&seq);
                let damaged = DamagedRow { seq: row.seq, entity, hash, is_marked };
                if is_marked {
                    let key = change_key(state.number, entity, hash);
                    if known.get(&key).map_err(StoreError::from)?.is_none() {
                        walked.damaged.push(damaged);
                    }
                } else if !is_whole(&row.record) {
                    walked.damaged.push(damaged);
                }
            }
            Ok(())
        })?;
        Ok(walked)
    }

    /// Sets an entity's heads right, if its last change or verdict is still the one at `last`. Says whether it was.
    pub fn set_heads(
        &self,
        space: SpaceId,
        entity: EntityId,
        last: Seq,
        mut heads: Vec<ChangeHash>,
    ) -> Result<bool, ReadError> {
        let number = self.read(space, |_, state| Ok(state.number))?;
        heads.sort_unstable();
        Ok(self.file.write(Durability::Immediate, |txn| {
            let mut entities = txn.open_table(tables::ENTITIES)?;
            let key = entity_key(number, entity);
            let state = entities.get(&key)?.map(|value| tables::parse_entity(value.value()));
            match state.transpose()? {
                Some(mut state) if state.last == last.get() => {
                    state.heads.clone_from(&heads);
                    entities.insert(&key, tables::entity_value(&state).as_slice())?;
                    Ok(Written::Commit(true))
                }
                _ => Ok(Written::Nothing(false)),
            }
        })?)
    }
}

/// The damaged rows of a space. Mostly none.
pub(super) fn damaged_seqs(txn: &ReadTransaction, number: u32) -> Result<BTreeSet<u64>, StoreError> {
    let table = txn.open_table(tables::DAMAGED)?;
    let (from, to) = (ordered_key(number, 0), ordered_key(number, u64::MAX));
    table.range::<&[u8; 12]>(&from..=&to)?.map(|row| Ok(tables::seq_of(row?.0.value()))).collect()
}

/// Whether something was lost that a reader at `seq` did not hear of, and that was not pushed again yet.
pub(super) fn lacks_any(txn: &ReadTransaction, number: u32, seq: Seq) -> Result<bool, StoreError> {
    let table = txn.open_table(tables::DAMAGED)?;
    let known = txn.open_table(tables::KNOWN)?;
    let (from, to) = (ordered_key(number, 0), ordered_key(number, u64::MAX));
    for row in table.range::<&[u8; 12]>(&from..=&to)? {
        let (change, verdict) = tables::parse_damaged(row?.1.value());
        if verdict > seq.get() && known.get(&change)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a row of an entity is damaged whose change is not back, or came back only after `seq`.
pub(super) fn lacks_up_to(
    txn: &WriteTransaction,
    number: u32,
    entity: EntityId,
    seq: Seq,
) -> Result<bool, StoreError> {
    let table = txn.open_table(tables::DAMAGED)?;
    let known = txn.open_table(tables::KNOWN)?;
    let (from, to) = (ordered_key(number, 0), ordered_key(number, u64::MAX));
    for row in table.range::<&[u8; 12]>(&from..=&to)? {
        let (change, _) = tables::parse_damaged(row?.1.value());
        if tables::parse_change_key(&change).0 != entity {
            continue;
        }
        let back = known.get(&change)?.map(|value| u64::from_be_bytes(*value.value()));
        if back.is_none_or(|back| back > seq.get()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a change, as it is known by, is one whose row is damaged.
pub(super) fn was_lost(txn: &WriteTransaction, number: u32, change: &[u8; 52]) -> Result<bool, StoreError> {
    let table = txn.open_table(tables::DAMAGED)?;
    let (from, to) = (ordered_key(number, 0), ordered_key(number, u64::MAX));
    for row in table.range::<&[u8; 12]>(&from..=&to)? {
        if tables::parse_damaged(row?.1.value()).0 == *change {
            return Ok(true);
        }
    }
    Ok(false)
}
