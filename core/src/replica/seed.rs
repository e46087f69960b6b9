//! Snapshots from the relay: an entity that is not here begins with one, and what came after it follows.

use std::sync::PoisonError;

use headwater_storage::{
    ChangeRecord, Commit, CommitDurability, EntityWrite, Extent, NewSnapshot, PayloadKind, SpaceId,
    StoredSnapshot,
};

use super::merge::set_aside;
use super::watch::{Origin, Patch};
use super::{MergeError, Merged, Replica};
use crate::document::{Document, View};
use crate::ingest::IngestError;

/// What became of the snapshots of a page.
#[derive(Default)]
pub(super) struct Seeded {
    pub(super) merged: Merged,
    /// What the snapshots stand for whose entities were here already. To be merged like everything else that arrives.
    pub(super) changes: Vec<ChangeRecord>,
    /// Whether one could not be used. What it stands for is still at the relay: comparing heads brings it, change by change.
    pub(super) is_any_lost: bool,
}

impl Replica {
    /// Takes snapshots in, in one transaction that the next flush makes durable.
    pub(super) fn seed(&self, space: SpaceId, snapshots: Vec<ChangeRecord>) -> Result<Seeded, MergeError> {
        let now_ms = self.now_ms();
        let mut seeded = Seeded::default();
        if snapshots.is_empty() {
            return Ok(seeded);
        }
        let mut commit = Commit::new(space, now_ms);
        commit.durability = CommitDurability::Deferred;
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh: Vec<(ChangeRecord, Document, View)> = Vec::new();
        for record in snapshots {
            let entity = record.entity;
            let is_here = self.store().find(space, entity)?.is_some()
                || fresh.iter().any(|(fresh, ..)| fresh.entity == entity);
            let used = Document::from_record(&record).and_then(|document| {
                if is_here {
                    seeded.changes.extend(one_by_one(&record, &document)?);
                    return Ok(None);
                }
                let view =
                    View::of(&document).map_err(|error| IngestError::DoesNotApply(error.to_string()))?;
                Ok(Some((document, view)))
            });
            match used {
                Ok(Some((document, view))) => fresh.push((record, document, view)),
                Ok(None) => {}
                Err(error) => {
                    seeded.is_any_lost = true;
                    commit.set_aside.push(set_aside(record, &error, now_ms));
                }
            }
        }
        seeded.merged.set_aside = commit.set_aside.len() as u64;
        for (record, document, view) in &fresh {
            let (entity, extent) = (record.entity, Extent::default());
            let collection = view.collection.clone().unwrap_or_else(|| record.collection.clone());
            let snapshot = StoredSnapshot {
                hash: record.hash,
                changes: document.changes_len(),
                changes_bytes: document.size_bytes() as u64,
                payload: record.payload.clone(),
            };
            seeded.merged.applied += snapshot.changes;

            commit.snapshots.push(NewSnapshot {
                entity,
                collection: collection.clone(),
                extent,
                snapshot,
                is_from_relay: true,
            });
            let row = Some(view.encode().into());
            commit.writes.push(EntityWrite { entity, collection, changes: Vec::new(), row });
        }
        if commit.writes.is_empty() && commit.set_aside.is_empty() {
            return Ok(seeded);
        }
        self.commit(commit)?;
        for (record, document, view) in fresh {
            let collection = view.collection.clone().unwrap_or(record.collection);
            let patch = Patch::between((space, &collection, record.entity), None, &view, Origin::Remote);
            documents.put(space, record.entity, document);
            self.notify(patch);
        }
        Ok(seeded)
    }
}

fn one_by_one(snapshot: &ChangeRecord, document: &Document) -> Result<Vec<ChangeRecord>, IngestError> {
    let record = |(hash, payload)| ChangeRecord {
        entity: snapshot.entity,
        collection: snapshot.collection.clone(),
        kind: PayloadKind::Change,
        hash,
        payload,
    };
    Ok(document.all_changes()?.into_iter().map(record).collect())
}
