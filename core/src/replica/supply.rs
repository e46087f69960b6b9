//! What a session asks of a replica while it syncs: the outbox, and what is held of each entity.

use std::sync::PoisonError;

use bytes::Bytes;
use headwater_storage::{
    ChangeHash, CollectionName, EntityId, OutboxEntry, OutboxSeq, Position, SpaceId, StoreError,
};

use super::Replica;
use crate::document::View;

/// Where a replica stands in one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityPosition {
    /// The entity.
    pub entity: EntityId,
    /// Its collection.
    pub collection: CollectionName,
    /// Its heads, in ascending order.
    pub heads: Vec<ChangeHash>,
}

impl Replica {
    /// How far this replica has come in the feed of `space`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn position(&self, space: SpaceId) -> Result<Position, StoreError> {
        self.store().position(space)
    }

    /// How far this replica has come, for a session that begins now.
    ///
    /// When something is found damaged in a space, the position is given up, and nothing that a session says moves it any more, until
    /// another one begins: that one compares heads with the relay, and gets what is missing.
    ///
    /// # Errors
    /// When the store fails.
    pub fn begin_session(&self, space: SpaceId) -> Result<Position, StoreError> {
        self.inner.lossy.lock().unwrap_or_else(PoisonError::into_inner).remove(&space);
        self.position(space)
    }

    pub(super) fn is_lossy_from_now(&self, space: SpaceId) {
        self.inner.lossy.lock().unwrap_or_else(PoisonError::into_inner).insert(space);
    }

    pub(super) fn is_lossy(&self, space: SpaceId) -> bool {
        self.inner.lossy.lock().unwrap_or_else(PoisonError::into_inner).contains(&space)
    }

    /// Changes that wait for the relay, oldest first, from the one after `after`: at most `entries_max`, and no more once they
    /// have `bytes_max` bytes.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outbox(
        &self,
        space: SpaceId,
        after: OutboxSeq,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        self.store().outbox(space, after, entries_max, bytes_max)
    }

    /// At most `limit` entities of `space` with their heads, in ascending order of their ids, from the one after `after`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn entity_positions(
        &self,
        space: SpaceId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityPosition>, StoreError> {
        let entities = self.store().entities(space, after, limit)?;
        let mut positions = Vec::with_capacity(entities.len());
        for (entity, collection) in entities {
            let row = self.store().row(space, &collection, entity)?;
            // A damaged row counts as knowing nothing, so that everything is compared again.
            let heads =
                row.and_then(|row| View::decode_header(&row).ok()).map_or_else(Vec::new, |view| view.heads);
            positions.push(EntityPosition { entity, collection, heads });
        }
        Ok(positions)
    }

    /// The collection that an entity is in, if it is here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn collection_of(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<CollectionName>, StoreError> {
        Ok(self.store().find(space, entity)?.map(|(collection, _)| collection))
    }

    /// Every change that is held of one entity, in a causal order, with its hash.
    ///
    /// # Errors
    /// When the store fails.
    pub fn entity_changes(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Vec<(ChangeHash, Bytes)>, StoreError> {
        let mut held = self.held(space, entity)?;
        if held.lost.is_some() {
            let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
            held = self.held_whole(&mut documents, space, entity)?;
        }
        Ok(held.changes.into_iter().map(|change| (change.hash, change.payload)).collect())
    }
}
