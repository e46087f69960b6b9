//! A page of a feed while it is being filled, within its limits.

use std::collections::BTreeSet;

use super::{FeedRow, PageLimit};

/// How much of a page is taken.
pub(super) struct Room {
    pub(super) limit: PageLimit,
    entries: usize,
    bytes: usize,
}

impl Room {
    pub(super) fn new(limit: PageLimit) -> Self {
        Self { limit, entries: 0, bytes: 0 }
    }

    /// Whether there is no room for anything further.
    fn is_full(&self) -> bool {
        self.entries > 0 && (self.entries >= self.limit.entries_max || self.bytes >= self.limit.bytes_max)
    }

    /// Whether there is room for a payload of `len` bytes. For the first one there always is.
    fn is_enough_for(&self, len: usize) -> bool {
        let fits = self.entries == 0 || self.bytes.saturating_add(len) <= self.limit.bytes_max;
        fits && !self.is_full()
    }

    /// Takes the room for a payload of `len` bytes, if there is as much.
    pub(super) fn take(&mut self, len: usize) -> bool {
        let is_enough = self.is_enough_for(len);
        if is_enough {
            self.entries += 1;
            self.bytes = self.bytes.saturating_add(len);
        }
        is_enough
    }
}

/// A page while it is being filled.
pub(super) struct Filling {
    room: Room,
    pub(super) rows: Vec<FeedRow>,
    /// How many rows of the feed `rows` stand for.
    pub(super) stands_for: u64,
    /// The seqs of damaged rows.
    left_out: BTreeSet<u64>,
    pub(super) is_dense: bool,
}

impl Filling {
    /// An empty page, which leaves out the rows at these seqs.
    pub(super) fn new(limit: PageLimit, left_out: BTreeSet<u64>) -> Self {
        Self { room: Room::new(limit), rows: Vec::new(), stands_for: 0, left_out, is_dense: true }
    }

    pub(super) fn limit(&self) -> PageLimit {
        self.room.limit
    }

    /// Whether there is no room for any further row.
    pub(super) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Whether there is room for a payload of `len` bytes.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.room.is_enough_for(len)
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
    pub(super) fn add(&mut self, row: FeedRow, stands_for: u64) -> bool {
        let has_room = self.room.take(row.record.payload.len());
        if has_room {
            self.stands_for = self.stands_for.saturating_add(stands_for);
            self.rows.push(row);
        }
        has_room
    }
}
