//! The one way in which changes from elsewhere come in: check, apply, view rows, watermark, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use headwater_storage::{
    ChangeRecord, CollectionName, Commit, CommitDurability, Direction, EntityId, EntityWrite, NewChange, Outbox, OutboxSeq, PayloadKind,
    Position, Refusal, SetAside, SpaceId,
};

use super::cache::DocumentCache;
use super::watch::{Origin, Patch};
use super::{EditError, MergeError, Replica};
use crate::document::ingest::{ChangeLimits, CheckedChange, IngestError, check_record};
use crate::document::{Document, View};

/// The code under which a change that this replica could not use is set aside; see the error table in `docs/protocol.md`.
const REFUSED_BY_INGEST: u16 = 1;

/// Changes to merge, and where in the feed they leave the replica.
#[derive(Clone, Debug, Default)]
pub struct MergeRequest {
    /// The changes, in feed order.
    pub records: Vec<ChangeRecord>,
    /// What the replica knows of the feed once they are in. `None` leaves it as it is.
    pub position: Option<Position>,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Changes that are new here.
    pub applied: u64,
    /// Changes that were here already.
    pub duplicates: u64,
    /// Changes that could not be used and are kept apart.
    pub set_aside: u64,
}

/// One entity's new changes, applied.
struct Applied {
    entity: EntityId,
    collection: CollectionName,
    document: Document,
    changes: Vec<ChangeRecord>,
    view: View,
    patch: Option<Patch>,
}

impl Replica {
    /// Merges changes from elsewhere and remembers the feed position, in one durable transaction. Merging a change again, or
    /// before the changes that it depends on, does no harm.
    ///
    /// # Errors
    /// Only when the store fails. A change that cannot be used is set aside, and the others are merged.
    pub fn merge(&self, space: SpaceId, request: MergeRequest) -> Result<Merged, MergeError> {
        let now_ms = self.now_ms();
        let mut merged = Merged::default();
        let mut commit = Commit::new(space, now_ms);
        commit.position = request.position;
        // entity -> its changes in the order they came. Documents are built once per entity and page.
        let mut order: Vec<EntityId> = Vec::new();
        let mut by_entity: HashMap<EntityId, Vec<(ChangeRecord, CheckedChange)>> = HashMap::new();
        for record in request.records {
            match check_record(&record, &ChangeLimits::default()) {
                Ok(change) => {
                    let changes = by_entity.entry(record.entity).or_default();
                    if changes.is_empty() {
                        order.push(record.entity);
                    }
                    changes.push((record, change));
                }
                Err(error) => commit.set_aside.push(set_aside(record, &error, now_ms)),
            }
        }
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut applied = Vec::with_capacity(order.len());
        for entity in order {
            let changes = by_entity.remove(&entity).unwrap_or_default();
            let count = changes.len() as u64;
            if let Some(done) = self.apply(space, entity, changes, &mut documents, &mut commit.set_aside, now_ms)? {
                merged.applied += done.changes.len() as u64;
                merged.duplicates += count - done.changes.len() as u64;
                applied.push(done);
            } else {
                merged.duplicates += count;
            }
        }
        merged.set_aside = commit.set_aside.len() as u64;
        merged.duplicates -= merged.duplicates.min(merged.set_aside);
        if applied.is_empty() && commit.set_aside.is_empty() && commit.position.is_none() {
            return Ok(merged);
        }
        commit.writes = applied.iter().map(Applied::entity_write).collect();
        self.store().commit(commit)?;
        for Applied { entity, document, patch, .. } in applied {
            documents.put(space, entity, document);
            self.notify(patch);
        }
        Ok(merged)
    }

    /// Takes note of what the relay answered to pushed changes: they leave the outbox. Not flushed on its own, because a relay
    /// that is asked again gives the same answer.
    ///
    /// # Errors
    /// When the store fails.
    pub fn acknowledge(
        &self,
        space: SpaceId,
        acknowledged: Vec<OutboxSeq>,
        refused: Vec<(OutboxSeq, Refusal)>,
        position: Option<Position>,
    ) -> Result<(), MergeError> {
        let mut commit = Commit::new(space, self.now_ms());
        commit.acknowledged = acknowledged;
        commit.refused = refused;
        commit.position = position;
        commit.durability = CommitDurability::Deferred;
        self.store().commit(commit)?;
        self.outbox_moved();
        Ok(())
    }

