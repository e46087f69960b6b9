//! The one way in which local edits are made: difference, change, view row, outbox, in one transaction.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use headwater_storage::{Bytes, ChangeHash, CollectionName, Commit, EntityId, Outbox, SpaceId};

use super::step::{Before, EntityStep};
use super::watch::Origin;
use super::{EditError, Inner, ReadError, Receipt, Replica, new_actor};
use crate::document::{
    ACTOR_BYTES, Document, Genesis, HEADS_MAX, LocalEdit, Tombstone, View, ViewError, WriteError,
    check_fields,
};
use crate::model::Map;

/// How often an edit is planned anew because another write came between. Somebody else gets through each time, so this many are
/// only ever needed by an edit that waits for another one inside itself.
const ATTEMPTS_MAX: usize = 1_000;

thread_local! {
    /// The entities whose `update` is running its closure on this thread.
    static UPDATING: RefCell<Vec<(*const Inner, SpaceId, EntityId)>> = const { RefCell::new(Vec::new()) };
}

/// One entity's part of a write.
pub(super) struct EntityEdit {
    pub(super) entity: EntityId,
    /// What the edit is based on; `None` for an entity that is not there yet.
    pub(super) base: Option<View>,
    /// The fields that the app saw, and what it made of them.
    pub(super) before: Map,
    pub(super) after: Map,
    pub(super) tombstone: Tombstone,
    /// The change that is written again, if it is one.
    pub(super) again: Option<ChangeHash>,
}

pub(super) enum Attempt {
    Committed(Receipt),
    /// Another write came between reading the base and this one; read again and repeat.
    Stale,
}

/// One entity's step, and the changes that its receipt asks about.
struct Prepared {
    entity: EntityId,
    changes: Vec<ChangeHash>,
    step: EntityStep,
}

impl Replica {
    /// Plans edits and makes them, again and again until no other write comes between the two.
    pub(super) fn write_planned(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        genesis: Option<&Genesis>,
        mut plan: impl FnMut() -> Result<Vec<EntityEdit>, EditError>,
    ) -> Result<Receipt, EditError> {
        let mut first = None;
        for _ in 0..ATTEMPTS_MAX {
            let edits = plan()?;
            first = edits.first().map(|edit| edit.entity);
            if let Attempt::Committed(receipt) = self.write(space, collection, genesis, edits)? {
                return Ok(receipt);
            }
        }
        Err(EditError::Contended(first.unwrap_or(EntityId::from_bytes([0; 16]))))
    }

