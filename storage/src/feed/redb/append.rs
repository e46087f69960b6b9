//! An append in a redb transaction: reads are made as they are needed, and everything is written at the end, in key order, because
//! random keys cost redb several times what ordered ones do.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::damage;
use super::tables::{self, SpaceState};
use crate::change::Refusal;
use crate::error::StoreError;
use crate::feed::append::{AuthorKey, ChangeKey, EntityState, Judged, Ledger, Outcome};
use crate::id::{EntityId, SpaceId};
use crate::layout::{change_key, entity_key, ordered_key};
use crate::meta::META;
use crate::position::Watermark;

/// What the file has.
pub(super) struct FileLedger<'t> {
    txn: &'t WriteTransaction,
    /// The spaces that the append is about; one that is new has no number yet.
    found: BTreeMap<SpaceId, SpaceState>,
    /// Open from the first read to the last write, as the tables below: opening one costs more than a row.
    spaces: Table<'t, &'static [u8; 16], &'static [u8; 60]>,
    known: Table<'t, &'static [u8; 52], &'static [u8; 8]>,
    entities: Table<'t, &'static [u8; 20], &'static [u8]>,
    authors: Table<'t, &'static [u8], u64>,
    quarantine: Table<'t, &'static [u8; 52], &'static [u8]>,
}

impl<'t> FileLedger<'t> {
    pub(super) fn new(
        txn: &'t WriteTransaction,
        spaces: impl IntoIterator<Item = SpaceId>,
    ) -> Result<Self, StoreError> {
        let table = txn.open_table(tables::SPACES)?;
        let mut found = BTreeMap::new();
        for space in spaces {
            if let Some(value) = table.get(space.as_bytes())? {
                found.insert(space, SpaceState::parse(value.value())?);
            }
        }
        Ok(Self {
            txn,
            found,
            spaces: table,
            known: txn.open_table(tables::KNOWN)?,
            entities: txn.open_table(tables::ENTITIES)?,
            authors: txn.open_table(tables::AUTHORS)?,
            quarantine: txn.open_table(tables::QUARANTINE)?,
        })
    }

    fn number(&self, space: SpaceId) -> Option<u32> {
        self.found.get(&space).map(|state| state.number)
    }

    fn change(&self, (space, entity, hash): &ChangeKey) -> Option<[u8; 52]> {
        Some(change_key(self.number(*space)?, *entity, *hash))
    }

    /// Writes what was decided.
    pub(super) fn write(self, outcome: &Outcome) -> Result<(), StoreError> {
        let Self { txn, mut found, mut spaces, mut known, mut entities, mut authors, mut quarantine } = self;
        for (space, head) in &outcome.spaces {
            let number = match found.get(space) {
                Some(state) => state.number,
                None => next_space_number(txn)?,
            };
            let state = SpaceState { number, head: *head };
            found.insert(*space, state);
            spaces.insert(space.as_bytes(), &state.value())?;
        }
        let number = |space: &SpaceId| {
            let state = found.get(space);
            state.map(|state| state.number).ok_or_else(|| StoreError::corrupt("a space's number"))
        };
        let mut feed = txn.open_table(tables::FEED)?;
        for new in &outcome.rows {
            let value = tables::feed_value(new.links, new.received_ms, new.row.origin, &new.row.record);
            feed.insert(&ordered_key(number(&new.space)?, new.row.seq.get()), value.as_slice())?;
        }
        for ((space, entity, hash), seq) in &outcome.known {
            let key = change_key(number(space)?, *entity, *hash);
            match seq {
                Some(seq) => known.insert(&key, &seq.to_be_bytes())?,
                None => known.remove(&key)?,
            };
        }
        for ((space, entity, author), last) in &outcome.authors {
            authors.insert(tables::author_key(number(space)?, *entity, author).as_slice(), *last)?;
        }
        let mut tails = txn.open_table(tables::TAILS)?;
        for ((space, entity), (state, last_before)) in &outcome.entities {
            let number = number(space)?;
            entities.insert(&entity_key(number, *entity), tables::entity_value(state).as_slice())?;
            if *last_before != 0 {
                tails.remove(&ordered_key(number, *last_before))?;
            }
            tails.insert(&ordered_key(number, state.last), entity.as_bytes())?;
        }
        for Judged { space, entity, seq, received_ms, judgement } in &outcome.judged {
            let number = number(space)?;
            for (hash, reason) in &judgement.quarantined {
                let value = tables::quarantine_value(*seq, *received_ms, reason);
                quarantine.insert(&change_key(number, *entity, *hash), value.as_slice())?;
            }
            for hash in &judgement.released {
                quarantine.remove(&change_key(number, *entity, *hash))?;
            }
            let mut damaged = txn.open_table(tables::DAMAGED)?;
            for lost in &judgement.damaged {
                let value = tables::damaged_value(&change_key(number, *entity, lost.hash), *seq);
                damaged.insert(&ordered_key(number, lost.seq.get()), &value)?;
            }
            // It was made of other changes than those that count from now on.
            txn.open_table(tables::SNAPSHOTS)?.remove(&entity_key(number, *entity))?;
        }
        Ok(())
    }
}

impl Ledger for FileLedger<'_> {
    fn head(&self, space: SpaceId) -> Result<Option<Watermark>, StoreError> {
        Ok(self.found.get(&space).map(|state| state.head))
    }

    fn entity(&self, space: SpaceId, entity: EntityId) -> Result<Option<EntityState>, StoreError> {
        let Some(number) = self.number(space) else { return Ok(None) };
        let stored = self.entities.get(&entity_key(number, entity))?;
        stored.map(|value| tables::parse_entity(value.value())).transpose()
    }

    fn seq(&self, change: &ChangeKey) -> Result<Option<u64>, StoreError> {
        let Some(key) = self.change(change) else { return Ok(None) };
        Ok(self.known.get(&key)?.map(|value| u64::from_be_bytes(*value.value())))
    }

    fn number_of(&self, (space, entity, author): &AuthorKey) -> Result<Option<u64>, StoreError> {
        let Some(number) = self.number(*space) else { return Ok(None) };
        let last = self.authors.get(tables::author_key(number, *entity, author).as_slice())?;
        Ok(last.map(|value| value.value()))
    }

    fn quarantined(&self, change: &ChangeKey) -> Result<Option<Refusal>, StoreError> {
        let Some(key) = self.change(change) else { return Ok(None) };
        let stored = self.quarantine.get(&key)?;
        stored.map(|value| Ok(tables::parse_quarantine(value.value())?.2)).transpose()
    }

    fn was_lost(&self, change: &ChangeKey) -> Result<bool, StoreError> {
        match (self.number(change.0), self.change(change)) {
            (Some(number), Some(key)) => damage::was_lost(self.txn, number, &key),
            _ => Ok(false),
        }
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
