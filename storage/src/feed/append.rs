//! Appending: everything that one transaction takes in, for any number of spaces.
//!
//! What later entries of the transaction have to see (heads of feeds, entities, known changes) is gathered in memory and
//! written once at the end, in key order: random keys cost redb several times what ordered ones do.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use redb::{ReadableTable, Table, WriteTransaction};

use super::damage;
use super::tables::{self, EntityState, Links, SpaceState};
use super::{Append, Appended, FeedEntry, FeedRow, Judgement, Numbers, Placement};
use crate::change::ChangeRecord;
use crate::error::StoreError;
use crate::file::META;
use crate::id::{ChangeHash, EntityId, SpaceId};
use crate::layout::{change_key, entity_key, ordered_key};
use crate::position::{Seq, Watermark};

/// What a transaction came to.
pub(super) struct Outcome {
    pub(super) appended: Vec<Appended>,
    /// Whether there is anything to commit. Duplicates alone change nothing.
    pub(super) changed: bool,
}

pub(super) fn append_all(txn: &WriteTransaction, appends: Vec<Append>) -> Result<Outcome, StoreError> {
    let mut batch = Batch {
        feed: txn.open_table(tables::FEED)?,
        known: txn.open_table(tables::KNOWN)?,
        entities: txn.open_table(tables::ENTITIES)?,
        authors: txn.open_table(tables::AUTHORS)?,
        quarantine: txn.open_table(tables::QUARANTINE)?,
        spaces: txn.open_table(tables::SPACES)?,
        new_known: BTreeMap::new(),
        new_entities: BTreeMap::new(),
        new_authors: BTreeMap::new(),
        new_spaces: BTreeMap::new(),
    };
    let appended =
        appends.into_iter().map(|append| batch.append(txn, append)).collect::<Result<Vec<_>, _>>()?;
    let changed = batch.finish(txn)?;
    Ok(Outcome { appended, changed })
}

struct Batch<'t> {
    feed: Table<'t, &'static [u8; 12], &'static [u8]>,
    known: Table<'t, &'static [u8; 52], &'static [u8; 8]>,
    entities: Table<'t, &'static [u8; 20], &'static [u8]>,
    authors: Table<'t, &'static [u8], u64>,
    quarantine: Table<'t, &'static [u8; 52], &'static [u8]>,
    spaces: Table<'t, &'static [u8; 16], &'static [u8; 60]>,
    /// space number, entity, hash -> seq.
    new_known: BTreeMap<[u8; 52], u64>,
    /// space number, entity -> its state, and its last seq before this transaction (0 if it is new).
    new_entities: BTreeMap<[u8; 20], (EntityState, u64)>,
    /// space number, entity, author -> the number of its last change; for no author, the highest operation number.
    new_authors: BTreeMap<Vec<u8>, u64>,
    /// space -> its state, and whether it has to be written. Ordered, so that the same appends make the same file.
    new_spaces: BTreeMap<SpaceId, (SpaceState, bool)>,
}

