use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_storage::{CollectionName, EntityId, SpaceId};

use super::mutate::EntityEdit;
use super::{EditError, ReadError, Receipt, Replica, Written};
use crate::document::{EntityMeta, Tombstone, View};
use crate::model::{Map, Timestamp};

/// Rows read from the store at a time.
const PAGE_ROWS: usize = 256;

/// A collection of entities as fields by name: for tools, and for apps without a fixed schema. Cheap to clone.
///
/// ```
/// use headwater::{Map, Replica, Value};
/// # let directory = tempfile::tempdir()?;
/// # let replica = Replica::open(directory.path().join("r"))?;
/// let bags = replica.space("home").dynamic("coffee_bags")?;
/// let id = bags.insert(Map::from([("name".into(), "Guji".into()), ("rating".into(), 4.into())]))?.id;
/// bags.set(id, Map::from([("rating".into(), 5.into())]))?;
/// assert_eq!(bags.get(id)?.map(|bag| bag.fields["rating"].clone()), Some(Value::Int(5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DynamicCollection {
    pub(super) replica: Replica,
    pub(super) space: SpaceId,
    pub(super) name: CollectionName,
}

/// One entity as fields by name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// Its id.
    pub id: EntityId,
    /// Its fields.
    pub fields: Map,
    /// What is known of it beside its fields.
    pub meta: EntityMeta,
}

/// How an entity stands towards the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntitySync {
    /// How many of its changes the relay has not acknowledged yet.
    pub pending: u64,
    /// When a change of it was last acknowledged by the relay or came from there.
    pub synced: Option<Timestamp>,
}

impl DynamicCollection {
    pub(super) fn new(replica: Replica, space: SpaceId, name: CollectionName) -> DynamicCollection {
        DynamicCollection { replica, space, name }
    }

