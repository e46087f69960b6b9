//! Changes that nobody made: the first content of an entity, and the containers of a type. The same bytes on every device.
//!
//! If two devices each create the entity of a starter record while offline, with the list `tags`, then what both gave it has to be
//! there once, and what they gave differently has to merge. So each container of a new entity is made, with its content, by a
//! change of its own, whose actor, time and dependencies follow from the collection, the path and the content alone: where two
//! devices gave the same, they made the same change. A container that a type has and an older entity lacks is made in this way
//! too, empty, and what is written into it is an ordinary edit.
//!
//! The scalars of a new entity come in an ordinary change, which says who made it, and when.

use std::collections::BTreeMap;

use automerge::{ActorId, Automerge, Change};
use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName};

use super::pieces::pieces;
use super::put_at;
use super::write::Writer;
use crate::document::show::texts::Texts;
use crate::document::{Document, LocalChange, WriteError};
use crate::ingest::{UNCERTIFIED, certify};
use crate::model::{Container, ContainerKind, Map, Shape, Value};

/// An entity with more containers than this begins with one change for each of its fields, not one for each container: every
/// change costs some 60 bytes for good.
const CONTAINERS_MAX: usize = 64;
/// Fields that get a change of their own. Those behind them, in the order of their names, are part of the ordinary change.
const FIELDS_MAX: usize = 256;
/// The changes that make the containers of a collection's type, empty, parents before children.
#[derive(Clone)]
pub(crate) struct Genesis {
    steps: Vec<GenesisStep>,
}

#[derive(Clone)]
struct GenesisStep {
    container: Container,
    change: Change,
}

impl Genesis {
    pub(crate) fn new(collection: &CollectionName, shape: &Shape) -> Result<Genesis, WriteError> {
        let mut steps: Vec<GenesisStep> = Vec::with_capacity(shape.containers.len());
        for container in &shape.containers {
            let parents = steps
                .iter()
                .filter(|step| is_ancestor(&step.container, container))
                .map(|step| step.change.clone());
            let parents: Vec<Change> = parents.collect();
            let empty = container.kind.empty();
            if let Some(change) =
                made(collection, &parents, |writer| put_at(writer, &container.path, &empty))?
            {
                steps.push(GenesisStep { container: container.clone(), change });
            }
        }
        Ok(Genesis { steps })
    }

    /// Creates in `document` the containers that the edit writes into and that the entity lacks. Returns what was added.
    pub(crate) fn create_missing(
        &self,
        document: &mut Document,
        current: &Map,
        before: &Map,
        after: &Map,
    ) -> Result<Vec<(ChangeHash, Bytes)>, WriteError> {
        let mut missing = Vec::new();
        for GenesisStep { container, change } in &self.steps {
            let written = value_at(after, &container.path);
            let needed = written.is_some_and(|value| is_of_kind(value, container.kind))
                && value_at(current, &container.path).is_none()
                && !matches!((written, value_at(before, &container.path)), (Some(a), Some(b)) if a.same(b));
            // A parent map that somebody made by hand is another object than ours: the edit then creates the child inside it.
            let is_ours = |dep: &automerge::ChangeHash| {
                document.contains(&hash_of(*dep)) || missing.iter().any(|made: &Change| made.hash() == *dep)
            };
            if needed && change.deps().iter().all(is_ours) {
                missing.push(change.clone());
            }
        }
        let added = document.begin_with(missing)?;
        Ok(added.into_iter().map(|change| (change.hash, change.payload)).collect())
    }
}

/// What a new entity begins with.
pub(crate) struct Beginning {
    changes: Vec<Change>,
    covered: Covered,
}

/// Which fields the changes of a beginning have made.
#[derive(Default)]
struct Covered(BTreeMap<String, Part>);

enum Part {
    Whole,
    /// A map, of which the changes made these fields. The others are for the ordinary change.
    Map(Covered),
}

impl Beginning {
    /// One change for each container of `fields`, with what it holds.
    pub(crate) fn of(collection: &CollectionName, fields: &Map) -> Result<Beginning, WriteError> {
        let containers: usize = fields.values().map(containers_in).sum();
        let mut builder = Builder { collection, changes: Vec::new(), is_fine: containers <= CONTAINERS_MAX };
        let covered = builder.fields(&mut Vec::new(), &[], fields)?;
        Ok(Beginning { changes: builder.changes, covered })
    }

    pub(crate) fn into_changes(self) -> (Vec<Change>, Rest) {
        (self.changes, Rest(self.covered))
    }
}

