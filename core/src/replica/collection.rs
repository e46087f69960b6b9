use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use headwater_storage::{CollectionName, EntityId, SpaceId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dynamic::{DynamicCollection, EntitySync, Records, revived, seen};
use super::listed::{Listed, Misfit};
use super::mutate::{Attempt, EntityEdit};
use super::{EditError, ReadError, Receipt, Replica, Written};
use crate::document::{EntityMeta, Genesis, Tombstone, View};
use crate::model::{DecodeError, Map, Shape, StoredNames, from_map, to_map};

/// A collection of entities of one Rust type. Cheap to clone.
///
/// ```
/// use headwater::{Counter, Replica, Text};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Bag { name: String, notes: Text, brewed: Counter }
///
/// # let directory = tempfile::tempdir()?;
/// # let replica = Replica::open(directory.path().join("r"))?;
/// let bags = replica.space("home").collection::<Bag>("coffee_bags")?;
/// let id = bags.insert(&Bag { name: "Guji".into(), notes: "juicy".into(), brewed: Counter::new(0) })?.id;
/// bags.update(id, |bag| {
///     bag.notes.push_str(" and sweet");
///     bag.brewed.increment(1);
/// })?;
/// bags.delete(id)?;
/// assert!(bags.get(id)?.is_none());
/// bags.restore(id)?;
/// assert_eq!(bags.get(id)?.map(|bag| bag.notes.to_string()), Some("juicy and sweet".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Collection<T> {
    entities: DynamicCollection,
    /// What `T` says of the containers in it, worked out once.
    schema: Arc<Schema>,
    marker: PhantomData<fn() -> T>,
}

struct Schema {
    shape: Shape,
    genesis: Genesis,
    names: StoredNames,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Collection { entities: self.entities.clone(), schema: self.schema.clone(), marker: PhantomData }
    }
}