    fn apply(
        &self,
        space: SpaceId,
        entity: EntityId,
        mut changes: Vec<(ChangeRecord, CheckedChange)>,
        documents: &mut DocumentCache,
        set_aside_list: &mut Vec<SetAside>,
        now_ms: u64,
    ) -> Result<Option<Applied>, MergeError> {
        let stored = self.store().find(space, entity)?;
        // A row that does not decode is made again from the document below.
        let base = stored.as_ref().and_then(|(_, row)| View::decode(row).ok());
        // Most repeats are of an entity's newest change, and need no document to be recognised.
        if base.as_ref().is_some_and(|base| changes.iter().all(|(record, _)| base.heads.contains(&record.hash))) {
            return Ok(None);
        }
        let document = match (documents.take(space, entity), &stored) {
            (Some(document), _) => document,
            (None, None) => Document::new(),
            (None, Some(_)) => match self.load(space, entity) {
                Ok(document) => document,
                Err(EditError::Unloadable { error, .. }) => {
                    set_aside_list.extend(changes.into_iter().map(|(record, _)| set_aside(record, &error, now_ms)));
                    return Ok(None);
                }
                Err(EditError::Read(super::ReadError::Store(error))) => return Err(error.into()),
                Err(_) => return Ok(None),
            },
        };
        let mut seen = HashSet::with_capacity(changes.len());
        changes.retain(|(record, _)| !document.contains(&record.hash) && seen.insert(record.hash));
        if changes.is_empty() {
            documents.put(space, entity, document);
            return Ok(None);
        }
        let base = base.unwrap_or_default();
        let (document, kept) = apply_or_set_aside(document, changes, set_aside_list, now_ms);
        let stamps = kept.iter().map(|(_, change)| (change.time_ms, change.actor.as_slice()));
        let view = match base.advance(&document, stamps) {
            Ok(view) => view,
            Err(error) => {
                let error = IngestError::DoesNotApply(error.to_string());
                set_aside_list.extend(kept.into_iter().map(|(record, _)| set_aside(record, &error, now_ms)));
                return Ok(None);
            }
        };
        let Some((first, _)) = kept.first() else { return Ok(None) };
        // The document says which collection it is in; the routing header only until the document does.
        let collection = view.collection.clone().unwrap_or_else(|| first.collection.clone());
        let patch = Patch::between((space, &collection, entity), Some(&base), &view, Origin::Remote);
        let changes = kept.into_iter().map(|(record, _)| record).collect();
        Ok(Some(Applied { entity, collection, document, changes, view, patch }))
    }
}

impl Applied {
    fn entity_write(&self) -> EntityWrite {
        let changes = self.changes.iter().map(|record| NewChange {
            kind: PayloadKind::Change,
            hash: record.hash,
            payload: record.payload.clone(),
            outbox: Outbox::Skip,
        });
        EntityWrite {
            entity: self.entity,
            collection: self.collection.clone(),
            changes: changes.collect(),
            row: Some(self.view.encode().into()),
        }
    }
}

/// Applies all changes at once; if that fails, one by one on scratch copies, so that only the culprits are kept apart.
fn apply_or_set_aside(
    document: Document,
    changes: Vec<(ChangeRecord, CheckedChange)>,
    set_aside_list: &mut Vec<SetAside>,
    now_ms: u64,
) -> (Document, Vec<(ChangeRecord, CheckedChange)>) {
    let mut scratch = document.clone();
    let all = changes.iter().map(|(_, change)| change.clone()).collect();
    if scratch.apply_checked(all).is_ok() {
        return (scratch, changes);
    }
    let mut document = document;
    let mut kept = Vec::with_capacity(changes.len());
    for (record, change) in changes {
        let mut scratch = document.clone();
        match scratch.apply_checked(vec![change.clone()]) {
            Ok(()) => {
                document = scratch;
                kept.push((record, change));
            }
            Err(error) => set_aside_list.push(set_aside(record, &error, now_ms)),
        }
    }
    (document, kept)
}

fn set_aside(record: ChangeRecord, error: &IngestError, time_ms: u64) -> SetAside {
    let reason = Refusal { code: REFUSED_BY_INGEST, message: error.to_string() };
    SetAside { record, direction: Direction::FromRelay, reason, time_ms }
}