/// What is left for the ordinary change of a new entity.
pub(crate) struct Rest(Covered);

impl Rest {
    /// The fields to write, with what the changes made as it is in the document already.
    pub(crate) fn of(&self, fields: &Map, current: &Map) -> Map {
        rest(&self.0, fields, current)
    }
}

fn rest(covered: &Covered, fields: &Map, current: &Map) -> Map {
    let field = |(name, value): (&String, &Value)| {
        let held = current.get(name);
        let left = match (covered.0.get(name), value, held) {
            (Some(Part::Whole), _, Some(held)) => held.clone(),
            (Some(Part::Map(inner)), Value::Map(fields), Some(Value::Map(current))) => {
                Value::Map(rest(inner, fields, current))
            }
            _ => value.clone(),
        };
        (name.clone(), left)
    };
    fields.iter().map(field).collect()
}

struct Builder<'a> {
    collection: &'a CollectionName,
    changes: Vec<Change>,
    is_fine: bool,
}

impl Builder<'_> {
    /// Makes the containers among the fields of the map at `path`, which the changes `parents` make.
    fn fields<'f>(
        &mut self,
        path: &mut Vec<&'f str>,
        parents: &[Change],
        fields: &'f Map,
    ) -> Result<Covered, WriteError> {
        let mut covered = Covered::default();
        for (name, value) in fields {
            if containers_in(value) == 0 || covered.0.len() == FIELDS_MAX {
                continue;
            }
            path.push(name);
            let part = match value {
                Value::Map(inner) if self.is_fine || containers_in(value) == 1 => {
                    let empty = Value::Map(Map::new());
                    match made(self.collection, parents, |writer| put_at(writer, path, &empty))? {
                        Some(change) => {
                            self.changes.push(change.clone());
                            let parents = [parents, &[change]].concat();
                            Some(Part::Map(self.fields(path, &parents, inner)?))
                        }
                        None => None,
                    }
                }
                _ => self.whole(path, parents, value)?.then_some(Part::Whole),
            };
            path.pop();
            covered.0.extend(part.map(|part| (name.clone(), part)));
        }
        Ok(covered)
    }

    /// Makes a container with all that it holds: by one change, or by several that build on one another. `false` if no change has
    /// room for one of its elements.
    fn whole(&mut self, path: &[&str], parents: &[Change], value: &Value) -> Result<bool, WriteError> {
        let mut parents = parents.to_vec();
        let first_made = self.changes.len();
        for piece in pieces(value) {
            let Some(change) = made(self.collection, &parents, |writer| piece.write(writer, path))? else {
                self.changes.truncate(first_made);
                return Ok(false);
            };
            parents.push(change.clone());
            self.changes.push(change);
        }
        Ok(true)
    }
}

/// How many containers a value is, with those in the fields of its maps.
fn containers_in(value: &Value) -> usize {
    match value {
        Value::Map(map) => 1 + map.values().map(containers_in).sum::<usize>(),
        Value::Text(_)
        | Value::List(_)
        | Value::Keyed(..)
        | Value::Tuple(_)
        | Value::Variant(..)
        | Value::Counter(_) => 1,
        _ => 0,
    }
}

impl Document {
    /// Takes in changes that nobody made. Returns those that are new here, parents before children.
    pub(crate) fn begin_with(&mut self, changes: Vec<Change>) -> Result<Vec<LocalChange>, WriteError> {
        let mut added = Vec::new();
        let mut fresh = Vec::new();
        for change in changes {
            if !self.contains(&hash_of(change.hash())) {
                added.push(self.keep(change.clone(), 0)?);
                fresh.push(change);
            }
        }
        self.automerge_mut().apply_changes(fresh)?;
        Ok(added)
    }
}

fn hash_of(hash: automerge::ChangeHash) -> ChangeHash {
    ChangeHash::from_bytes(hash.0)
}

fn is_ancestor(parent: &Container, child: &Container) -> bool {
    parent.kind == ContainerKind::Map
        && parent.path.len() < child.path.len()
        && child.path.starts_with(&parent.path)
}

fn is_of_kind(value: &Value, kind: ContainerKind) -> bool {
    match (value, kind) {
        (Value::Text(_), ContainerKind::Text)
        | (Value::List(_), ContainerKind::List)
        | (Value::Map(_), ContainerKind::Map)
        | (Value::Counter(_), ContainerKind::Counter) => true,
        (Value::Keyed(key, _), ContainerKind::Keyed(name)) => key == name,
        _ => false,
    }
}

