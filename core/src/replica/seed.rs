//! Snapshots from the relay: an entity that is not here begins with one, and what came after it follows.

use std::sync::PoisonError;

use headwater_storage::{
    ChangeRecord, Commit, CommitDurability, Extent, NewSnapshot, PayloadKind, SpaceId, Step, StoredSnapshot,
};

use super::merge::set_aside;
use super::step::{Before, EntityStep};
use super::watch::Origin;
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
                    commit.steps.push(Step::SetAside(set_aside(record, &error, now_ms)));
                }
            }
        }
        seeded.merged.set_aside = commit.steps.len() as u64;
        let mut steps = Vec::with_capacity(fresh.len());
        for (record, document, view) in fresh {
            let ChangeRecord { entity, collection, hash, payload, .. } = record;
            let (changes, changes_bytes) = (document.changes_len(), document.size_bytes() as u64);
            seeded.merged.applied += changes;
            let mut step = EntityStep::new(entity, collection.clone(), Before::default(), Origin::Remote);
            step.fold(NewSnapshot {
                entity,
                collection,
                extent: Extent::default(),
                snapshot: StoredSnapshot { hash, changes, changes_bytes, payload },
                is_from_relay: true,
            });
            step.show_document(view, document);
            steps.push(step);
        }
        if !steps.is_empty() || !commit.steps.is_empty() {
            self.commit_entities(&mut documents, steps, commit)?;
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
