//! What a SQL database sees of an entity: its fields as JSON, and the values that compete where concurrent edits met.
//!
//! Everything in it follows from the set of changes alone, so two relays with the same changes have the same row.

use std::collections::{BTreeMap, HashMap};

use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, Value as Held, ValueRef};
use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName};
use serde_json::{Value as Json, json};

use super::counters::Counters;
use super::texts::KnownTexts;
use super::view::device_of;
use super::{Document, EntityMeta, View, ViewError, read};
use crate::ingest::{IngestError, Panicked, check_stored_as, guarded, milliseconds};
use crate::model::{DEPTH_MAX, JsonStyle, json_from_map, json_from_value};

/// An entity as JSON.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Projection {
    /// The collection that the entity was created in.
    pub collection: Option<CollectionName>,
    /// The app's fields, without those whose names begin with `_`, in the style [`JsonStyle::Sql`].
    pub data: Json,
    /// The values that compete, by the JSON pointer (RFC 6901) of their field; `{}` when there are none.
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
    let (automerge, counters) = (&document.automerge, document.counters());
    let mut search = Search { automerge, counters, path: String::new(), found: Vec::new() };
    search.map(&ROOT, 0)?;
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
    automerge: &'a Automerge,
    counters: Counters,
    /// The JSON pointer of where it is.
    path: String,
    /// By path, the competing values, the one that is shown first.
    found: Vec<(String, Vec<(Json, ObjId)>)>,
}

// These recurse at most `DEPTH_MAX` deep, whatever the document holds.
impl Search<'_> {
    fn map(&mut self, object: &ObjId, depth: usize) -> Result<(), ViewError> {
        for item in self.automerge.map_range(object, ..) {
            // Headwater's own fields.
            if depth == 0 && item.key.starts_with('_') {
                continue;
            }
            // `jsonb` has no U+0000, in a path either.
            let step = item.key.replace('~', "~0").replace('/', "~1").replace('\0', "\\u0000");
            let parent_len = self.enter(&step);
            if item.conflict {
                self.note(object, Prop::Map(item.key.to_string()), depth + 1)?;
            }
            self.inside(&item.value, &|| item.id(), depth + 1)?;
            self.path.truncate(parent_len);
        }
        Ok(())
    }

    fn list(&mut self, object: &ObjId, depth: usize) -> Result<(), ViewError> {
        for item in self.automerge.list_range(object, ..) {
            let parent_len = self.enter(&item.index.to_string());
            if item.conflict {
                self.note(object, Prop::Seq(item.index), depth + 1)?;
            }
            self.inside(&item.value, &|| item.id(), depth + 1)?;
            self.path.truncate(parent_len);
        }
        Ok(())
    }

    fn inside(
        &mut self,
        value: &ValueRef<'_>,
        id: &dyn Fn() -> ObjId,
        depth: usize,
    ) -> Result<(), ViewError> {
        if depth > DEPTH_MAX {
            return Err(ViewError::TooDeep);
        }
        match value {
            ValueRef::Object(ObjType::Map | ObjType::Table) => self.map(&id(), depth),
            ValueRef::Object(ObjType::List) => self.list(&id(), depth),
            _ => Ok(()),
        }
    }

    /// Goes one step down. Returns how long the path was.
    fn enter(&mut self, step: &str) -> usize {
        let parent_len = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        parent_len
    }

    fn note(&mut self, object: &ObjId, prop: Prop, depth: usize) -> Result<(), ViewError> {
        let competing = self.automerge.get_all(object, prop);
        let competing = competing.map_err(|error| ViewError::Unreadable(error.to_string()))?;
        let mut values = Vec::with_capacity(competing.len());
        // In ascending order of their operations, and the last one is shown.
        for (held, id) in competing.into_iter().rev() {
            let held = match held {
                Held::Object(kind) => ValueRef::Object(kind),
                Held::Scalar(scalar) => ValueRef::from(scalar.into_owned()),
            };
            let (texts, id_of) = (KnownTexts::default(), || id.clone());
            let value = match read::value(self.automerge, texts, &self.counters, &held, &id_of, depth) {
                Ok(value) => json_from_value(&value, JsonStyle::Sql),
                // The value that is shown is not too deep, or there would be no projection.
                Err(ViewError::TooDeep) => Json::Null,
                Err(error) => return Err(error),
            };
            values.push((value, id));
        }
        self.found.push((self.path.clone(), values));
        Ok(())
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
