//! Catching up by entity: for each entity that changed since some seq, what it got since then.
//!
//! Who begins from nothing gets the snapshot of an entity, if that is smaller, and then the changes after it.
//!
//! The entities come in the order of their last changes. One that changes during the catch-up moves to the end and is given
//! once more, which does no harm, because applying a change twice gives the same entity. So at the end everything up to the head
//! of the last page has been given, however long the catch-up took.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use super::find_entity;
use super::tables::{self, SpaceState, StoredSnapshot};
use crate::change::{ChangeRecord, PayloadKind};
use crate::error::StoreError;
use crate::feed::cursor::{Cursor, Partial};
use crate::feed::filling::Filling;
use crate::feed::{EntityPage, FeedRow, PageLimit, ReadError};
use crate::id::{DeviceId, EntityId};
use crate::layout::{entity_key, ordered_key};
use crate::position::Seq;

pub(super) fn page(
    txn: &ReadTransaction,
    space: &SpaceState,
    base: Seq,
    cursor: Option<&[u8]>,
    limit: PageLimit,
) -> Result<EntityPage, ReadError> {
    if let Some(bytes) = cursor {
        check(txn, space, base, bytes)?;
    }
    let start = Cursor::resume(base, cursor, &space.head)?;
    let mut at = start;
    let mut filling = super::filling(txn, space.number, limit)?;
    let mut entities_done = 0;
    let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
    let tails = txn.open_table(tables::TAILS).map_err(StoreError::from)?;
    let snapshots = txn.open_table(tables::SNAPSHOTS).map_err(StoreError::from)?;
    let from = ordered_key(space.number, start.tail.saturating_add(1));
    let to = ordered_key(space.number, u64::MAX);
    for tail in tails.range::<&[u8; 12]>(&from..=&to).map_err(StoreError::from)? {
        let (key, entity) = tail.map_err(StoreError::from)?;
        let (last, entity) = (tables::seq_of(key.value()), EntityId::from_bytes(*entity.value()));
        let given = match at.partial.take() {
            Some(partial) if partial.last == last || cfg!(bug = "partial-of-another-entity") => partial.given,
            _ => at.base,
        };
        let begun = match given {
            0 => give_snapshot(txn, &snapshots, space.number, (entity, last), &mut filling)?,
            _ => Some(given),
        };
        let given = match begun {
            Some(begun) => fill(&feed, space.number, last, begun, &mut filling)?,
            None => given,
        };
        if given < last {
            at.partial = (given > at.base).then_some(Partial { last, given });
            if cfg!(bug = "partial-counts-as-whole") {
                (at.tail, at.partial) = (last, None);
            }
            return Ok(EntityPage {
                rows: filling.rows,
                stands_for: filling.stands_for,
                cursor: Some(at.bytes()),
                end: None,
                head: space.head,
                entities_done,
            });
        }
        at.tail = last;
        entities_done += 1;
    }
    Ok(EntityPage {
        rows: filling.rows,
        stands_for: filling.stands_for,
        cursor: None,
        end: Some(space.head),
        head: space.head,
        entities_done,
    })
}

/// Begins an entity, up to `last`, of which nothing was given: with its snapshot, if there is one of use. Returns how far that covers it, or
/// `None` if the snapshot has to wait for the next page.
fn give_snapshot(
    txn: &ReadTransaction,
    snapshots: &impl ReadableTable<&'static [u8; 20], &'static [u8]>,
    number: u32,
    (entity, last): (EntityId, u64),
    filling: &mut Filling,
) -> Result<Option<u64>, StoreError> {
    let Some(value) = snapshots.get(&entity_key(number, entity))? else { return Ok(Some(0)) };
    let Ok(stored) = StoredSnapshot::parse(value.value()) else { return Ok(Some(0)) };
    let (covers, len) = (stored.covers.get(), stored.payload.len());
    let is_smaller = (len as u64) < stored.changes_bytes && len <= filling.limit().bytes_max;
    // One that covers nothing would be given again and again.
    if !is_smaller || !(1..=last).contains(&covers) {
        return Ok(Some(0));
    }
    if !filling.has_room(len) {
        return Ok(None);
    }
    let Some(state) = find_entity(txn, number, entity)?.filter(|_| stored.is_whole()) else {
        return Ok(Some(0));
    };
    let record = ChangeRecord {
        entity,
        collection: state.collection,
        kind: PayloadKind::Snapshot,
        hash: stored.hash,
        payload: Bytes::copy_from_slice(stored.payload),
    };
    let row = FeedRow { seq: stored.covers, origin: DeviceId::from_bytes([0; 16]), record };
    let given = if cfg!(bug = "snapshot-counts-as-whole") { last } else { covers };
    Ok(filling.add(row, stored.changes).then_some(given))
}

/// Adds the changes of one entity after `given` up to `last`, as far as there is room. Returns how far it came.
pub(super) fn fill(
    feed: &impl ReadableTable<&'static [u8; 12], &'static [u8]>,
    number: u32,
    last: u64,
    mut given: u64,
    filling: &mut Filling,
) -> Result<u64, StoreError> {
    if filling.is_full() {
        return Ok(given);
    }
    // From the last change back, block by block, noting the ends of the stretches to walk.
    let mut ends = vec![last];
    let mut block = tables::links_at(feed, number, last)?.block;
    while block > given {
        let before = tables::links_at(feed, number, block)?.block;
        ends.push(block);
        block = earlier(block, before)?;
    }
    while let Some(end) = ends.pop() {
        let mut stretch = Vec::new();
        let mut seq = end;
        while seq > given {
            stretch.push(seq);
            seq = earlier(seq, tables::links_at(feed, number, seq)?.previous)?;
        }
        for seq in stretch.into_iter().rev() {
            if filling.is_full() || !filling.push(tables::row_at(feed, number, seq)?.1) {
                return Ok(given);
            }
            given = seq;
        }
    }
    Ok(given)
}

/// A damaged link that pointed forward would make the walk endless.
fn earlier(seq: u64, before: u64) -> Result<u64, StoreError> {
    if before < seq { Ok(before) } else { Err(StoreError::corrupt("a link of feed_v1")) }
}

/// Whether a cursor that began at `base` belongs to this feed.
pub(super) fn check(
    txn: &ReadTransaction,
    space: &SpaceState,
    base: Seq,
    cursor: &[u8],
) -> Result<(), ReadError> {
    let cursor = Cursor::parse(cursor, base.get())?;
    if cfg!(bug = "cursor-of-another-feed") {
        return Ok(());
    }
    let reached = cursor.reached_in(&space.head)?;
    let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
    Ok(cursor.belongs_to(&tables::links_at(&feed, space.number, reached.get())?.chain)?)
}
