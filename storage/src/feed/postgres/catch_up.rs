//! Catching up by entity, as `feed/redb/catch_up.rs` does it: entities in the order of their last changes, each with its snapshot, if
//! that helps, and the changes after it.
//!
//! A page is made by several statements, each of which may see more than the one before. The head is read first, the entities
//! after it, their rows last. An entity that gets a change between two of them has moved to the end, where it is found again; so
//! when the list of entities ends, everything up to that head has been given.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::PostgresFeed;
use super::rows::{self, FEED_COLUMNS, from_i64, to_i64};
use crate::change::{ChangeRecord, PayloadKind};
use crate::error::StoreError;
use crate::feed::cursor::{Cursor, Partial};
use crate::feed::filling::{Filling, Room};
use crate::feed::{EntityPage, FeedRow, PageLimit, ReadError};
use crate::id::{CollectionName, DeviceId, EntityId, SpaceId};
use crate::position::Seq;

/// Entities looked up at once.
const ENTITIES_AT_ONCE: usize = 500;

/// An entity that has to be given.
struct Tail {
    entity: EntityId,
    last: u64,
    changes: u64,
    collection: CollectionName,
}

/// What a page will hold, in order.
enum Planned {
    Row(u64),
    Snapshot { entity: EntityId, collection: CollectionName, stands_for: u64 },
}

/// A row or a snapshot before its payload was fetched.
struct Size {
    seq: u64,
    bytes: usize,
}

struct SnapshotSize {
    covers: u64,
    changes: u64,
    bytes: usize,
}

