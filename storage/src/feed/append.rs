//! Appending: what becomes of each entry, decided in one place for all backends.
//!
//! A backend says what it has ([`Ledger`]); [`Batch`] decides, remembering what later entries of the transaction have to see; the
//! backend writes the [`Outcome`] in one transaction. In a ledger's answers absence means that there is none, so a backend that
//! loads beforehand has to load everything that [`Batch`] may ask for.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Append, Appended, FeedEntry, FeedRow, Judgement, Numbers, Placement};
use crate::change::{ChangeRecord, Refusal};
use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, EntityId, SpaceId};
use crate::position::{ChainHash, Seq, Watermark};

/// A change, as a feed knows it.
pub(super) type ChangeKey = (SpaceId, EntityId, ChangeHash);
/// An author of an entity. The author of length 0 stands for the entity's highest operation number.
pub(super) type AuthorKey = (SpaceId, EntityId, Vec<u8>);

/// What is stored, before a transaction.
pub(super) trait Ledger {
    /// The end of a feed.
    fn head(&self, space: SpaceId) -> Result<Option<Watermark>, StoreError>;
    /// An entity.
    fn entity(&self, space: SpaceId, entity: EntityId) -> Result<Option<EntityState>, StoreError>;
    /// The seq of a change that is known.
    fn seq(&self, change: &ChangeKey) -> Result<Option<u64>, StoreError>;
    /// The number of an author's last change of an entity.
    fn number_of(&self, author: &AuthorKey) -> Result<Option<u64>, StoreError>;
    /// Why a change is in quarantine.
    fn quarantined(&self, change: &ChangeKey) -> Result<Option<Refusal>, StoreError>;
    /// Whether the row of a change is damaged.
    fn was_lost(&self, change: &ChangeKey) -> Result<bool, StoreError>;
}

/// An entity as the feed knows it.
#[derive(Clone)]
pub(super) struct EntityState {
    pub(super) last: u64,
    /// For its next change; see [`Links`].
    pub(super) block: u64,
    pub(super) count: u64,
    pub(super) collection: CollectionName,
    pub(super) heads: Vec<ChangeHash>,
}

/// What a row has beside its change. A backend that has an index over the changes of an entity needs the chain only.
#[derive(Clone, Copy)]
pub(super) struct Links {
    /// The chain hash up to and with this change.
    pub(super) chain: ChainHash,
    /// The seq of the change of the same entity before this one, 0 if this is its first.
    pub(super) previous: u64,
    /// The seq of the last change of the same entity before this one whose number in the entity (from 0) is a multiple of
    /// [`BLOCK_LEN`], 0 if there is none.
    pub(super) block: u64,
}

pub(super) const BLOCK_LEN: u64 = 256;

/// What a transaction has to write, and what it answers.
pub(super) struct Outcome {
    pub(super) appended: Vec<Appended>,
    /// The spaces whose heads have moved, and those that are new.
    pub(super) spaces: BTreeMap<SpaceId, Watermark>,
    pub(super) rows: Vec<NewRow>,
    /// Whether changes are known from now on, and at which seq.
    pub(super) known: BTreeMap<ChangeKey, Option<u64>>,
    /// The entities that have got rows: their states, and their last seqs before.
    pub(super) entities: BTreeMap<(SpaceId, EntityId), (EntityState, u64)>,
    pub(super) authors: BTreeMap<AuthorKey, u64>,
    pub(super) judged: Vec<Judged>,
}

impl Outcome {
    /// Whether there is anything to commit. Duplicates alone change nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.spaces.is_empty() && self.rows.is_empty()
    }
}

pub(super) struct NewRow {
    pub(super) space: SpaceId,
    pub(super) links: Links,
    pub(super) received_ms: u64,
    pub(super) row: FeedRow,
}

/// A verdict that is taken.
pub(super) struct Judged {
    pub(super) space: SpaceId,
    pub(super) entity: EntityId,
    pub(super) seq: Seq,
    pub(super) received_ms: u64,
    pub(super) judgement: Judgement,
}

/// Decides what becomes of all `appends`, in their order.
pub(super) fn decide(ledger: &impl Ledger, appends: Vec<Append>) -> Result<Outcome, StoreError> {
    let mut batch = Batch {
        ledger,
        heads: BTreeMap::new(),
        rows: Vec::new(),
        known: BTreeMap::new(),
        entities: BTreeMap::new(),
        authors: BTreeMap::new(),
        quarantine: BTreeMap::new(),
        lost: BTreeSet::new(),
        judged: Vec::new(),
    };
    let appended = appends.into_iter().map(|append| batch.append(append)).collect::<Result<Vec<_>, _>>()?;
    let spaces = batch
        .heads
        .into_iter()
        .filter_map(|(space, (head, before))| (before != Some(head)).then_some((space, head)));
    let spaces = spaces.collect();
    // Some entities were only looked at.
    batch.entities.retain(|_, (state, before)| state.last != *before);
    let Batch { rows, known, entities, authors, judged, .. } = batch;
    Ok(Outcome { appended, spaces, rows, known, entities, authors, judged })
}

