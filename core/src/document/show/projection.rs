//! What a SQL database sees of an entity: its fields as JSON, and the values that compete where concurrent edits met.
//!
//! Everything in it follows from the set of changes alone, so two relays with the same changes have the same row.

use std::collections::{BTreeMap, HashMap};

use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, Value as Held, ValueRef};
use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName};
use serde_json::{Value as Json, json};

use super::keys;
use super::place::{KEYED_KEY, Place, Shown, TUPLE_KEY, VARIANT_KEY};
use super::read::Reader;
use super::texts::KnownTexts;
use super::view::device_of;
use crate::document::{Document, EntityMeta, View, ViewError};
use crate::ingest::{IngestError, Panicked, check_stored_as, guarded, milliseconds};
use crate::model::{DEPTH_MAX, JsonStyle, Value, json_from_map, json_from_value};

/// An entity as JSON.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Projection {
    /// The collection that the entity was created in.
    pub collection: Option<CollectionName>,
    /// The app's fields, without those whose names begin with `_`, in the style [`JsonStyle::Sql`].
    pub data: Json,
    /// The values that compete, by the JSON pointer (RFC 6901) of their field; `{}` when there are none. Equal values do not compete,
    /// and containers that merge are one value.
    ///
    /// Of each field a list, first the value that `data` shows, then the others, later operations first:
    /// `{"value": 4, "device": "0190...", "at": 1700000000000, "actor": "0190..."}`. The device is null where it was none of
    /// Headwater's, and the time 0 where the change has none. A value that nests too deep to be shown is null.
    pub conflicts: Json,
    /// What is known of the entity beside its fields.
    pub meta: EntityMeta,
    /// How many changes it was made from.
    pub changes: u64,
}

/// An entity that cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// One of the changes is damaged or does not apply; examine the entity, and leave the change out.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The entity's values cannot be shown.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Makes the projection of an entity from its changes, each with its hash, in any order. `None` when the entity does not exist:
/// where nothing more is known of it than the deterministic changes that create its containers.
///
/// Changes whose dependencies are missing are passed over. Takes as long as loading the entity.
///
/// # Errors
/// See [`ProjectionError`].
///
/// ```
/// use headwater::{Map, Replica, SpaceId, Value};
/// # let directory = tempfile::tempdir()?;
/// # let replica = Replica::open(directory.path().join("r"))?;
/// let bags = replica.space("home").dynamic("coffee_bags")?;
/// let id = bags.insert(Map::from([("rating".into(), Value::Float(4.5))]))?.id;
/// let changes = replica.entity_changes(SpaceId::from_name("home"), id)?;
/// let projection = headwater::document::project(changes)?.expect("the entity was just made");
/// assert_eq!(projection.data, serde_json::json!({"rating": 4.5}));
/// assert_eq!(projection.conflicts, serde_json::json!({}));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn project(changes: Vec<(ChangeHash, Bytes)>) -> Result<Option<Projection>, ProjectionError> {
    guarded(|| make(changes)).unwrap_or_else(|Panicked| Err(IngestError::EnginePanicked.into()))
}

fn make(changes: Vec<(ChangeHash, Bytes)>) -> Result<Option<Projection>, ProjectionError> {
    let checked = changes.into_iter().map(|(hash, payload)| check_stored_as(hash, &payload));
    let checked = checked.collect::<Result<Vec<_>, _>>()?;
    let mut document = Document::new();
    let _stamps = document.apply_all(checked, u64::MAX)?;
    let view = View::of(&document)?;
    if !view.exists() {
        return Ok(None);
    }
    Ok(Some(Projection {
        data: json_from_map(&view.fields, JsonStyle::Sql),
        conflicts: conflicts(&document)?,
        meta: view.meta(),
        changes: document.changes_len(),
        collection: view.collection,
    }))
}