    /// The collection's name.
    #[must_use]
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// Adds an entity with a new id. Durable on this device when it returns.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert(&self, fields: Map) -> Result<Written, EditError> {
        let id = self.replica.new_entity();
        Ok(Written { id, receipt: self.upsert(id, fields)? })
    }

    /// Reads an entity. `None` if there is none, or it is deleted.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get(&self, id: EntityId) -> Result<Option<Record>, ReadError> {
        Ok(self.view(id)?.filter(View::is_live).map(|view| Record::new(id, view)))
    }

    /// Whether there is such an entity, and it is not deleted. Its fields are not read.
    ///
    /// # Errors
    /// See [`ReadError`].
    ///
    /// ```
    /// # use headwater::{EntityId, Map, Replica};
    /// # let directory = tempfile::tempdir()?;
    /// # let bags = Replica::open(directory.path().join("r"))?.space("home").dynamic("coffee_bags")?;
    /// let id = bags.insert(Map::from([("name".into(), "Guji".into())]))?.id;
    /// assert!(bags.exists(id)? && !bags.exists(EntityId::from_bytes([1; 16]))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exists(&self, id: EntityId) -> Result<bool, ReadError> {
        Ok(self.header(id)?.is_some_and(|view| view.is_live()))
    }

    /// How many entities there are that are not deleted. Their fields are not read. One whose row is damaged counts, as it is there:
    /// [`DynamicCollection::iter`] tells which.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// ```
    /// # use headwater::{Map, Replica};
    /// # let directory = tempfile::tempdir()?;
    /// # let bags = Replica::open(directory.path().join("r"))?.space("home").dynamic("coffee_bags")?;
    /// let [guji, _kochere] = ["Guji", "Kochere"].map(|name| bags.insert(Map::from([("name".into(), name.into())])));
    /// bags.delete(guji?.id)?;
    /// assert_eq!(bags.count()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self) -> Result<u64, ReadError> {
        let mut count = 0;
        for row in Rows::new(self.clone()) {
            let (_, row) = row?;
            count += u64::from(View::decode_header(&row).map_or(true, |view| view.is_live()));
        }
        Ok(count)
    }

    /// What is known of an entity beside its fields, deleted or not.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn meta(&self, id: EntityId) -> Result<Option<EntityMeta>, ReadError> {
        Ok(self.header(id)?.filter(View::exists).map(|view| view.meta()))
    }

    /// How an entity stands towards the relay. `None` if there is no such entity.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn sync_state(&self, id: EntityId) -> Result<Option<EntitySync>, ReadError> {
        let state = self.replica.store().entity_sync(self.space, id)?;
        Ok(state.map(|state| EntitySync {
            pending: u64::from(state.waiting),
            synced: state.synced_ms.map(|at| Timestamp(at as i64)),
        }))
    }

    /// Sets the given fields of an entity, and leaves the others. A field that holds a text takes the difference to the new
    /// string, a counter the difference to the new number, a map or list what changed inside.
    ///
    /// # Errors
    /// When there is no such entity; otherwise see [`EditError`].
    pub fn set(&self, id: EntityId, fields: Map) -> Result<Receipt, EditError> {
        self.edit(id, |view| match view.is_live() {
            true => Some((seen(view, &fields), fields.clone(), Tombstone::Leave)),
            false => None,
        })
    }

    /// Removes fields of an entity.
    ///
    /// # Errors
    /// When there is no such entity; otherwise see [`EditError`].
    pub fn unset(&self, id: EntityId, fields: &[&str]) -> Result<Receipt, EditError> {
        self.edit(id, |view| {
            let gone = view.fields.iter().filter(|(name, _)| fields.contains(&name.as_str()));
            let before = gone.map(|(name, value)| (name.clone(), value.clone())).collect();
            view.is_live().then(|| (before, Map::new(), Tombstone::Leave))
        })
    }

    /// Adds an entity, or sets the given fields of the one that exists, and restores it if it is deleted.
    ///
    /// # Errors
    /// When the id belongs to another collection; otherwise see [`EditError`].
    pub fn upsert(&self, id: EntityId, fields: Map) -> Result<Receipt, EditError> {
        self.upsert_all([(id, fields)])
    }

    /// Adds the entities whose ids are new, and sets the given fields of those that exist (restoring deleted ones), all in one
    /// transaction.
    ///
    /// # Errors
    /// When an id belongs to another collection; otherwise see [`EditError`].
    pub fn upsert_all(
        &self,
        entities: impl IntoIterator<Item = (EntityId, Map)>,
    ) -> Result<Receipt, EditError> {
        // An id that comes twice is set twice, the later fields last.
        let mut by_id: BTreeMap<EntityId, Map> = BTreeMap::new();
        for (entity, fields) in entities {
            by_id.entry(entity).or_default().extend(fields);
        }
        self.replica.write_planned(self.space, &self.name, None, || {
            let mut edits = Vec::with_capacity(by_id.len());
            for (entity, fields) in &by_id {
                let base = self.view(*entity)?;
                let before = base.as_ref().map_or_else(Map::new, |view| seen(view, fields));
                let tombstone = revived(base.as_ref());
                edits.push(EntityEdit {
                    entity: *entity,
                    base,
                    before,
                    after: fields.clone(),
                    tombstone,
                    again: None,
                });
            }
            Ok(edits)
        })
    }

    /// Deletes an entity: it is marked, on every device, and can be restored.
    ///
    /// # Errors
    /// When there is no such entity; otherwise see [`EditError`].
    pub fn delete(&self, id: EntityId) -> Result<Receipt, EditError> {
        self.edit(id, |view| {
            view.is_live()
                .then(|| (Map::new(), Map::new(), Tombstone::Set { now_ms: self.replica.now_ms() as i64 }))
        })
    }

    /// Takes a deletion back. An entity that is not deleted stays as it is.
    ///
    /// # Errors
    /// When there never was such an entity; otherwise see [`EditError`].
    pub fn restore(&self, id: EntityId) -> Result<Receipt, EditError> {
        self.edit(id, |view| {
            let tombstone = if view.deleted.is_some() { Tombstone::Remove } else { Tombstone::Leave };
            Some((Map::new(), Map::new(), tombstone))
        })
    }

    /// All entities that are not deleted, in ascending order of their ids, read a page at a time. One whose row is damaged gives an
    /// error in its place, and the next call goes on after it; only when the store fails there is nothing after the error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Record, ReadError>> + use<> {
        Records::new(self.clone())
    }

    pub(super) fn view(&self, id: EntityId) -> Result<Option<View>, ReadError> {
        let Some(row) = self.replica.store().row(self.space, &self.name, id)? else { return Ok(None) };
        View::decode(&row).map(Some).map_err(|error| ReadError::Damaged { entity: id, error })
    }

    /// As `view`, without its fields.
    fn header(&self, id: EntityId) -> Result<Option<View>, ReadError> {
        let Some(row) = self.replica.store().row(self.space, &self.name, id)? else { return Ok(None) };
        View::decode_header(&row).map(Some).map_err(|error| ReadError::Damaged { entity: id, error })
    }

    /// Repeats `plan` on what is there until no other write comes between.
    fn edit(
        &self,
        entity: EntityId,
        plan: impl Fn(&View) -> Option<(Map, Map, Tombstone)>,
    ) -> Result<Receipt, EditError> {
        self.replica.write_planned(self.space, &self.name, None, || {
            let view = self.view(entity)?.filter(View::exists).ok_or(EditError::NotFound(entity))?;
            let (before, after, tombstone) = plan(&view).ok_or(EditError::NotFound(entity))?;
            Ok(vec![EntityEdit { entity, base: Some(view), before, after, tombstone, again: None }])
        })
    }
}

