//! Catching up by entity: for each entity that changed since some seq, what it got since then.
//!
//! Who begins from nothing gets the snapshot of an entity, if that is smaller, and then the changes after it.
//!
//! The entities come in the order of their last changes. One that changes during the catch-up moves to the end and is given
//! once more, which does no harm, because applying a change twice gives the same entity. So at the end everything up to the head
//! of the last page has been given, however long the catch-up took.

use std::collections::BTreeSet;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use super::damage::damaged_seqs;
use super::redb::find_entity;
use super::tables::{self, SpaceState, StoredSnapshot};
use super::{CursorError, EntityPage, FeedRow, PageLimit, ReadError};
use crate::change::{ChangeRecord, PayloadKind};
use crate::error::StoreError;
use crate::id::{DeviceId, EntityId};
use crate::layout::{Fields, entity_key, ordered_key};
use crate::position::{ChainHash, Seq, Watermark};

pub(super) fn page(
    txn: &ReadTransaction,
    space: &SpaceState,
    base: Seq,
    cursor: Option<&[u8]>,
    limit: PageLimit,
) -> Result<EntityPage, ReadError> {
    let begin = Cursor::begin(base.get(), &space.head);
    let start = match cursor {
        Some(bytes) => {
            check(txn, space, base, bytes)?;
            Cursor { reached: begin.reached, chain: begin.chain, ..Cursor::parse(bytes, base.get())? }
        }
        None => begin,
    };
    let mut at = start;
    let mut filling = Filling::new(txn, space.number, limit)?;
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
    let is_smaller = (len as u64) < stored.changes_bytes && len <= filling.limit.bytes_max;
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

/// A page while it is being filled.
pub(super) struct Filling {
    limit: PageLimit,
    bytes: usize,
    pub(super) rows: Vec<FeedRow>,
    /// How many rows of the feed `rows` stand for.
    stands_for: u64,
    /// The seqs of damaged rows.
    left_out: BTreeSet<u64>,
    pub(super) is_dense: bool,
}

impl Filling {
    pub(super) fn new(txn: &ReadTransaction, space: u32, limit: PageLimit) -> Result<Self, StoreError> {
        let left_out = damaged_seqs(txn, space)?;
        Ok(Self { limit, bytes: 0, rows: Vec::new(), stands_for: 0, left_out, is_dense: true })
    }

    /// Whether there is no room for any further row.
    pub(super) fn is_full(&self) -> bool {
        !self.rows.is_empty()
            && (self.rows.len() >= self.limit.entries_max || self.bytes >= self.limit.bytes_max)
    }

    /// Adds `row` if there is room for it. The first one always has room, and a damaged one takes none.
    pub(super) fn push(&mut self, row: FeedRow) -> bool {
        if self.left_out.contains(&row.seq.get()) {
            self.is_dense = false;
            return true;
        }
        self.add(row, 1)
    }

    /// Adds `row`, which stands for so many rows of the feed, if there is room for it.
    fn add(&mut self, row: FeedRow, stands_for: u64) -> bool {
        let len = row.record.payload.len();
        let has_room = self.has_room(len);
        if has_room {
            self.bytes = self.bytes.saturating_add(len);
            self.stands_for = self.stands_for.saturating_add(stands_for);
            self.rows.push(row);
        }
        has_room
    }

    /// Whether there is room for a payload of `len` bytes. For the first one there always is.
    fn has_room(&self, len: usize) -> bool {
        let fits = self.rows.is_empty() || self.bytes.saturating_add(len) <= self.limit.bytes_max;
        fits && !self.is_full()
    }
}

/// Where a catch-up goes on, and in which feed.
#[derive(Clone, Copy)]
struct Cursor {
    /// The seq that the catch-up began from.
    base: u64,
    /// All entities whose last change is up to here have been given.
    tail: u64,
    /// A position that the feed had reached, and the beginning of its chain hash. A feed that is shorter, or has other contents up
    /// to there, is not the one that the catch-up began in.
    reached: u64,
    chain: [u8; CHAIN_PREFIX_LEN],
    partial: Option<Partial>,
}

/// The next entity, if some of it has been given.
#[derive(Clone, Copy)]
struct Partial {
    /// Its last seq then. If the next entity has another one, it is not the same and begins at the base.
    last: u64,
    /// How far it has been given.
    given: u64,
}

// A cursor:
//   version u8 = 2 | base u64 | tail u64 | reached u64 | beginning of the chain hash at reached 16
//   | and if part of the next entity has been given: last u64 | given u64
const CURSOR_VERSION: u8 = 2;
const CHAIN_PREFIX_LEN: usize = 16;
const CURSOR_LEN: usize = 25 + CHAIN_PREFIX_LEN;
const CURSOR_PARTIAL_LEN: usize = CURSOR_LEN + 16;

/// A cursor with the progress of `cursor`, or none if there is none to go on from, that is of use only in a feed that has reached
/// `head`. A replica that pushed up to there without pulling keeps it, so that an older copy of the feed is not taken for the same.
///
/// ```
/// use headwater_storage::{FeedEpoch, Position, Seq, SpaceId, Watermark, cursor_beyond};
/// let head = Watermark::start(SpaceId::from_name("home"), FeedEpoch::from_bytes([1; 16]));
/// assert!(cursor_beyond(Seq::ZERO, None, &head).len() <= Position::CURSOR_LEN_MAX);
/// ```
pub fn cursor_beyond(base: Seq, cursor: Option<&[u8]>, head: &Watermark) -> Bytes {
    let begin = Cursor::begin(base.get(), head);
    let progress = cursor.and_then(|bytes| Cursor::parse(bytes, base.get()).ok());
    progress
        .map_or(begin, |progress| Cursor { reached: begin.reached, chain: begin.chain, ..progress })
        .bytes()
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
    if cursor.reached == 0 || cursor.reached > space.head.seq.get() {
        return Err(CursorError::OtherFeed.into());
    }
    let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
    let chain = tables::links_at(&feed, space.number, cursor.reached)?.chain;
    if chain_prefix(&chain) == cursor.chain { Ok(()) } else { Err(CursorError::OtherFeed.into()) }
}

fn chain_prefix(chain: &ChainHash) -> [u8; CHAIN_PREFIX_LEN] {
    let mut prefix = [0; CHAIN_PREFIX_LEN];
    prefix.copy_from_slice(&chain.as_bytes()[..CHAIN_PREFIX_LEN]);
    prefix
}

impl Cursor {
    fn begin(base: u64, head: &Watermark) -> Self {
        Self { base, tail: base, reached: head.seq.get(), chain: chain_prefix(&head.chain), partial: None }
    }

    fn bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(CURSOR_PARTIAL_LEN);
        bytes.push(CURSOR_VERSION);
        bytes.extend_from_slice(&self.base.to_be_bytes());
        bytes.extend_from_slice(&self.tail.to_be_bytes());
        bytes.extend_from_slice(&self.reached.to_be_bytes());
        bytes.extend_from_slice(&self.chain);
        if let Some(partial) = self.partial {
            bytes.extend_from_slice(&partial.last.to_be_bytes());
            bytes.extend_from_slice(&partial.given.to_be_bytes());
        }
        bytes.into()
    }

    fn parse(bytes: &[u8], base: u64) -> Result<Self, CursorError> {
        if !matches!(bytes.len(), CURSOR_LEN | CURSOR_PARTIAL_LEN) {
            return Err(CursorError::Malformed);
        }
        let malformed = |_| CursorError::Malformed;
        let mut fields = Fields::new("a cursor", bytes);
        if fields.u8().map_err(malformed)? != CURSOR_VERSION {
            return Err(CursorError::Malformed);
        }
        let found = fields.u64().map_err(malformed)?;
        let tail = fields.u64().map_err(malformed)?;
        let reached = fields.u64().map_err(malformed)?;
        let chain = fields.array().map_err(malformed)?;
        let partial = if bytes.len() == CURSOR_PARTIAL_LEN {
            let last = fields.u64().map_err(malformed)?;
            Some(Partial { last, given: fields.u64().map_err(malformed)? })
        } else {
            None
        };
        if found != base {
            return Err(CursorError::OtherBase { found: Seq::new(found), expected: Seq::new(base) });
        }
        // Nothing that this code writes breaks these, and the walk relies on them.
        let ordered = tail >= base
            && partial.is_none_or(|partial| {
                partial.last > tail && partial.given > base && partial.given < partial.last
            });
        if ordered { Ok(Self { base, tail, reached, chain, partial }) } else { Err(CursorError::Malformed) }
    }
}
