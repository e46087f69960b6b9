//! One id in two collections: two devices made it while neither knew of the other.
//!
//! A relay takes an entity into the collection that it hears of first, and refuses changes that name another
//! one. On a replica that has made the entity in another collection, what it made gives way as soon as the
//! feed says where the entity is: the changes are set aside, listeners are told, and
//! [`Space::reapply`](super::Space::reapply) makes a new entity of them.

use headwater_storage::{
    Bytes, CollectionName, Direction, EntityId, PayloadKind, Refusal, SpaceId, StoreError,
};

use super::cache::DocumentCache;
use super::mutate::{Attempt, EntityEdit};
use super::step::EntityStep;
use super::{EditError, ReapplyError, Receipt, Replica};
use crate::document::{Document, Tombstone, View};
use crate::wire::ErrorCode;

impl Replica {
    /// All that is stored of an entity is set aside: the feed has its id in another collection.
    pub(super) fn give_way(
        &self,
        documents: &mut DocumentCache,
        space: SpaceId,
        entity: EntityId,
        collection: &CollectionName,
        step: &mut EntityStep,
    ) -> Result<(), StoreError> {
        let held = self.held_whole(documents, space, entity)?;
        if held.is_folded {
            // Those that leave have to be rows to be told apart.
            step.unfold(held.changes.clone());
        }
        if !held.changes.is_empty() {
            // Their numbers are never given to others: the author would contradict itself.
            self.renew_actor();
        }
        let out = held.changes.iter().map(|change| (change.hash, other_collection(collection)));
        step.judge(Direction::OtherCollection, out.collect(), Vec::new());
        Ok(())
    }

    /// Makes what gave way in `collection` an entity of its own. Its id follows from the two, so that every
    /// device that does this, and whoever does it again, means the same entity.
    pub(super) fn reapply_elsewhere(
        &self,
        space: SpaceId,
        entity: EntityId,
        collection: &CollectionName,
    ) -> Result<Receipt, ReapplyError> {
        let made = self.gave_way(space, entity, collection)?;
        let entity = id_elsewhere(entity, collection);
        loop {
            let before = self.before(space, entity)?;
            if before.collection.as_ref().is_some_and(|held| held != collection) {
                return Err(EditError::Exists(entity).into());
            }
            let base = before.view().cloned();
            let is_there = base.as_ref().is_some_and(View::exists);
            let tombstone = match made.deleted {
                Some(_) if !is_there => Tombstone::Set { now_ms: self.now_ms().cast_signed() },
                _ => Tombstone::Leave,
            };
            // Another device has made it again already, perhaps, out of what it held itself, and it has been
            // edited since: fields that are there stay as they are.
            let is_made = |name: &String| {
                base.as_ref().is_some_and(|view| view.fields.contains_key(name))
                    || cfg!(bug = "made-again-by-the-first-only")
            };
            let fields = made.fields.clone().into_iter();
            let before = fields.filter(|(name, _)| is_there && is_made(name)).collect();
            let edit =
                EntityEdit { entity, base, before, after: made.fields.clone(), tombstone, again: None };
            if let Attempt::Committed(receipt) = self.write(space, collection, None, vec![edit])? {
                return Ok(receipt);
            }
        }
    }

    /// What the entity was that gave way in `collection`.
    fn gave_way(
        &self,
        space: SpaceId,
        entity: EntityId,
        collection: &CollectionName,
    ) -> Result<View, ReapplyError> {
        let aside = self.store().set_aside_of(space, entity)?.into_iter().filter(|aside| {
            aside.direction == Direction::OtherCollection
                && aside.record.kind == PayloadKind::Change
                && aside.record.collection == *collection
        });
        let changes: Vec<Bytes> = aside.map(|aside| aside.record.payload).collect();
        let document =
            Document::from_changes(changes).map_err(|error| ReapplyError::Refused(error.to_string()))?;
        let view = View::of(&document).map_err(|error| ReapplyError::Refused(error.to_string()))?;
        if view.exists() { Ok(view) } else { Err(ReapplyError::Lost) }
    }
}

/// The id under which an entity that gave way is made again.
fn id_elsewhere(entity: EntityId, collection: &CollectionName) -> EntityId {
    EntityId::from_uuid(uuid::Uuid::new_v5(&entity.as_uuid(), collection.as_str().as_bytes()))
}

/// Why a change cannot be used that names another collection than the feed has its entity in.
pub(super) fn other_collection(collection: &CollectionName) -> Refusal {
    let message = format!("the space has an entity with this id in the collection {collection}");
    Refusal { code: ErrorCode::WrongCollection.number(), message }
}