impl Record {
    fn new(id: EntityId, view: View) -> Record {
        Record { id, meta: view.meta(), fields: view.fields }
    }
}

/// What makes an entity live again, if it is deleted.
pub(super) fn revived(base: Option<&View>) -> Tombstone {
    match base.and_then(|view| view.deleted) {
        Some(_) => Tombstone::Remove,
        None => Tombstone::Leave,
    }
}

/// What is there now of the fields that are about to be set.
pub(super) fn seen(view: &View, fields: &Map) -> Map {
    view.fields
        .iter()
        .filter(|(name, _)| fields.contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The live entities of a collection, a page at a time.
pub(super) struct Records(Rows);

impl Records {
    pub(super) fn new(collection: DynamicCollection) -> Records {
        Records(Rows::new(collection))
    }
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Result<Record, ReadError>> {
        loop {
            let (entity, row) = match self.0.next()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            match View::decode(&row) {
                Ok(view) if view.is_live() => return Some(Ok(Record::new(entity, view))),
                Ok(_) => {}
                Err(error) => return Some(Err(ReadError::Damaged { entity, error })),
            }
        }
    }
}

/// The rows of a collection, deleted entities included, a page at a time. Ends with the first error.
struct Rows {
    collection: DynamicCollection,
    page: std::vec::IntoIter<(EntityId, Bytes)>,
    after: Option<EntityId>,
    is_done: bool,
}

impl Rows {
    fn new(collection: DynamicCollection) -> Rows {
        Rows { collection, page: Vec::new().into_iter(), after: None, is_done: false }
    }
}

impl Iterator for Rows {
    type Item = Result<(EntityId, Bytes), ReadError>;

    fn next(&mut self) -> Option<Result<(EntityId, Bytes), ReadError>> {
        loop {
            if let Some((entity, row)) = self.page.next() {
                self.after = Some(entity);
                return Some(Ok((entity, row)));
            }
            if self.is_done {
                return None;
            }
            let DynamicCollection { replica, space, name } = &self.collection;
            match replica.store().rows(*space, name, self.after, PAGE_ROWS) {
                Ok(page) => {
                    self.is_done = page.len() < PAGE_ROWS;
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}
