//! Moving changes between an entity and those set aside: when the relay has judged them, or they do not load any more.

use std::collections::HashMap;

use redb::{ReadableTable, WriteTransaction};

use super::tables::{self, EntityState, Waiting};
use super::write::{Writer, put_aside};
use super::{Direction, SetAside, StoredChange};
use crate::change::{ChangeRecord, PayloadKind, Refusal};
use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, EntityId};
use crate::layout::{change_key, entity_key, ordered_key};

/// Changes of one entity that are left out, or taken in again.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Judged {
    /// The entity.
    #[n(0)]
    pub entity: EntityId,
    /// Its collection.
    #[n(1)]
    pub collection: CollectionName,
    /// As what the changes that leave are set aside.
    #[n(2)]
    pub direction: Direction,
    /// The changes that leave the entity, and the outbox, and are set aside. Those that are not here are remembered, so that they
    /// stay out when they come.
    #[n(3)]
    pub quarantined: Vec<(ChangeHash, Refusal)>,
    /// The changes that come back. Those that were not set aside are passed over.
    #[n(4)]
    pub released: Vec<ChangeHash>,
}

impl Writer<'_> {
    pub(super) fn judge(&mut self, txn: &WriteTransaction, judged: &Judged) -> Result<(), StoreError> {
        let (number, now_ms) = (self.number(), self.now_ms());
        let key = entity_key(number, judged.entity);
        let mut entities = txn.open_table(tables::ENTITIES)?;
        let mut changes = txn.open_table(tables::CHANGES)?;
        let mut aside = txn.open_table(tables::SET_ASIDE)?;
        let collection = self.collection(&judged.collection)?;
        let stored = entities.get(&key)?.map(|value| EntityState::parse(value.value())).transpose()?;
        let mut state = stored.unwrap_or(EntityState::new(collection));

        let reasons: HashMap<&ChangeHash, &Refusal> =
            judged.quarantined.iter().map(|(hash, reason)| (hash, reason)).collect();
        let (from, to) = (tables::numbered_key(key, 0), tables::numbered_key(key, u32::MAX));
        let mut leaving: HashMap<u32, StoredChange> = HashMap::new();
        for row in changes.range::<&[u8; 24]>(&from..=&to)? {
            let (at, value) = row?;
            let change = tables::parse_change(value.value())?;
            if reasons.contains_key(&change.hash) {
                leaving.insert(tables::number_of(at.value()), change);
            }
        }
        if state.waiting > 0 && !leaving.is_empty() {
            state.waiting =
                state.waiting.saturating_sub(self.leave_outbox_of(txn, judged.entity, &leaving)?);
        }
        for (at, change) in &leaving {
            changes.remove(&tables::numbered_key(key, *at))?;
            state.tail_bytes = state.tail_bytes.saturating_sub(change.payload.len() as u64);
        }
        let mut leaving: HashMap<ChangeHash, StoredChange> =
            leaving.into_values().map(|change| (change.hash, change)).collect();
        for (hash, reason) in &judged.quarantined {
            let at = change_key(number, judged.entity, *hash);
            let before =
                aside.get(&at)?.map(|value| tables::parse_set_aside(&at, value.value())).transpose()?;
            let record = match (leaving.remove(hash), before) {
                (Some(change), _) => change.into_record(judged.entity, judged.collection.clone()),
                (None, Some(before)) => before.record,
                (None, None) => ChangeRecord {
                    entity: judged.entity,
                    collection: judged.collection.clone(),
                    kind: PayloadKind::Change,
                    hash: *hash,
                    payload: bytes::Bytes::new(),
                },
            };
            let (direction, reason) = (judged.direction, reason.clone());
            put_aside(&mut aside, number, &SetAside { record, direction, reason, time_ms: now_ms })?;
        }
        for hash in &judged.released {
            let at = change_key(number, judged.entity, *hash);
            let Some(back) =
                aside.remove(&at)?.map(|value| tables::parse_set_aside(&at, value.value())).transpose()?
            else {
                continue;
            };
            if !back.record.payload.is_empty() {
                let value = tables::change_value(back.record.kind, *hash, &back.record.payload);
                changes.insert(&tables::numbered_key(key, state.next), value.as_slice())?;
                state.next = state.next.checked_add(1).ok_or(StoreError::Exhausted)?;
                state.tail_bytes = state.tail_bytes.saturating_add(back.record.payload.len() as u64);
            }
        }
        if stored != Some(state) {
            entities.insert(&key, &state.value())?;
        }
        Ok(())
    }

    /// Takes the places of these changes out of the outbox. Returns how many there were.
    fn leave_outbox_of(
        &mut self,
        txn: &WriteTransaction,
        entity: EntityId,
        leaving: &HashMap<u32, StoredChange>,
    ) -> Result<u32, StoreError> {
        let mut outbox = txn.open_table(tables::OUTBOX)?;
        let (from, to) = (ordered_key(self.number(), 1), ordered_key(self.number(), u64::MAX));
        let mut places = Vec::new();
        for row in outbox.range::<&[u8; 12]>(&from..=&to)? {
            let (place, value) = row?;
            let waiting = Waiting::parse(value.value())?;
            if waiting.entity == entity && leaving.contains_key(&waiting.number) {
                places.push(*place.value());
            }
        }
        for place in &places {
            outbox.remove(place)?;
        }
        self.left_outbox(places.len() as u64);
        Ok(u32::try_from(places.len()).unwrap_or(u32::MAX))
    }
}