impl PostgresFeed {
    /// A page of a catch-up by entity that began at `base`, from `cursor` on.
    ///
    /// # Errors
    /// When the space has no feed, the cursor is of no use, or the database fails.
    pub async fn read_by_entity(
        &self,
        space: SpaceId,
        base: Seq,
        cursor: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<EntityPage, ReadError> {
        let head = self.existing(space).await?;
        if let Some(bytes) = cursor {
            self.check_cursor(space, &head, base, bytes).await?;
        }
        let start = Cursor::resume(base, cursor, &head)?;
        // A snapshot that turns out to be damaged counts as none.
        let mut damaged = HashSet::new();
        loop {
            let (plan, at, entities_done) = self.plan(space, start, limit, &damaged).await?;
            if let Some(filling) = self.fetch(space, plan, limit, &mut damaged).await? {
                return Ok(EntityPage {
                    rows: filling.rows,
                    stands_for: filling.stands_for,
                    cursor: at.map(|at| at.bytes()),
                    end: at.is_none().then_some(head),
                    head,
                    entities_done,
                });
            }
        }
    }

    /// What goes into the page, and where the next one goes on; nowhere if this is the last.
    async fn plan(
        &self,
        space: SpaceId,
        start: Cursor,
        limit: PageLimit,
        damaged: &HashSet<EntityId>,
    ) -> Result<(Vec<Planned>, Option<Cursor>, u64), ReadError> {
        let (mut at, mut plan, mut room, mut entities_done) = (start, Vec::new(), Room::new(limit), 0);
        loop {
            let tails = self.tails(space, at.tail, limit.entries_max).await?;
            if tails.is_empty() {
                return Ok((plan, None, entities_done));
            }
            let given_of = |tail: &Tail| match at.partial {
                Some(partial) if partial.last == tail.last => partial.given,
                _ => at.base,
            };
            let given: Vec<u64> = tails.iter().map(given_of).collect();
            let fresh = tails
                .iter()
                .zip(&given)
                .filter(|(tail, given)| **given == 0 && !damaged.contains(&tail.entity));
            let snapshots = self.snapshot_sizes(space, fresh.map(|(tail, _)| tail.entity), limit).await?;
            let mut sizes = self.sizes(space, &tails, &given, &snapshots, limit.entries_max).await?;
            for (tail, mut given) in tails.into_iter().zip(given) {
                at.partial = None;
                let snapshot = snapshots
                    .get(&tail.entity)
                    .filter(|one| given == 0 && (1..=tail.last).contains(&one.covers));
                let mut has_room = true;
                if let Some(one) = snapshot {
                    has_room = room.take(one.bytes);
                    if has_room {
                        let (entity, collection) = (tail.entity, tail.collection);
                        plan.push(Planned::Snapshot { entity, collection, stands_for: one.changes });
                        given = one.covers;
                    }
                }
                let of_entity = sizes.remove(&tail.entity).unwrap_or_default();
                for size in &of_entity.rows {
                    if !has_room || !room.take(size.bytes) {
                        has_room = false;
                        break;
                    }
                    plan.push(Planned::Row(size.seq));
                    given = size.seq;
                }
                if !has_room || (!of_entity.is_whole && given < tail.last) {
                    at.partial =
                        (given > at.base && given < tail.last).then_some(Partial { last: tail.last, given });
                    return Ok((plan, Some(at), entities_done));
                }
                at.tail = tail.last;
                entities_done += 1;
            }
        }
    }

    /// The next entities, as many as may be needed for a page, and at least one if there is one.
    async fn tails(&self, space: SpaceId, after: u64, entries_max: usize) -> Result<Vec<Tail>, StoreError> {
        let statement = "SELECT entity, last_seq, changes, collection FROM headwater.heads
            WHERE space = $1 AND last_seq > $2 ORDER BY last_seq LIMIT $3";
        let limit = entries_max.clamp(1, ENTITIES_AT_ONCE) as i64;
        let rows = self.query(statement, &[&space.as_uuid(), &to_i64(after), &limit]).await?;
        let (mut tails, mut changes) = (Vec::with_capacity(rows.len()), 0_usize);
        for row in &rows {
            let tail = Tail {
                entity: EntityId::from_uuid(row.get(0)),
                last: from_i64(row.get(1))?,
                changes: from_i64(row.get(2))?,
                collection: rows::collection(row.get(3))?,
            };
            // Looking through the index entries of a long entity takes time: one such at a time.
            changes = changes.saturating_add(usize::try_from(tail.changes).unwrap_or(usize::MAX));
            tails.push(tail);
            if changes >= entries_max.max(ENTITIES_AT_ONCE) {
                break;
            }
        }
        Ok(tails)
    }

    /// The snapshots that are of use to a reader who has nothing of these entities.
    async fn snapshot_sizes(
        &self,
        space: SpaceId,
        entities: impl Iterator<Item = EntityId>,
        limit: PageLimit,
    ) -> Result<BTreeMap<EntityId, SnapshotSize>, StoreError> {
        let entities: Vec<Uuid> = entities.map(|entity| entity.as_uuid()).collect();
        if entities.is_empty() {
            return Ok(BTreeMap::new());
        }
        let statement = "SELECT entity, covers, changes, bytes FROM headwater.snapshots
            WHERE space = $1 AND entity = ANY($2) AND bytes < changes_bytes AND bytes <= $3";
        let bytes_max = i64::try_from(limit.bytes_max).unwrap_or(i64::MAX);
        let rows = self.query(statement, &[&space.as_uuid(), &entities, &bytes_max]).await?;
        let sizes = rows.iter().map(|row| {
            let (covers, changes) = (from_i64(row.get(1))?, from_i64(row.get(2))?);
            let bytes = usize::try_from(row.get::<_, i64>(3)).unwrap_or(usize::MAX);
            Ok((EntityId::from_uuid(row.get(0)), SnapshotSize { covers, changes, bytes }))
        });
        sizes.collect()
    }

    /// The sizes of the rows that these entities have after what was given of them, in order, as many as a page may hold.
    async fn sizes(
        &self,
        space: SpaceId,
        tails: &[Tail],
        given: &[u64],
        snapshots: &BTreeMap<EntityId, SnapshotSize>,
        entries_max: usize,
    ) -> Result<BTreeMap<EntityId, Sizes>, StoreError> {
        let statement = "SELECT f.entity, f.seq, f.bytes
            FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS e (entity, given, last_seq)
            JOIN headwater.feed f ON f.space = $1 AND f.entity = e.entity AND f.seq > e.given AND f.seq <= e.last_seq
            WHERE f.lost_by IS NULL ORDER BY e.last_seq, f.seq LIMIT $5";
        let entities: Vec<Uuid> = tails.iter().map(|tail| tail.entity.as_uuid()).collect();
        let from = tails.iter().zip(given).map(|(tail, given)| match snapshots.get(&tail.entity) {
            Some(one) if *given == 0 && one.covers <= tail.last => one.covers,
            _ => *given,
        });
        let from: Vec<i64> = from.map(to_i64).collect();
        let last: Vec<i64> = tails.iter().map(|tail| to_i64(tail.last)).collect();
        let limit = i64::try_from(entries_max.max(1)).unwrap_or(i64::MAX).saturating_add(1);
        let rows = self.query(statement, &[&space.as_uuid(), &entities, &from, &last, &limit]).await?;
        let is_cut = rows.len() as i64 >= limit;
        let mut sizes: BTreeMap<EntityId, Sizes> = BTreeMap::new();
        let mut last_entity = None;
        for row in &rows {
            let entity = EntityId::from_uuid(row.get(0));
            let size = Size {
                seq: from_i64(row.get(1))?,
                bytes: usize::try_from(row.get::<_, i64>(2)).unwrap_or(usize::MAX),
            };
            sizes.entry(entity).or_default().rows.push(size);
            last_entity = Some(entity);
        }
        if is_cut {
            // What comes after the cut is not known: the entity that it goes through, and all that come later, wait.
            let mut known = true;
            for tail in tails {
                known &= Some(tail.entity) != last_entity;
                sizes.entry(tail.entity).or_default().is_whole = known;
            }
        }
        Ok(sizes)
    }

    /// Fetches what was planned. `None` if a snapshot is damaged: it is noted, and another plan is needed.
    async fn fetch(
        &self,
        space: SpaceId,
        plan: Vec<Planned>,
        limit: PageLimit,
        damaged: &mut HashSet<EntityId>,
    ) -> Result<Option<Filling>, ReadError> {
        let (mut seqs, mut entities) = (Vec::new(), Vec::new());
        for one in &plan {
            match one {
                Planned::Row(seq) => seqs.push(to_i64(*seq)),
                Planned::Snapshot { entity, .. } => entities.push(entity.as_uuid()),
            }
        }
        let mut fetched = BTreeMap::new();
        if !seqs.is_empty() {
            let statement =
                format!("SELECT {FEED_COLUMNS} FROM headwater.feed WHERE space = $1 AND seq = ANY($2)");
            for row in &self.query(&statement, &[&space.as_uuid(), &seqs]).await? {
                let (row, _) = rows::feed_row(row)?;
                fetched.insert(row.seq.get(), row);
            }
        }
        let mut snapshots = BTreeMap::new();
        if !entities.is_empty() {
            let statement = "SELECT entity, covers, hash, digest, payload FROM headwater.snapshots WHERE space = $1 AND entity = ANY($2)";
            for row in &self.query(statement, &[&space.as_uuid(), &entities]).await? {
                let entity = EntityId::from_uuid(row.get(0));
                let (digest, payload): (&[u8], &[u8]) = (row.get(3), row.get(4));
                if Sha256::digest(payload).as_slice() != digest {
                    damaged.insert(entity);
                    continue;
                }
                let found = (
                    Seq::new(from_i64(row.get(1))?),
                    rows::hash_of(row.get(2))?,
                    Bytes::copy_from_slice(payload),
                );
                snapshots.insert(entity, found);
            }
        }
        let mut filling = Filling::new(limit, BTreeSet::new());
        for one in plan {
            match one {
                Planned::Row(seq) => {
                    let row = fetched
                        .remove(&seq)
                        .ok_or_else(|| StoreError::corrupt("a row of headwater.feed is gone"))?;
                    filling.add(row, 1);
                }
                Planned::Snapshot { entity, collection, stands_for } => {
                    // Gone by now, or damaged: another plan does without it.
                    let Some((seq, hash, payload)) = snapshots.remove(&entity) else {
                        damaged.insert(entity);
                        return Ok(None);
                    };
                    let record =
                        ChangeRecord { entity, collection, kind: PayloadKind::Snapshot, hash, payload };
                    filling.add(FeedRow { seq, origin: DeviceId::from_bytes([0; 16]), record }, stands_for);
                }
            }
        }
        Ok(Some(filling))
    }
}

/// The rows of one entity.
struct Sizes {
    rows: Vec<Size>,
    /// Whether there are no more of them.
    is_whole: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { rows: Vec::new(), is_whole: true }
    }
}