impl<T> std::fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.entities.fmt(f)
    }
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    pub(super) fn new(replica: Replica, space: SpaceId, name: CollectionName) -> Result<Self, EditError> {
        let shape = Shape::of::<T>();
        let genesis = Genesis::new(&name, &shape)?;
        let entities = DynamicCollection::new(replica, space, name);
        Ok(Collection {
            entities,
            schema: Arc::new(Schema { shape, genesis, names: StoredNames::default() }),
            marker: PhantomData,
        })
    }

    /// The same collection as fields by name.
    #[must_use]
    pub fn as_dynamic(&self) -> &DynamicCollection {
        &self.entities
    }

    /// Adds an entity with a new id. Durable on this device when it returns.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert(&self, entity: &T) -> Result<Written, EditError> {
        let id = self.entities.replica.new_entity();
        Ok(Written { id, receipt: self.insert_with_id(id, entity)? })
    }

    /// Adds an entity with an id of the caller's, such as one from an older store.
    ///
    /// # Errors
    /// When the id is taken; otherwise see [`EditError`].
    pub fn insert_with_id(&self, id: EntityId, entity: &T) -> Result<Receipt, EditError> {
        self.insert_all([(id, entity)])
    }

    /// Adds several entities in one transaction: all or none.
    ///
    /// # Errors
    /// When one of the ids is taken; otherwise see [`EditError`].
    pub fn insert_all<'a>(
        &self,
        entities: impl IntoIterator<Item = (EntityId, &'a T)>,
    ) -> Result<Receipt, EditError>
    where
        T: 'a,
    {
        let mut edits = Vec::new();
        for (entity, value) in entities {
            let after = to_map(value)?;
            edits.push(EntityEdit {
                entity,
                base: None,
                before: Map::new(),
                after,
                tombstone: Tombstone::Leave,
                again: None,
            });
        }
        let first = edits.first().map(|edit| edit.entity);
        match (self.write(edits)?, first) {
            (Attempt::Committed(receipt), _) => Ok(receipt),
            (Attempt::Stale, Some(id)) => Err(EditError::Exists(id)),
            (Attempt::Stale, None) => Err(EditError::Exists(EntityId::from_bytes([0; 16]))),
        }
    }

    /// Adds an entity, or makes the one with this id equal to the one given, and restores it if it is deleted.
    ///
    /// Of an entity that exists, only what differs is written, as [`Collection::update`] does it: fields that `T` does not know stay,
    /// and so does what another device changes meanwhile. An entity that does not fit `T` gets every field of `T`.
    ///
    /// # Errors
    /// When the id belongs to another collection; otherwise see [`EditError`].
    ///
    /// ```
    /// # use headwater::{EntityId, Replica};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Bag { name: String, grams: u32 }
    /// # let directory = tempfile::tempdir()?;
    /// # let bags = Replica::open(directory.path().join("r"))?.space("home").collection::<Bag>("coffee_bags")?;
    /// let id = EntityId::from_bytes([7; 16]); // from an older store, say
    /// bags.upsert(id, &Bag { name: "Guji".into(), grams: 250 })?;
    /// let again = bags.upsert(id, &Bag { name: "Guji".into(), grams: 250 })?;
    /// assert!(again.is_empty(), "it is so already");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn upsert(&self, id: EntityId, entity: &T) -> Result<Receipt, EditError> {
        self.upsert_all([(id, entity)])
    }

    /// As [`Collection::upsert`], for several entities in one transaction: all or none. Of an id that comes twice, the last entity
    /// counts.
    ///
    /// # Errors
    /// As for [`Collection::upsert`].
    pub fn upsert_all<'a>(
        &self,
        entities: impl IntoIterator<Item = (EntityId, &'a T)>,
    ) -> Result<Receipt, EditError>
    where
        T: 'a,
    {
        let mut by_id = BTreeMap::new();
        for (entity, value) in entities {
            by_id.insert(entity, to_map(value)?);
        }
        self.write_planned(|| {
            let mut edits = Vec::with_capacity(by_id.len());
            for (entity, after) in &by_id {
                let (entity, mut after) = (*entity, after.clone());
                let base = self.entities.view(entity)?;
                let before = match &base {
                    None => Map::new(),
                    Some(view) => match self.decode_view(entity, view) {
                        Ok(there) => {
                            let mut before = to_map(&there)?;
                            self.keep_names(view, &mut before, &mut after);
                            before
                        }
                        // What does not fit is replaced; what is unknown to `T` stays.
                        Err(_) => seen(view, &after),
                    },
                };
                let tombstone = revived(base.as_ref());
                edits.push(EntityEdit { entity, base, before, after, tombstone, again: None });
            }
            Ok(edits)
        })
    }

    /// Reads an entity. `None` if there is none, or it is deleted.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get(&self, id: EntityId) -> Result<Option<T>, ReadError> {
        match self.entities.view(id)? {
            Some(view) if view.is_live() => self.decode(id, view.fields).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether there is such an entity, and it is not deleted. Its fields are not read, so one that does not fit `T` is there too.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn exists(&self, id: EntityId) -> Result<bool, ReadError> {
        self.entities.exists(id)
    }

    /// How many entities there are that are not deleted: as many as [`Collection::list`] gives and reports together. Their fields are
    /// not read.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// ```
    /// # use headwater::Replica;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Bag { name: String }
    /// # let directory = tempfile::tempdir()?;
    /// # let bags = Replica::open(directory.path().join("r"))?.space("home").collection::<Bag>("coffee_bags")?;
    /// let id = bags.insert(&Bag { name: "Guji".into() })?.id;
    /// assert!(bags.exists(id)?);
    /// assert_eq!(bags.count()?, 1);
    /// bags.delete(id)?;
    /// assert_eq!(bags.count()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self) -> Result<u64, ReadError> {
        self.entities.count()
    }

    /// What is known of an entity beside its fields, deleted or not.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn meta(&self, id: EntityId) -> Result<Option<EntityMeta>, ReadError> {
        self.entities.meta(id)
    }

    /// How an entity stands towards the relay. `None` if there is no such entity.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn sync_state(&self, id: EntityId) -> Result<Option<EntitySync>, ReadError> {
        self.entities.sync_state(id)
    }

    /// Changes an entity. Only what `edit` changed is written, so whatever another device changed meanwhile stays.
    ///
    /// If another write comes between, the entity is read again and `edit` runs again on what is there now. Inside `edit`, a call
    /// that writes to the same entity fails with [`EditError::Nested`]; other entities can be written there.
    ///
    /// # Errors
    /// When there is no such entity; otherwise see [`EditError`].
    pub fn update(&self, id: EntityId, mut edit: impl FnMut(&mut T)) -> Result<Receipt, EditError> {
        let DynamicCollection { replica, space, .. } = &self.entities;
        self.write_planned(|| {
            let view = self.entities.view(id)?.filter(View::is_live).ok_or(EditError::NotFound(id))?;
            let mut entity = self.decode_view(id, &view)?;
            let mut before = to_map(&entity)?;
            replica.updating(*space, id, || edit(&mut entity));
            let mut after = to_map(&entity)?;
            self.keep_names(&view, &mut before, &mut after);
            Ok(vec![EntityEdit {
                entity: id,
                base: Some(view),
                before,
                after,
                tombstone: Tombstone::Leave,
                again: None,
            }])
        })
    }

    /// Deletes an entity: it is marked, on every device, and can be restored.
    ///
    /// # Errors
    /// When there is no such entity; otherwise see [`EditError`].
    pub fn delete(&self, id: EntityId) -> Result<Receipt, EditError> {
        self.entities.delete(id)
    }

    /// Takes a deletion back. An entity that is not deleted stays as it is.
    ///
    /// # Errors
    /// When there never was such an entity; otherwise see [`EditError`].
    pub fn restore(&self, id: EntityId) -> Result<Receipt, EditError> {
        self.entities.restore(id)
    }

    /// All entities that are not deleted, in ascending order of their ids, read a page at a time. One that does not fit `T`, or whose
    /// row is damaged, gives an error in its place, and the next call goes on after it; only when the store fails there is nothing
    /// after the error.
    pub fn iter(&self) -> impl Iterator<Item = Result<(EntityId, T), ReadError>> {
        let records = Records::new(self.entities.clone());
        records
            .map(|record| record.and_then(|record| Ok((record.id, self.decode(record.id, record.fields)?))))
    }

    /// All entities that are not deleted, in ascending order of their ids: those that fit `T`, and for each of the others its id and
    /// why it does not. Another version of the app may have written those.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self) -> Result<Listed<T>, ReadError> {
        let mut listed = Listed { entities: Vec::new(), misfits: Vec::new() };
        for entity in self.iter() {
            match entity {
                Ok(entity) => listed.entities.push(entity),
                Err(error) => listed.misfits.push(Misfit::try_from(error)?),
            }
        }
        Ok(listed)
    }

    fn write_planned(
        &self,
        plan: impl FnMut() -> Result<Vec<EntityEdit>, EditError>,
    ) -> Result<Receipt, EditError> {
        let DynamicCollection { replica, space, name } = &self.entities;
        replica.write_planned(*space, name, Some(&self.schema.genesis), plan)
    }

    fn write(&self, edits: Vec<EntityEdit>) -> Result<Attempt, EditError> {
        let DynamicCollection { replica, space, name } = &self.entities;
        replica.write(*space, name, Some(&self.schema.genesis), edits)
    }

    fn decode(&self, entity: EntityId, fields: Map) -> Result<T, ReadError> {
        let again = || Ok::<_, ReadError>(self.entities.view(entity)?.map(|view| view.fields));
        let read = self.schema.names.read(fields, |fields| self.read(fields), again)?;
        read.map_err(|error| ReadError::Decode { entity, error })
    }

    fn decode_view(&self, entity: EntityId, view: &View) -> Result<T, ReadError> {
        let again = || Ok::<_, ReadError>(Some(view.fields.clone()));
        let read = self.schema.names.read(view.fields.clone(), |fields| self.read(fields), again)?;
        read.map_err(|error| ReadError::Decode { entity, error })
    }

    fn read(&self, mut fields: Map) -> Result<T, DecodeError> {
        self.schema.shape.fill(&mut fields);
        from_map(fields)
    }

    /// Gives what an app saw of an entity, and what it made of it, the names under which the fields are stored.
    fn keep_names(&self, view: &View, before: &mut Map, after: &mut Map) {
        let read = |fields| self.read(fields).ok().and_then(|entity| to_map(&entity).ok());
        self.schema.names.keep(&view.fields, before, after, read);
    }
}

impl View {
    /// Whether the entity exists and is not deleted.
    pub(super) fn is_live(&self) -> bool {
        self.exists() && self.deleted.is_none()
    }
}