/// All fields and elements that have more than one value.
fn conflicts(document: &Document) -> Result<Json, ViewError> {
    let (counters, texts) = (document.counters(), KnownTexts::default());
    let reader = Reader { document: &document.automerge, texts, counters: &counters };
    let mut search = Search { reader, path: String::new(), found: Vec::new() };
    search.map(&[ROOT], 0)?;
    let found = search.found;
    if found.is_empty() {
        return Ok(json!({}));
    }
    let authors = Authors::of(document);
    let fields = found.into_iter().map(|(path, values)| {
        let values = values.into_iter().map(|(value, id)| authors.sign(value, &id));
        (path, values.collect())
    });
    Ok(Json::Object(fields.collect()))
}

/// Goes through all values that are shown, and notes where others compete with them.
struct Search<'a> {
    reader: Reader<'a, Automerge>,
    /// The JSON pointer of where it is.
    path: String,
    /// By path, the competing values, the one that is shown first.
    found: Vec<(String, Vec<(Json, ObjId)>)>,
}

// These recurse at most `DEPTH_MAX` deep, whatever the document holds.
impl Search<'_> {
    fn map(&mut self, maps: &[ObjId], depth: usize) -> Result<(), ViewError> {
        let document = self.reader.document;
        let mut names: Vec<String> = maps.iter().flat_map(|map| document.keys(map)).collect();
        names.sort_unstable();
        names.dedup();
        let is_there = |name: &str| names.iter().any(|other| other == name);
        if depth > 0 && is_there(KEYED_KEY) {
            return self.elements(maps, depth);
        }
        if depth > 0 && is_there(VARIANT_KEY) {
            return self.case(maps, depth);
        }
        if depth > 0 && is_there(TUPLE_KEY) {
            return self.place(Place::Field { maps, name: TUPLE_KEY }, depth + 1);
        }
        // Headwater's own fields are left out.
        for name in names.iter().filter(|name| depth > 0 || !name.starts_with('_')) {
            let parent_len = self.enter_field(name);
            self.place(Place::Field { maps, name }, depth + 1)?;
            self.path.truncate(parent_len);
        }
        Ok(())
    }

    /// A keyed list, which is an array in the order of its elements.
    fn elements(&mut self, maps: &[ObjId], depth: usize) -> Result<(), ViewError> {
        let names = match self.reader.container(ObjType::Map, maps, depth) {
            Ok(Value::Keyed(key, items)) => keys::names_of(&items, &key),
            _ => Vec::new(),
        };
        for (index, name) in names.iter().enumerate() {
            let parent_len = self.enter(&index.to_string());
            self.place(Place::Field { maps, name }, depth + 1)?;
            self.path.truncate(parent_len);
        }
        Ok(())
    }

    /// One case of an enum, against the others that somebody chose meanwhile.
    fn case(&mut self, maps: &[ObjId], depth: usize) -> Result<(), ViewError> {
        let document = self.reader.document;
        let mut values = Vec::new();
        for (held, id) in (Place::Field { maps, name: VARIANT_KEY }).standing(document)?.into_iter().rev() {
            let Some(name) = held.as_str().map(str::to_owned) else { continue };
            if values.is_empty() {
                let parent_len = self.enter_field(&name);
                self.place(Place::Field { maps, name: &name }, depth + 1)?;
                self.path.truncate(parent_len);
            }
            let content = self.reader.shown(Place::Field { maps, name: &name }, depth + 1)?;
            let case = Value::Variant(name, Box::new(content.unwrap_or(Value::Null)));
            values.push((json_from_value(&case, JsonStyle::Sql), id));
        }
        self.note(values);
        Ok(())
    }

    fn list(&mut self, lists: &[ObjId], depth: usize) -> Result<(), ViewError> {
        let document = self.reader.document;
        let places = lists.iter().flat_map(|list| (0..document.length(list)).map(move |index| (list, index)));
        for (shown, (list, index)) in places.enumerate() {
            let parent_len = self.enter(&shown.to_string());
            self.place(Place::Element { list, index }, depth + 1)?;
            self.path.truncate(parent_len);
        }
        Ok(())
    }

    /// Notes what competes at a place, and goes into what is shown there.
    fn place(&mut self, place: Place<'_>, depth: usize) -> Result<(), ViewError> {
        if depth > DEPTH_MAX {
            return Err(ViewError::TooDeep);
        }
        let document = self.reader.document;
        let standing = place.standing(document)?;
        let shown = match &*standing {
            [] => return Ok(()),
            [(Held::Object(kind), id)] => Shown::Container(*kind, vec![id.clone()]),
            [_] => return Ok(()),
            _ => match place.shown(document)? {
                Some(shown) => shown,
                None => return Ok(()),
            },
        };
        if standing.len() > 1 {
            let (united, first) = match &shown {
                Shown::Scalar(_, id) => (std::slice::from_ref(id), id),
                Shown::Counter { ids, .. } => (ids.as_slice(), ids.last().unwrap_or(&ROOT)),
                Shown::Container(_, objects) => (objects.as_slice(), objects.last().unwrap_or(&ROOT)),
            };
            let seen = self.reader.shown(place, depth);
            let mut values = vec![(self.json(seen)?, first.clone())];
            // In ascending order of their operations: the last first.
            for (held, id) in standing.into_iter().rev().filter(|(_, id)| !united.contains(id)) {
                let held = match held {
                    Held::Object(kind) => self.reader.container(kind, std::slice::from_ref(&id), depth),
                    Held::Scalar(scalar) => {
                        self.reader.value(&ValueRef::from(scalar.into_owned()), &|| id.clone(), depth)
                    }
                };
                values.push((self.json(held.map(Some))?, id));
            }
            self.note(values);
        }
        match shown {
            Shown::Container(ObjType::Map | ObjType::Table, maps) => self.map(&maps, depth),
            Shown::Container(ObjType::List, lists) => self.list(&lists, depth),
            _ => Ok(()),
        }
    }

    fn json(&self, value: Result<Option<Value>, ViewError>) -> Result<Json, ViewError> {
        match value {
            Ok(Some(value)) => Ok(json_from_value(&value, JsonStyle::Sql)),
            // The value that is shown is not too deep, or there would be no projection.
            Ok(None) | Err(ViewError::TooDeep) => Ok(Json::Null),
            Err(error) => Err(error),
        }
    }

    /// Takes note of values that compete. Equal ones do not.
    fn note(&mut self, values: Vec<(Json, ObjId)>) {
        let mut differing: Vec<(Json, ObjId)> = Vec::with_capacity(values.len());
        for (value, id) in values {
            if differing.iter().all(|(other, _)| *other != value) {
                differing.push((value, id));
            }
        }
        if differing.len() > 1 {
            self.found.push((self.path.clone(), differing));
        }
    }

    fn enter_field(&mut self, name: &str) -> usize {
        // `jsonb` has no U+0000, in a path either.
        self.enter(&name.replace('~', "~0").replace('/', "~1").replace('\0', "\\u0000"))
    }

    /// Goes one step down. Returns how long the path was.
    fn enter(&mut self, step: &str) -> usize {
        let parent_len = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        parent_len
    }
}