    /// Runs an app's closure, during which this thread must not write to the entity: that would make what the closure was given
    /// outdated, so it would have to run again, and write again.
    pub(super) fn updating<R>(&self, space: SpaceId, entity: EntityId, edit: impl FnOnce() -> R) -> R {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                UPDATING.with_borrow_mut(|updating| updating.truncate(updating.len().saturating_sub(1)));
            }
        }
        UPDATING.with_borrow_mut(|updating| updating.push((Arc::as_ptr(&self.inner), space, entity)));
        let _leave = Leave;
        edit()
    }

    fn is_updating(&self, space: SpaceId, entity: EntityId) -> bool {
        let this = (Arc::as_ptr(&self.inner), space, entity);
        UPDATING.with_borrow(|updating| updating.contains(&this))
    }

    /// Makes all `edits` in one durable transaction, or none.
    pub(super) fn write(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        genesis: Option<&Genesis>,
        edits: Vec<EntityEdit>,
    ) -> Result<Attempt, EditError> {
        if let Some(edit) = edits.iter().find(|edit| self.is_updating(space, edit.entity)) {
            return Err(EditError::Nested(edit.entity));
        }
        let now_ms = self.now_ms();
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = Vec::with_capacity(edits.len());
        let mut entities = HashSet::with_capacity(edits.len());
        for mut edit in edits {
            if !entities.insert(edit.entity) {
                // Both edits would rest on the same state, and make two different changes with one number.
                return Err(EditError::Twice(edit.entity));
            }
            match self.store().find(space, edit.entity)? {
                Some((held, _)) if held != *collection => {
                    return Err(EditError::OtherCollection { entity: edit.entity, collection: held });
                }
                Some((_, Some(row))) => {
                    let damaged = |error| ReadError::Damaged { entity: edit.entity, error };
                    let view = View::decode_header(&row).map_err(damaged)?;
                    match &edit.base {
                        Some(base) if base.heads == view.heads => {}
                        // Nobody can see it, so nobody can have based anything on it.
                        None if !view.exists() => edit.base = Some(View::decode(&row).map_err(damaged)?),
                        _ => return Ok(Attempt::Stale),
                    }
                }
                Some((_, None)) | None if edit.base.is_some() => return Ok(Attempt::Stale),
                Some((_, None)) | None => {}
            }
            let document = match (documents.take(space, edit.entity), &edit.base) {
                (Some(document), _) => document,
                (None, Some(_)) => self
                    .load_document(&mut documents, space, edit.entity)?
                    .map_err(|error| EditError::Unloadable { entity: edit.entity, error })?,
                (None, None) => Document::new(),
            };
            prepared.extend(self.prepare(collection, genesis, edit, document, now_ms)?);
        }
        if prepared.is_empty() {
            return Ok(Attempt::Committed(Receipt::new(self.clone(), space, Vec::new())));
        }
        let changes: Vec<(EntityId, ChangeHash)> = prepared
            .iter()
            .flat_map(|prepared| prepared.changes.iter().map(|hash| (prepared.entity, *hash)))
            .collect();
        let steps = prepared.into_iter().map(|prepared| prepared.step).collect();
        let committed = self.commit_entities(&mut documents, steps, Commit::new(space, now_ms))?;
        drop(documents);
        let receipt = committed.outbox.into_iter().zip(changes);
        let receipt = receipt.map(|(seq, (entity, hash))| (seq, entity, hash)).collect();
        self.outbox_moved();
        self.inner.local_commits.send_modify(|commits| *commits = commits.wrapping_add(1));
        Ok(Attempt::Committed(Receipt::new(self.clone(), space, receipt)))
    }

    fn prepare(
        &self,
        collection: &CollectionName,
        genesis: Option<&Genesis>,
        edit: EntityEdit,
        mut document: Document,
        now_ms: u64,
    ) -> Result<Option<Prepared>, EditError> {
        let EntityEdit { entity, base, before, after, tombstone, again } = edit;
        check_fields(&after)?;
        let view_error = |error| match error {
            // A list stays a tuple or a keyed list where it takes the place of one, and has a map around it then.
            ViewError::TooDeep => EditError::Write(WriteError::TooDeep),
            error => EditError::View { entity, error },
        };
        let mut changes: Vec<(ChangeHash, Bytes)> = Vec::new();
        if base.as_ref().is_some_and(|base| base.heads.len() > HEADS_MAX) {
            let met = document.meet(collection)?.into_iter();
            changes.extend(met.map(|made| (made.hash, made.payload)));
        }
        let is_new = base.as_ref().is_none_or(|base| !base.exists());
        if let Some(genesis) = genesis.filter(|_| !is_new) {
            let current = base.as_ref().map_or(const { &Map::new() }, |base| &base.fields);
            changes.extend(genesis.create_missing(&mut document, current, &before, &after)?);
        }
        let fresh;
        let current = if changes.is_empty() {
            base.as_ref().map_or(const { &Map::new() }, |base| &base.fields)
        } else {
            fresh = document.fields().map_err(view_error)?;
            &fresh
        };
        let edit = LocalEdit {
            new_in: is_new.then_some(collection),
            tombstone,
            current,
            before: &before,
            after: &after,
            again,
        };
        let made = document.edit(&self.actor(), now_ms as i64, &edit)?;
        let ordinary = made.iter().find(|made| !made.is_certified());
        let stamp = ordinary.map(|made| (made.time_ms, made.actor.clone()));
        changes.extend(made.into_iter().map(|made| (made.hash, made.payload)));
        if changes.is_empty() {
            return Ok(None);
        }
        let stamps = stamp.iter().map(|(time, actor)| (*time, actor.as_slice()));
        let none = View::default();
        let view = base.as_ref().unwrap_or(&none).advance(&document, stamps).map_err(view_error)?;
        let before = Before::of(collection, base);
        let mut step = EntityStep::new(entity, collection.clone(), before, Origin::Local);
        let hashes = changes.iter().map(|(hash, _)| *hash).collect();
        step.add(changes, Outbox::Queue);
        step.show_document(view, document);
        Ok(Some(Prepared { entity, changes: hashes, step }))
    }

    fn actor(&self) -> [u8; ACTOR_BYTES] {
        *self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn renew_actor(&self) {
        let actor = new_actor(self.store(), self.inner.environment.as_ref());
        *self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = actor;
    }

    pub(super) fn outbox_moved(&self) {
        self.inner.outbox_moves.send_modify(|moves| *moves = moves.wrapping_add(1));
    }
}