impl Batch<'_> {
    fn append(&mut self, txn: &WriteTransaction, append: Append) -> Result<Appended, StoreError> {
        let Append { space, origin, received_ms, epoch_if_new, entries } = append;
        let mut state = match self.space(space)? {
            Some(state) => state,
            None => {
                let number = next_space_number(txn)?;
                let state = SpaceState { number, head: Watermark::start(space, epoch_if_new) };
                self.new_spaces.insert(space, (state, true));
                state
            }
        };
        let before = state.head;
        let mut placements = Vec::with_capacity(entries.len());
        let mut rows = Vec::new();
        for entry in entries {
            if let Some(placement) = self.refuse(txn, state.number, &entry)? {
                placements.push(placement);
                continue;
            }
            if state.head.seq == Seq::MAX {
                return Err(StoreError::Exhausted);
            }
            let FeedEntry { record, deps, numbers, judgement } = entry;
            state.head = state.head.extended(record.entity, record.hash);
            let row = FeedRow { seq: state.head.seq, origin, record };
            match &judgement {
                Some(judgement) => self.judge(txn, &state, &row, judgement, received_ms)?,
                None => self.insert(&state, &row, &deps, received_ms)?,
            }
            if let Some(numbers) = numbers {
                self.count(state.number, row.record.entity, &numbers)?;
            }
            placements.push(Placement::Accepted(row.seq));
            rows.push(row);
        }
        if state.head != before {
            self.new_spaces.insert(space, (state, true));
        }
        Ok(Appended { space, placements, before, head: state.head, rows })
    }

    /// What becomes of an entry that is not stored. `None`: it is to be stored.
    fn refuse(
        &mut self,
        txn: &WriteTransaction,
        space: u32,
        entry: &FeedEntry,
    ) -> Result<Option<Placement>, StoreError> {
        let FeedEntry { record, deps, numbers, judgement } = entry;
        let entity = record.entity;
        let known = self.seq(space, entity, record.hash)?;
        if let Some(judgement) = judgement {
            let last = self.entity(space, record)?.last;
            return Ok((known.is_some() || last != judgement.last.get()).then_some(Placement::Stale));
        }
        for hash in deps.iter().chain([&record.hash]) {
            if let Some(value) = self.quarantine.get(&change_key(space, entity, *hash))? {
                let (_, _, reason) = tables::parse_quarantine(value.value())?;
                return Ok(Some(Placement::Quarantined { hash: *hash, reason }));
            }
        }
        if let Some(seq) = known.filter(|_| !cfg!(bug = "no-dedup")) {
            return Ok(Some(Placement::Duplicate(Seq::new(seq))));
        }
        let missing = self.missing(space, entity, deps)?;
        if !missing.is_empty() && !cfg!(bug = "deps-not-checked") {
            return Ok(Some(Placement::MissingDeps(missing)));
        }
        let Some(numbers) = numbers else { return Ok(None) };
        let highest = self.number_of(space, entity, &[])?;
        if highest.is_none() && self.entity(space, record)?.count > 0 {
            // Some of its changes came without numbers, so nobody knows what comes next.
            return Ok(None);
        }
        let expected = self.number_of(space, entity, &numbers.author)?.unwrap_or(0).saturating_add(1);
        if numbers.number != expected {
            // One that was lost here comes back with the number that it always had.
            let was_lost = damage::was_lost(txn, space, &change_key(space, entity, record.hash))?;
            return Ok((!was_lost).then_some(Placement::Misnumbered { expected }));
        }
        let first_op_max = highest.unwrap_or(0).saturating_add(numbers.ahead_max);
        Ok((numbers.first_op > first_op_max).then_some(Placement::TooFarAhead { first_op_max }))
    }

    /// The number of an author's last change; for no author, the entity's highest operation number.
    fn number_of(&self, space: u32, entity: EntityId, author: &[u8]) -> Result<Option<u64>, StoreError> {
        let key = tables::author_key(space, entity, author);
        if let Some(number) = self.new_authors.get(&key) {
            return Ok(Some(*number));
        }
        Ok(self.authors.get(key.as_slice())?.map(|value| value.value()))
    }

    fn count(&mut self, space: u32, entity: EntityId, numbers: &Numbers) -> Result<(), StoreError> {
        let highest = self.number_of(space, entity, &[])?.unwrap_or(0).max(numbers.last_op);
        self.new_authors.insert(tables::author_key(space, entity, &[]), highest);
        let number = self.number_of(space, entity, &numbers.author)?.unwrap_or(0).max(numbers.number);
        self.new_authors.insert(tables::author_key(space, entity, &numbers.author), number);
        Ok(())
    }

    /// Stores a verdict, and what follows from it.
    fn judge(
        &mut self,
        txn: &WriteTransaction,
        space: &SpaceState,
        row: &FeedRow,
        judgement: &Judgement,
        received_ms: u64,
    ) -> Result<(), StoreError> {
        self.insert(space, row, &[], received_ms)?;
        let entity = row.record.entity;
        for (hash, reason) in &judgement.quarantined {
            let value = tables::quarantine_value(row.seq, received_ms, reason);
            self.quarantine.insert(&change_key(space.number, entity, *hash), value.as_slice())?;
        }
        for hash in &judgement.released {
            self.quarantine.remove(&change_key(space.number, entity, *hash))?;
        }
        if !judgement.damaged.is_empty() {
            let mut damaged = txn.open_table(tables::DAMAGED)?;
            for lost in &judgement.damaged {
                let change = change_key(space.number, entity, lost.hash);
                let value = tables::damaged_value(&change, row.seq);
                damaged.insert(&ordered_key(space.number, lost.seq.get()), &value)?;
                self.known.remove(&change)?;
                self.new_known.remove(&change);
            }
        }
        // It was made of other changes than those that count from now on.
        txn.open_table(tables::SNAPSHOTS)?.remove(&entity_key(space.number, entity))?;
        let mut heads = judgement.heads.clone();
        heads.sort_unstable();
        self.entity(space.number, &row.record)?.heads = heads;
        Ok(())
    }

    /// The state of the entity of `record`, to be changed.
    fn entity(&mut self, space: u32, record: &ChangeRecord) -> Result<&mut EntityState, StoreError> {
        let key = entity_key(space, record.entity);
        Ok(match self.new_entities.entry(key) {
            Entry::Occupied(entry) => &mut entry.into_mut().0,
            Entry::Vacant(entry) => {
                let stored = self.entities.get(&key)?.map(|value| EntityState::parse(value.value()));
                let state = stored.transpose()?.unwrap_or_else(|| EntityState {
                    last: 0,
                    block: 0,
                    count: 0,
                    collection: record.collection.clone(),
                    heads: Vec::new(),
                });
                let last = state.last;
                &mut entry.insert((state, last)).0
            }
        })
    }

    fn insert(
        &mut self,
        space: &SpaceState,
        row: &FeedRow,
        deps: &[ChangeHash],
        received_ms: u64,
    ) -> Result<(), StoreError> {
        let (record, seq) = (&row.record, row.seq.get());
        let entity = self.entity(space.number, record)?;
        let links = Links { chain: space.head.chain, previous: entity.last, block: entity.block };
        let value = tables::feed_value(links, received_ms, row.origin, record);
        if entity.count.is_multiple_of(tables::BLOCK_LEN) {
            entity.block = seq;
        }
        entity.last = seq;
        entity.count = entity.count.saturating_add(1);
        entity.collection.clone_from(&record.collection);
        let superseded: HashSet<&ChangeHash> = deps.iter().collect();
        entity.heads.retain(|head| !superseded.contains(head) && !cfg!(bug = "heads-forget-concurrent"));
        let place = entity.heads.partition_point(|head| *head < record.hash);
        entity.heads.insert(place, record.hash);
        self.feed.insert(&ordered_key(space.number, seq), value.as_slice())?;
        self.new_known.insert(change_key(space.number, record.entity, record.hash), seq);
        Ok(())
    }

    fn space(&self, space: SpaceId) -> Result<Option<SpaceState>, StoreError> {
        if let Some((state, _)) = self.new_spaces.get(&space) {
            return Ok(Some(*state));
        }
        self.spaces.get(space.as_bytes())?.map(|value| SpaceState::parse(value.value())).transpose()
    }

    /// The seq of a change, if it is known.
    fn seq(&self, number: u32, entity: EntityId, hash: ChangeHash) -> Result<Option<u64>, StoreError> {
        let key = change_key(number, entity, hash);
        if let Some(seq) = self.new_known.get(&key) {
            return Ok(Some(*seq));
        }
        Ok(self.known.get(&key)?.map(|value| u64::from_be_bytes(*value.value())))
    }

    fn missing(
        &self,
        number: u32,
        entity: EntityId,
        deps: &[ChangeHash],
    ) -> Result<Vec<ChangeHash>, StoreError> {
        let mut missing = Vec::new();
        for dep in deps {
            if self.seq(number, entity, *dep)?.is_none() {
                missing.push(*dep);
            }
        }
        Ok(missing)
    }

    fn finish(mut self, txn: &WriteTransaction) -> Result<bool, StoreError> {
        let mut changed = false;
        for (space, (state, dirty)) in &self.new_spaces {
            if *dirty {
                self.spaces.insert(space.as_bytes(), &state.value())?;
                changed = true;
            }
        }
        if self.new_known.is_empty() {
            return Ok(changed);
        }
        for (key, seq) in &self.new_known {
            self.known.insert(key, &seq.to_be_bytes())?;
        }
        for (key, number) in &self.new_authors {
            self.authors.insert(key.as_slice(), *number)?;
        }
        let mut tails = txn.open_table(tables::TAILS)?;
        for (key, (state, last_before)) in &self.new_entities {
            if state.last == *last_before {
                // It was only looked at.
                continue;
            }
            self.entities.insert(key, state.value().as_slice())?;
            let [n0, n1, n2, n3, entity @ ..] = key;
            let number = u32::from_be_bytes([*n0, *n1, *n2, *n3]);
            if *last_before != 0 {
                tails.remove(&ordered_key(number, *last_before))?;
            }
            tails.insert(&ordered_key(number, state.last), entity)?;
        }
        Ok(true)
    }
}

fn next_space_number(txn: &WriteTransaction) -> Result<u32, StoreError> {
    let mut meta = txn.open_table(META)?;
    let damaged = || StoreError::corrupt("the last space number");
    let last = match meta.get(tables::LAST_SPACE)? {
        Some(value) => u32::from_be_bytes(value.value().try_into().map_err(|_| damaged())?),
        None => 0,
    };
    let number = last.checked_add(1).ok_or(StoreError::Exhausted)?;
    meta.insert(tables::LAST_SPACE, number.to_be_bytes().as_slice())?;
    Ok(number)
}