/// When the changes of each actor were made, by the number of their first operation.
struct Authors(HashMap<Vec<u8>, BTreeMap<u64, i64>>);

impl Authors {
    fn of(document: &Document) -> Authors {
        let mut authors: HashMap<Vec<u8>, BTreeMap<u64, i64>> = HashMap::new();
        for change in document.automerge.get_changes_meta(&[]) {
            // A change without operations has the number that the next one begins with.
            if change.max_op >= change.start_op {
                let starts = authors.entry(change.actor.to_bytes().to_vec()).or_default();
                starts.insert(change.start_op, milliseconds(change.timestamp));
            }
        }
        Authors(authors)
    }

    /// A competing value, with who made it and when.
    fn sign(&self, value: Json, id: &ObjId) -> Json {
        let (counter, actor) = match id {
            ObjId::Id(counter, actor, _) => (*counter, actor.to_bytes()),
            // Not the id of an operation, so of no value either.
            ObjId::Root => (0, &[][..]),
        };
        // An actor's operations are numbered upwards, so the change is the last one that begins at or before this number.
        let at_ms = self.0.get(actor).and_then(|starts| starts.range(..=counter).next_back());
        let device = device_of(actor).map(|device| device.to_string());
        let actor: String = actor.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "value": value, "device": device, "at": at_ms.map_or(0, |(_, at)| *at), "actor": actor })
    }
}
