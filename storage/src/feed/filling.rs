//! A page of a feed while it is being filled, within its limits.

use std::collections::BTreeSet;

use super::{FeedRow, PageLimit};

/// A page while it is being filled.
pub(super) struct Filling {
    pub(super) limit: PageLimit,
    bytes: usize,
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
        Self { limit, bytes: 0, rows: Vec::new(), stands_for: 0, left_out, is_dense: true }
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
    pub(super) fn add(&mut self, row: FeedRow, stands_for: u64) -> bool {
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
    pub(super) fn has_room(&self, len: usize) -> bool {
        let fits = self.rows.is_empty() || self.bytes.saturating_add(len) <= self.limit.bytes_max;
        fits && !self.is_full()
    }
}
