//! How a commit is written: its steps, one after the other, in one redb transaction.

use std::collections::BTreeMap;
use std::mem::discriminant;

use redb::{Durability, ReadableTable, Table, WriteTransaction};

use super::names::Names;
use super::snapshot::snapshot_is_due;
use super::store::outbox_seq;
use super::tables::{self, EntityState, Waiting};
use super::{Commit, CommitDurability, Direction, Outbox, OutboxSeq, SetAside, Step};
use crate::change::ChangeRecord;
use crate::error::StoreError;
use crate::id::{CollectionName, EntityId, SpaceId};
use crate::layout::{change_key, entity_key, ordered_key};
use crate::position::Position;

/// What the names in memory have to learn once the transaction is committed.
pub(super) struct Staged {
    pub(super) space: (SpaceId, u32),
    /// name -> collection number, of the collections that are new.
    pub(super) collections: Vec<(CollectionName, u32)>,
    pub(super) outbox: Vec<OutboxSeq>,
    pub(super) outbox_left: u64,
    pub(super) folded: Vec<EntityId>,
    pub(super) due: Vec<(EntityId, u64)>,
}

impl Staged {
    /// How many changes wait in the outbox after this, if `before` did before it.
    pub(super) fn waiting_after(&self, before: u64) -> u64 {
        before.saturating_add(self.outbox.len() as u64).saturating_sub(self.outbox_left)
    }
}

/// Writes `commit` into `txn`. The caller holds the writer lock, so `names` is what the file says.
pub(super) fn write(txn: &WriteTransaction, names: &Names, commit: &Commit) -> Result<Staged, StoreError> {
    let known = names.space(commit.space);
    let number = match known {
        Some(space) => space.number,
        None => names.next_space().ok_or(StoreError::Exhausted)?,
    };
    let mut writer = Writer {
        names,
        number,
        now_ms: commit.now_ms,
        rows_delta: BTreeMap::new(),
        staged: Staged {
            space: (commit.space, number),
            collections: Vec::new(),
            outbox: Vec::new(),
            outbox_left: 0,
            folded: Vec::new(),
            due: Vec::new(),
        },
    };
    if known.is_none() {
        writer.reach(txn, commit.space, &Position::default())?;
    }
    // Opening a table costs as much as a small write, so steps of one kind that follow each other share
    // theirs.
    for run in commit.steps.chunk_by(|one, next| discriminant(one) == discriminant(next)) {
        writer.take(txn, commit.space, run)?;
    }
    writer.write_collections(txn)?;
    if !writer.staged.outbox.is_empty() || writer.staged.outbox_left > 0 {
        let waiting = writer.staged.waiting_after(known.map_or(0, |space| space.outbox_len));
        let mut outbox = txn.open_table(tables::OUTBOX)?;
        outbox.insert(&ordered_key(number, 0), &tables::counter_value(waiting))?;
    }
    Ok(writer.staged)
}

/// How durable `commit` has to be, whatever it asks for.
pub(super) fn durability(commit: &Commit) -> Durability {
    match commit.durability {
        _ if cfg!(bug = "write-not-durable") => Durability::None,
        CommitDurability::Deferred if !commit.must_last() => Durability::None,
        _ => Durability::Immediate,
    }
}

pub(super) struct Writer<'a> {
    names: &'a Names,
    number: u32,
    now_ms: u64,
    staged: Staged,
    /// collection number -> (its name, how many rows it gained or lost).
    rows_delta: BTreeMap<u32, (CollectionName, i64)>,
}

