//! What happened, kept outside of everything that can lose it, and compared as the world goes on.
//!
//! Each check costs as much as what is new, so that a whole world costs O(n): changes are kept by hash, and feeds as a tree of
//! chain hashes in which a position names all that came before it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use headwater_storage::{
    Append, Appended, ChainHash, ChangeHash, ChangeRecord, EntityId, FeedRow, SpaceId, Watermark,
};

use crate::violation::{Promise, Violation};

/// A change, wherever it is.
pub(crate) type ChangeId = (SpaceId, EntityId, ChangeHash);

/// Everything that any replica ever made, and every state that any feed ever had.
#[derive(Default)]
pub(crate) struct History {
    /// change -> its bytes.
    made: HashMap<ChangeId, headwater_storage::Bytes>,
    /// the chain after a change -> the change, and the chain before it.
    chains: HashMap<ChainHash, (ChainHash, ChangeId)>,
    /// Whether a relay was ever restored from a backup.
    pub(crate) has_gone_back: bool,
    /// The chains of feeds that hold nothing yet.
    starts: HashSet<ChainHash>,
    /// Words that somebody tried to take out, whether or not the disk let it, and whether or not it was forgotten with a disk.
    pub(crate) tried_words: BTreeSet<String>,
}

/// What one relay's store is known to hold of a space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed {
    pub(crate) head: Option<Watermark>,
    rows: Vec<ChangeId>,
    known: HashSet<ChangeId>,
}

/// All feeds of a relay.
pub(crate) type Feeds = BTreeMap<SpaceId, Feed>;

impl History {
    /// A replica made a change.
    pub(crate) fn made(&mut self, space: SpaceId, record: &ChangeRecord) {
        self.made.insert((space, record.entity, record.hash), record.payload.clone());
    }

    pub(crate) fn bytes_of(&self, change: &ChangeId) -> Option<&headwater_storage::Bytes> {
        self.made.get(change)
    }

    pub(crate) fn has_made(&self, change: &ChangeId) -> bool {
        self.made.contains_key(change)
    }

    /// The store said that an append is durable.
    pub(crate) fn appended(
        &mut self,
        feeds: &mut Feeds,
        append: &Append,
        appended: &Appended,
    ) -> Result<(), Violation> {
        let feed = feeds.entry(append.space).or_default();
        let before = appended.before();
        Promise::FeedIsSound.hold(feed.head.is_none_or(|head| head == before), || {
            format!("an append begins at {before:?}, the feed was at {:?}", feed.head)
        })?;
        if feed.head.is_none() {
            self.starts.insert(before.chain);
            feed.head = Some(before);
        }
        let deps: HashMap<_, _> = append
            .entries
            .iter()
            .map(|entry| ((entry.record.entity, entry.record.hash), &entry.deps))
            .collect();
        for row in appended.rows() {
            let deps =
                deps.get(&(row.record.entity, row.record.hash)).map_or(&[][..], |deps| deps.as_slice());
            for dep in deps {
                let dep = (append.space, row.record.entity, *dep);
                Promise::FeedIsSound.hold(feed.known.contains(&dep), || {
                    format!("{row:?} comes before its dependency {dep:?}")
                })?;
            }
            self.row(feed, append.space, row)?;
        }
        let head = appended.head();
        Promise::FeedIsSound.hold(feed.head == Some(head), || {
            format!("the receipt says {head:?}, its rows come to {:?}", feed.head)
        })
    }

    /// A feed goes on with a row.
    fn row(&mut self, feed: &mut Feed, space: SpaceId, row: &FeedRow) -> Result<(), Violation> {
        let record = &row.record;
        let change = (space, record.entity, record.hash);
        let Some(head) = feed.head else {
            return Err(Violation::new(Promise::FeedIsSound, "a row in a feed without a beginning"));
        };
        Promise::FeedIsSound
            .hold(row.seq == head.seq.next(), || format!("{} comes after {}", row.seq, head.seq))?;
        Promise::FeedIsSound.hold(feed.known.insert(change), || format!("{change:?} is there twice"))?;
        let made = self.made.get(&change);
        Promise::FeedIsSound
            .hold(made == Some(&record.payload), || format!("nobody made {change:?} with these bytes"))?;
        let next = head.extended(record.entity, record.hash);
        self.chains.insert(next.chain, (head.chain, change));
        feed.rows.push(change);
        feed.head = Some(next);
        Ok(())
    }

    /// A relay's store was opened again after something happened to its disk: what it was known to hold is there, and what is
    /// there beyond that is sound.
    pub(crate) fn reopened(
        &mut self,
        feed: &mut Feed,
        space: SpaceId,
        start: Watermark,
        rows: &[FeedRow],
    ) -> Result<(), Violation> {
        Promise::FeedIsKept.hold(rows.len() >= feed.rows.len(), || {
            format!("{} changes of {} are left", rows.len(), feed.rows.len())
        })?;
        for (row, known) in rows.iter().zip(&feed.rows) {
            let found = (space, row.record.entity, row.record.hash);
            Promise::FeedIsKept.hold(found == *known, || format!("{found:?} where {known:?} was"))?;
        }
        if feed.head.is_none() {
            self.starts.insert(start.chain);
            feed.head = Some(start);
        }
        for row in rows.get(feed.rows.len()..).unwrap_or_default() {
            self.row(feed, space, row)?;
        }
        Ok(())
    }

    /// Goes back from `to` until `from`, or to the beginning of the feed, calling `each` for what lies between. Whether `from`
    /// was met.
    pub(crate) fn walk_back(
        &self,
        to: &Watermark,
        from: Option<&Watermark>,
        mut each: impl FnMut(&ChangeId) -> Result<(), Violation>,
    ) -> Result<bool, Violation> {
        let mut chain = to.chain;
        loop {
            if from.is_some_and(|from| from.chain == chain) {
                return Ok(true);
            }
            if self.starts.contains(&chain) {
                return Ok(false);
            }
            let Some((before, change)) = self.chains.get(&chain) else {
                return Err(Violation::new(Promise::PositionIsHeld, format!("no feed ever was at {to:?}")));
            };
            each(change)?;
            chain = *before;
        }
    }
}

impl Feed {
    pub(crate) fn rows(&self) -> &[ChangeId] {
        &self.rows
    }

    pub(crate) fn holds(&self, change: &ChangeId) -> bool {
        self.known.contains(change)
    }
}
