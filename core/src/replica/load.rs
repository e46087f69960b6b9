//! What is stored of an entity, read back: as a document, or change by change.

use std::sync::atomic::Ordering;

use headwater_storage::{
    EntityId, PayloadKind, SpaceId, StoreError, StoredChange, StoredEntity, StoredSnapshot,
};

use super::Replica;
use super::cache::DocumentCache;
use super::salvage::{Found, culprits};
use crate::document::{Alarm, Document, in_causal_order};
use crate::ingest::IngestError;

/// What the store has of an entity.
pub(super) struct Held {
    /// The changes, those for which a snapshot stands included, in causal order. Of a snapshot that is lost,
    /// only those that wait for the relay are left.
    pub(super) changes: Vec<StoredChange>,
    /// Whether it has a snapshot.
    pub(super) is_folded: bool,
    /// The snapshot, if it does not load any more, and why.
    pub(super) lost: Option<(StoredSnapshot, IngestError)>,
}

impl Replica {
    /// Builds an entity's document from its stored changes; those that do not load are set aside first. The
    /// inner error means that it cannot be built even so.
    pub(super) fn load_document(
        &self,
        documents: &mut DocumentCache,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Result<Document, IngestError>, StoreError> {
        let built = self.build(space, entity)?;
        if built.is_ok() {
            return Ok(built);
        }
        let held = self.held(space, entity)?;
        let Found { culprits, alarm } = culprits(&held.changes);
        if let Some(alarm) = alarm {
            self.alarm(space, entity, alarm);
        } else if culprits.is_empty() && !held.is_folded {
            self.alarm(space, entity, Alarm::Unexplained);
        }
        tracing::warn!(%space, %entity, culprits = culprits.len(), "stored changes do not load and are set aside");
        self.leave_out(documents, space, entity, held, culprits)?;
        self.build(space, entity)
    }

    pub(super) fn build(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Result<Document, IngestError>, StoreError> {
        self.inner.documents_loaded.fetch_add(1, Ordering::Relaxed);
        let stored = self.store().entity(space, entity)?;
        self.note_if_due(space, entity, &stored);
        Ok(Document::from_stored(&stored))
    }

    /// As [`Replica::held`], after a snapshot that does not load was set aside.
    pub(super) fn held_whole(
        &self,
        documents: &mut DocumentCache,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Held, StoreError> {
        let held = self.held(space, entity)?;
        if held.lost.is_none() {
            return Ok(held);
        }
        drop(documents.take(space, entity));
        let _salvaged = self.load_document(documents, space, entity)?;
        self.held(space, entity)
    }

    /// All that the store has of an entity, as changes. Whoever calls this keeps others from writing
    /// meanwhile.
    pub(super) fn held(&self, space: SpaceId, entity: EntityId) -> Result<Held, StoreError> {
        let StoredEntity { snapshot, changes, .. } = self.store().entity(space, entity)?;
        let Some(snapshot) = snapshot else {
            return Ok(Held { changes: in_causal_order(changes), is_folded: false, lost: None });
        };
        match Document::from_snapshot(&snapshot).and_then(|document| document.all_changes()) {
            Ok(folded) => {
                let kind = PayloadKind::Change;
                let folded = folded.into_iter().map(|(hash, payload)| StoredChange { kind, hash, payload });
                let changes = in_causal_order(folded.chain(changes).collect());
                Ok(Held { changes, is_folded: true, lost: None })
            }
            Err(error) => {
                let changes = in_causal_order(self.store().loose_changes(space, entity)?);
                Ok(Held { changes, is_folded: true, lost: Some((snapshot, error)) })
            }
        }
    }
}