struct Batch<'l, L> {
    ledger: &'l L,
    /// space -> its head, and its head before the transaction. Ordered, so that the same appends make the same file.
    heads: BTreeMap<SpaceId, (Watermark, Option<Watermark>)>,
    rows: Vec<NewRow>,
    known: BTreeMap<ChangeKey, Option<u64>>,
    /// An entity's state, and its last seq before the transaction (0 if it is new).
    entities: BTreeMap<(SpaceId, EntityId), (EntityState, u64)>,
    authors: BTreeMap<AuthorKey, u64>,
    quarantine: BTreeMap<ChangeKey, Option<Refusal>>,
    lost: BTreeSet<ChangeKey>,
    judged: Vec<Judged>,
}

impl<L: Ledger> Batch<'_, L> {
    fn append(&mut self, append: Append) -> Result<Appended, StoreError> {
        let Append { space, origin, received_ms, epoch_if_new, entries, pusher: _ } = append;
        let before = match self.heads.get(&space) {
            Some((head, _)) => *head,
            None => {
                let stored = self.ledger.head(space)?;
                let head = stored.unwrap_or_else(|| Watermark::start(space, epoch_if_new));
                self.heads.insert(space, (head, stored));
                head
            }
        };
        let mut head = before;
        let mut placements = Vec::with_capacity(entries.len());
        let mut rows = Vec::with_capacity(entries.len());
        self.rows.reserve(entries.len());
        for entry in entries {
            if let Some(placement) = self.refuse(space, &entry)? {
                placements.push(placement);
                continue;
            }
            if head.seq == Seq::MAX {
                return Err(StoreError::Exhausted);
            }
            let FeedEntry { record, deps, numbers, judgement } = entry;
            let entity = record.entity;
            head = head.extended(entity, record.hash);
            let row = FeedRow { seq: head.seq, origin, record };
            self.insert(space, &head, &row, &deps, received_ms)?;
            if let Some(judgement) = judgement {
                self.judge(space, &row, judgement, received_ms)?;
            }
            if let Some(numbers) = numbers {
                self.count(space, entity, numbers)?;
            }
            placements.push(Placement::Accepted(row.seq));
            rows.push(row);
        }
        if let Some((current, _)) = self.heads.get_mut(&space) {
            *current = head;
        }
        Ok(Appended { space, placements, before, head, rows })
    }

    /// What becomes of an entry that is not stored. `None`: it is to be stored.
    fn refuse(&mut self, space: SpaceId, entry: &FeedEntry) -> Result<Option<Placement>, StoreError> {
        let FeedEntry { record, deps, numbers, judgement } = entry;
        let entity = record.entity;
        let change = (space, entity, record.hash);
        let known = self.seq(&change)?;
        if let Some(judgement) = judgement {
            let last = self.entity(space, record)?.last;
            return Ok((known.is_some() || last != judgement.last.get()).then_some(Placement::Stale));
        }
        for hash in deps.iter().chain([&record.hash]) {
            if let Some(reason) = self.quarantined(&(space, entity, *hash))? {
                return Ok(Some(Placement::Quarantined { hash: *hash, reason }));
            }
        }
        if let Some(seq) = known.filter(|_| !cfg!(bug = "no-dedup")) {
            return Ok(Some(Placement::Duplicate(Seq::new(seq))));
        }
        let state = self.entity(space, record)?;
        if state.count > 0 && state.collection != record.collection {
            return Ok(Some(Placement::OtherCollection(state.collection.clone())));
        }
        let missing = self.missing(space, entity, deps)?;
        if !missing.is_empty() && !cfg!(bug = "deps-not-checked") {
            return Ok(Some(Placement::MissingDeps(missing)));
        }
        let Some(numbers) = numbers else { return Ok(None) };
        let highest = self.number_of(&(space, entity, Vec::new()))?;
        if highest.is_none() && self.entity(space, record)?.count > 0 {
            // Some of its changes came without numbers, so nobody knows what comes next.
            return Ok(None);
        }
        let author = (space, entity, numbers.author.to_vec());
        let expected = self.number_of(&author)?.unwrap_or(0).saturating_add(1);
        if numbers.number != expected {
            // One that was lost here comes back with the number that it always had.
            let was_lost = self.lost.contains(&change) || self.ledger.was_lost(&change)?;
            return Ok((!was_lost).then_some(Placement::Misnumbered { expected }));
        }
        let first_op_max = highest.unwrap_or(0).saturating_add(numbers.ahead_max);
        Ok((numbers.first_op > first_op_max).then_some(Placement::TooFarAhead { first_op_max }))
    }

    fn number_of(&self, author: &AuthorKey) -> Result<Option<u64>, StoreError> {
        match self.authors.get(author) {
            Some(number) => Ok(Some(*number)),
            None => self.ledger.number_of(author),
        }
    }

    fn count(&mut self, space: SpaceId, entity: EntityId, numbers: Numbers) -> Result<(), StoreError> {
        for (author, number) in [(Vec::new(), numbers.last_op), (numbers.author.to_vec(), numbers.number)] {
            let author = (space, entity, author);
            let number = self.number_of(&author)?.unwrap_or(0).max(number);
            self.authors.insert(author, number);
        }
        Ok(())
    }

    fn quarantined(&self, change: &ChangeKey) -> Result<Option<Refusal>, StoreError> {
        match self.quarantine.get(change) {
            Some(reason) => Ok(reason.clone()),
            None => self.ledger.quarantined(change),
        }
    }

    /// Notes a verdict, and what follows from it.
    fn judge(
        &mut self,
        space: SpaceId,
        row: &FeedRow,
        judgement: Judgement,
        received_ms: u64,
    ) -> Result<(), StoreError> {
        let entity = row.record.entity;
        for (hash, reason) in &judgement.quarantined {
            self.quarantine.insert((space, entity, *hash), Some(reason.clone()));
        }
        for hash in &judgement.released {
            self.quarantine.insert((space, entity, *hash), None);
        }
        for lost in &judgement.damaged {
            let change = (space, entity, lost.hash);
            self.known.insert(change, None);
            self.lost.insert(change);
        }
        let mut heads = judgement.heads.clone();
        heads.sort_unstable();
        self.entity(space, &row.record)?.heads = heads;
        self.judged.push(Judged { space, entity, seq: row.seq, received_ms, judgement });
        Ok(())
    }

    /// The state of the entity of `record`, to be changed.
    fn entity(&mut self, space: SpaceId, record: &ChangeRecord) -> Result<&mut EntityState, StoreError> {
        let key = (space, record.entity);
        if !self.entities.contains_key(&key) {
            let state = self.ledger.entity(space, record.entity)?.unwrap_or_else(|| EntityState {
                last: 0,
                block: 0,
                count: 0,
                collection: record.collection.clone(),
                heads: Vec::new(),
            });
            let last = state.last;
            self.entities.insert(key, (state, last));
        }
        self.entities.get_mut(&key).map(|(state, _)| state).ok_or(StoreError::Stopped)
    }

    fn insert(
        &mut self,
        space: SpaceId,
        head: &Watermark,
        row: &FeedRow,
        deps: &[ChangeHash],
        received_ms: u64,
    ) -> Result<(), StoreError> {
        let (record, seq) = (&row.record, row.seq.get());
        let entity = self.entity(space, record)?;
        let links = Links { chain: head.chain, previous: entity.last, block: entity.block };
        if entity.count.is_multiple_of(BLOCK_LEN) {
            entity.block = seq;
        }
        entity.last = seq;
        entity.count = entity.count.saturating_add(1);
        entity.collection.clone_from(&record.collection);
        let superseded: HashSet<&ChangeHash> = deps.iter().collect();
        entity.heads.retain(|head| !superseded.contains(head) && !cfg!(bug = "heads-forget-concurrent"));
        let place = entity.heads.partition_point(|head| *head < record.hash);
        entity.heads.insert(place, record.hash);
        self.known.insert((space, record.entity, record.hash), Some(seq));
        self.rows.push(NewRow { space, links, received_ms, row: row.clone() });
        Ok(())
    }

    /// The seq of a change, if it is known.
    fn seq(&self, change: &ChangeKey) -> Result<Option<u64>, StoreError> {
        match self.known.get(change) {
            Some(seq) => Ok(*seq),
            None => self.ledger.seq(change),
        }
    }

    fn missing(
        &self,
        space: SpaceId,
        entity: EntityId,
        deps: &[ChangeHash],
    ) -> Result<Vec<ChangeHash>, StoreError> {
        let mut missing = Vec::new();
        for dep in deps {
            if self.seq(&(space, entity, *dep))?.is_none() {
                missing.push(*dep);
            }
        }
        Ok(missing)
    }
}