/// The change that does what `write` does, on nothing but its parents, and that certifies it. `None` if it is too large for one.
fn made(
    collection: &CollectionName,
    parents: &[Change],
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), WriteError>,
) -> Result<Option<Change>, WriteError> {
    let mut document = Automerge::new().with_actor(ActorId::from(&UNCERTIFIED[..]));
    if !parents.is_empty() {
        document.apply_changes(parents.to_vec())?;
    }
    let mut texts = Texts::default();
    let mut writer = Writer::new(document, 0, None, &mut texts)?;
    write(&mut writer)?;
    let (_, mut changes) = writer.finish()?;
    let (Some(change), true) = (changes.pop(), changes.is_empty()) else { return Ok(None) };
    let certified = certify(collection, Bytes::copy_from_slice(change.raw_bytes()))?;
    let change = Change::from_bytes(certified.to_vec());
    change.map(Some).map_err(|error| WriteError::Engine(error.to_string()))
}

fn value_at<'a>(fields: &'a Map, path: &[&'static str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(fields.get(*first)?, |value, step| value.as_map()?.get(*step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(path: &[&'static str], kind: ContainerKind) -> Container {
        Container { path: path.to_vec(), kind, is_struct: kind == ContainerKind::Map, others: vec![] }
    }

    fn bags() -> CollectionName {
        CollectionName::new("coffee_bags").unwrap()
    }

    fn short(changes: &[Change]) -> String {
        let hash = |change: &Change| change.hash().0[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        changes.iter().map(hash).collect::<Vec<String>>().join(" ")
    }

    #[test]
    fn the_changes_that_nobody_made_never_change() {
        // Would split every existing entity's texts and lists in two if an upgrade of Automerge or of this module changed a byte.
        let shape = Shape {
            containers: vec![
                container(&["notes"], ContainerKind::Text),
                container(&["water"], ContainerKind::Map),
                container(&["water", "minerals"], ContainerKind::List),
                container(&["brews"], ContainerKind::Counter),
                container(&["steps"], ContainerKind::Keyed("id")),
            ],
        };
        let genesis = Genesis::new(&bags(), &shape).unwrap();
        let changes: Vec<Change> = genesis.steps.into_iter().map(|step| step.change).collect();
        assert_eq!(short(&changes), "e5abb875 d97390dc ee4a5dcd c4bd2903 db88337a");
        assert_eq!(changes[2].deps(), [changes[1].hash()]);
    }

    #[test]
    fn an_entity_without_content_begins_like_its_type() {
        // Would make the containers of a new entity other objects than those that an older entity gets later.
        let shape = Shape { containers: vec![container(&["water"], ContainerKind::Map)] };
        let genesis = Genesis::new(&bags(), &shape).unwrap();
        let fields =
            Map::from([("water".to_owned(), Value::Map(Map::from([("ppm".to_owned(), 80.into())])))]);
        let beginning = Beginning::of(&bags(), &fields).unwrap();
        assert_eq!(beginning.changes[0].hash(), genesis.steps[0].change.hash());
    }

    #[test]
    fn content_too_large_for_one_change_begins_the_same_everywhere() {
        // Would double a long starter text, or lose its end.
        let long = "Wóshed, juicy; ".repeat(20_000);
        let items = (0..9_000).map(|n| Value::from(format!("item {n} with some words"))).collect();
        let element =
            |n: i64| Value::Map(Map::from([("id".to_owned(), n.into()), ("n".to_owned(), n.into())]));
        let fields = Map::from([
            ("notes".to_owned(), Value::Text(long.as_str().into())),
            ("items".to_owned(), Value::List(items)),
            ("steps".to_owned(), Value::Keyed("id".into(), (0..150).map(element).collect())),
        ]);
        let (changes, _) = Beginning::of(&bags(), &fields).unwrap().into_changes();
        assert!(changes.len() >= 6, "{}", changes.len());
        let (again, rest) = Beginning::of(&bags(), &fields).unwrap().into_changes();
        assert_eq!(short(&changes), short(&again));
        let mut document = Document::new();
        document.begin_with(changes).unwrap();
        assert!(document.begin_with(again).unwrap().is_empty());
        let held = document.fields().unwrap();
        let differs = |name: &&String| held.get(*name) != fields.get(*name);
        assert_eq!(fields.keys().filter(differs).collect::<Vec<_>>(), Vec::<&String>::new());
        assert!(rest.of(&fields, &held) == fields);
    }
}