impl Writer<'_> {
    /// Takes steps of one kind.
    fn take(&mut self, txn: &WriteTransaction, space: SpaceId, run: &[Step]) -> Result<(), StoreError> {
        match run.first() {
            Some(Step::Write(_)) => return self.write_entities(txn, run),
            Some(Step::Acknowledge(_) | Step::Refuse(..)) => return self.leave_outbox(txn, run),
            Some(Step::SetAside(_) | Step::Recover(..)) => return self.move_aside(txn, run),
            _ => {}
        }
        for step in run {
            match step {
                Step::Unfold(unfolded) => self.unfold(txn, unfolded)?,
                Step::Judge(judged) => self.judge(txn, judged)?,
                Step::Fold(new) => {
                    if self.fold(txn, new)? {
                        self.staged.folded.push(new.entity);
                    }
                }
                Step::Position(position) => self.reach(txn, space, position)?,
                Step::Write(_)
                | Step::Acknowledge(_)
                | Step::Refuse(..)
                | Step::SetAside(_)
                | Step::Recover(..) => {}
            }
        }
        Ok(())
    }

    fn reach(&self, txn: &WriteTransaction, space: SpaceId, position: &Position) -> Result<(), StoreError> {
        let value = tables::space_value(self.number, position);
        txn.open_table(tables::SPACES)?.insert(space.as_bytes(), value.as_slice())?;
        Ok(())
    }

    fn move_aside(&self, txn: &WriteTransaction, run: &[Step]) -> Result<(), StoreError> {
        let mut table = txn.open_table(tables::SET_ASIDE)?;
        for step in run {
            match step {
                Step::SetAside(row) => put_aside(&mut table, self.number, row)?,
                Step::Recover(entity, hash) => {
                    table.remove(&change_key(self.number, *entity, *hash))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write_entities(&mut self, txn: &WriteTransaction, run: &[Step]) -> Result<(), StoreError> {
        let mut entities = txn.open_table(tables::ENTITIES)?;
        let mut changes = txn.open_table(tables::CHANGES)?;
        let mut rows = txn.open_table(tables::ROWS)?;
        let mut waiting = Vec::new();
        let writes = run.iter().filter_map(|step| match step {
            Step::Write(write) => Some(write),
            _ => None,
        });
        for write in writes {
            let collection = self.collection(&write.collection)?;
            let key = entity_key(self.number, write.entity);
            let stored = entities.get(&key)?.map(|value| EntityState::parse(value.value())).transpose()?;
            let mut state = stored.unwrap_or(EntityState::new(collection));
            for change in &write.changes {
                let value = tables::change_value(change.kind, change.hash, &change.payload);
                changes.insert(&tables::numbered_key(key, state.next), value.as_slice())?;
                match change.outbox {
                    Outbox::Queue => {
                        waiting.push(Waiting { entity: write.entity, number: state.next, collection });
                        state.waiting = state.waiting.saturating_add(1);
                    }
                    Outbox::Skip => state.synced_ms = self.now_ms,
                }
                state.next = state.next.checked_add(1).ok_or(StoreError::Exhausted)?;
                state.tail_bytes = state.tail_bytes.saturating_add(change.payload.len() as u64);
            }
            let behind = u64::from(state.next.saturating_sub(state.base));
            let is_due = snapshot_is_due(behind, state.tail_bytes, state.snapshot_bytes);
            if !write.changes.is_empty() && is_due {
                self.staged.due.push((write.entity, state.tail_bytes));
            }
            let is_stale = cfg!(bug = "row-not-replaced") && stored.is_some();
            if let Some(row) = write.row.as_ref().filter(|_| !is_stale) {
                if state.collection != collection {
                    self.remove_row(&mut rows, state.collection, write.entity)?;
                    state.collection = collection;
                }
                let old = rows.insert(&entity_key(collection, write.entity), row.as_ref())?;
                if old.is_none() {
                    self.count(collection, &write.collection, 1);
                }
            }
            if stored != Some(state) {
                entities.insert(&key, &state.value())?;
            }
        }
        if !waiting.is_empty() {
            self.queue(txn, &waiting)?;
        }
        Ok(())
    }

    fn remove_row(
        &mut self,
        rows: &mut Table<'_, &'static [u8; 20], &'static [u8]>,
        collection: u32,
        entity: EntityId,
    ) -> Result<(), StoreError> {
        if rows.remove(&entity_key(collection, entity))?.is_some() {
            let name = self.name(collection).ok_or_else(|| StoreError::corrupt("a row of entities_v1"))?;
            self.count(collection, &name, -1);
        }
        Ok(())
    }

    fn queue(&mut self, txn: &WriteTransaction, waiting: &[Waiting]) -> Result<(), StoreError> {
        let mut outbox = txn.open_table(tables::OUTBOX)?;
        let mut last = outbox
            .get(&tables::OUTBOX_COUNTER)?
            .map_or(Ok(0), |value| tables::parse_counter(value.value()))?;
        if cfg!(bug = "outbox-places-reused") {
            let (first, end) = (ordered_key(self.number, 1), ordered_key(self.number, u64::MAX));
            let newest = outbox.range::<&[u8; 12]>(&first..=&end)?.next_back().transpose()?;
            last = newest.map_or(0, |(key, _)| outbox_seq(key.value()).get());
        }
        for entry in waiting {
            last = last.checked_add(1).ok_or(StoreError::Exhausted)?;
            outbox.insert(&ordered_key(self.number, last), &entry.value())?;
            self.staged.outbox.push(OutboxSeq::new(last));
        }
        outbox.insert(&tables::OUTBOX_COUNTER, &tables::counter_value(last))?;
        Ok(())
    }

    fn leave_outbox(&mut self, txn: &WriteTransaction, run: &[Step]) -> Result<(), StoreError> {
        let mut outbox = txn.open_table(tables::OUTBOX)?;
        let mut entities = txn.open_table(tables::ENTITIES)?;
        let mut changes = txn.open_table(tables::CHANGES)?;
        let mut leave = |seq: OutboxSeq, synced_ms: Option<u64>| {
            let key = ordered_key(self.number, seq.get());
            let removed = outbox.remove(&key)?.map(|value| Waiting::parse(value.value())).transpose()?;
            let Some(waiting) = removed else { return Ok::<_, StoreError>(None) };
            self.staged.outbox_left += 1;
            let key = entity_key(self.number, waiting.entity);
            let state = entities.get(&key)?.map(|value| EntityState::parse(value.value())).transpose()?;
            if let Some(mut state) = state {
                state.waiting = state.waiting.saturating_sub(1);
                state.synced_ms = synced_ms.unwrap_or(state.synced_ms);
                entities.insert(&key, &state.value())?;
                if synced_ms.is_some() && waiting.number < state.base {
                    // The snapshot stands for it, and only the outbox still needed it.
                    changes.remove(&tables::numbered_key(key, waiting.number))?;
                }
            }
            Ok(Some(waiting))
        };
        let mut refused = Vec::new();
        for step in run {
            match step {
                Step::Acknowledge(seq) => {
                    leave(*seq, Some(self.now_ms))?;
                }
                Step::Refuse(seq, reason) => {
                    refused.extend(leave(*seq, None)?.map(|waiting| (waiting, reason)));
                }
                _ => {}
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let mut set_aside = txn.open_table(tables::SET_ASIDE)?;
        for (waiting, reason) in refused {
            let (record, is_covered) = self.record(&changes, &entities, &waiting)?;
            let row = SetAside {
                record,
                direction: Direction::Refused,
                reason: reason.clone(),
                time_ms: self.now_ms,
            };
            put_aside(&mut set_aside, self.number, &row)?;
            if is_covered {
                let key = entity_key(self.number, waiting.entity);
                changes.remove(&tables::numbered_key(key, waiting.number))?;
            }
        }
        Ok(())
    }

    /// The change that waited, and whether the entity's snapshot stands for it.
    fn record(
        &self,
        changes: &impl ReadableTable<&'static [u8; 24], &'static [u8]>,
        entities: &impl ReadableTable<&'static [u8; 20], &'static [u8; 40]>,
        waiting: &Waiting,
    ) -> Result<(ChangeRecord, bool), StoreError> {
        let damaged = || StoreError::corrupt("a row of outbox_v1");
        let entity = entity_key(self.number, waiting.entity);
        let base = entities.get(&entity)?.map(|value| EntityState::parse(value.value())).transpose()?;
        let key = tables::numbered_key(entity, waiting.number);
        let stored = tables::parse_change(changes.get(&key)?.ok_or_else(damaged)?.value())?;
        let collection = self.name(waiting.collection).ok_or_else(damaged)?;
        let is_covered = base.is_some_and(|state| waiting.number < state.base);
        Ok((stored.into_record(waiting.entity, collection), is_covered))
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub(super) fn left_outbox(&mut self, count: u64) {
        self.staged.outbox_left += count;
    }

    /// The number of a collection of this space; a new one if it has none.
    pub(super) fn collection(&mut self, name: &CollectionName) -> Result<u32, StoreError> {
        if let Some(number) = self.names.collection(self.number, name) {
            return Ok(number);
        }
        if let Some((_, number)) = self.staged.collections.iter().find(|(staged, _)| staged == name) {
            return Ok(*number);
        }
        let number =
            self.names.next_collection(self.staged.collections.len()).ok_or(StoreError::Exhausted)?;
        self.staged.collections.push((name.clone(), number));
        self.count(number, name, 0);
        Ok(number)
    }

    fn name(&self, collection: u32) -> Option<CollectionName> {
        let staged = self.staged.collections.iter().find(|(_, number)| *number == collection);
        staged.map(|(name, _)| name.clone()).or_else(|| self.names.collection_name(collection))
    }

    fn count(&mut self, collection: u32, name: &CollectionName, rows: i64) {
        self.rows_delta.entry(collection).or_insert_with(|| (name.clone(), 0)).1 += rows;
    }

    fn write_collections(&self, txn: &WriteTransaction) -> Result<(), StoreError> {
        if self.rows_delta.is_empty() {
            return Ok(());
        }
        let mut table = txn.open_table(tables::COLLECTIONS)?;
        for (number, (name, delta)) in &self.rows_delta {
            let key = tables::collection_key(self.number, name);
            let rows = match table.get(key.as_slice())? {
                Some(value) => tables::parse_collection(value.value())?.1,
                None => 0,
            };
            let rows = rows.saturating_add_signed(*delta);
            table.insert(key.as_slice(), &tables::collection_value(*number, rows))?;
        }
        Ok(())
    }
}

pub(super) fn put_aside(
    table: &mut Table<'_, &'static [u8; 52], &'static [u8]>,
    number: u32,
    row: &SetAside,
) -> Result<(), StoreError> {
    let key = change_key(number, row.record.entity, row.record.hash);
    table.insert(&key, tables::set_aside_value(row).as_slice())?;
    Ok(())
}
