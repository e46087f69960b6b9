//! The difference between two values, written into a document: only what the edit touched.
//!
//! Three values take part. `current` is what the document holds; `before` is what the app saw of it through its own type; `after`
//! is what the app made of that. What differs between the last two is the edit; `current` says how to write it (a field that is
//! a text in the document gets splices, even when the app's type calls it a string).
//!
//! 1. `begin`: what a new entity begins with, in `pieces`.
//! 2. This file: which fields and elements an edit changes. `list` and `likeness`: which elements of a list stayed. `keyed` and `order`: the
//!    same by key, and where each stands.
//! 3. `write`: the steps of it, cut into changes.

pub(super) mod begin;
mod keyed;
mod likeness;
mod list;
mod order;
mod pieces;
pub(super) mod write;

use automerge::{ObjId, ObjType, ROOT, ScalarValue};
use headwater_storage::{ChangeHash, CollectionName};

use self::keyed::{check_keys, coerced, put_keyed, write_keyed};
use self::list::{ListStep, align};
use self::write::Writer;
use super::WriteError;
use super::show::place::{Place, RESERVED_KEYS, TUPLE_KEY, VARIANT_KEY};
use super::show::view::{COLLECTION_KEY, DELETED_KEY};
use crate::model::{Map, Value, text_difference};

/// The longest name of a field, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// How much of a field's name an error shows.
const NAME_CHARS_SHOWN: usize = 40;

/// One local edit of an entity.
#[derive(Clone, Copy)]
pub(crate) struct LocalEdit<'a> {
    /// The collection that the entity is created in, if it is new.
    pub(crate) new_in: Option<&'a CollectionName>,
    pub(crate) tombstone: Tombstone,
    /// What the document holds.
    pub(crate) current: &'a Map,
    /// What the app saw of it.
    pub(crate) before: &'a Map,
    /// What the app made of that.
    pub(crate) after: &'a Map,
    /// The change that is written again, if it is one.
    pub(crate) again: Option<ChangeHash>,
}

/// What an edit does to the mark of deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tombstone {
    Leave,
    Set { now_ms: i64 },
    Remove,
}

impl LocalEdit<'_> {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), WriteError> {
        if let Some(collection) = self.new_in {
            writer.put(root(COLLECTION_KEY), collection.as_str().into())?;
        }
        match self.tombstone {
            Tombstone::Leave => {}
            Tombstone::Set { now_ms } => {
                writer.put(root(DELETED_KEY), ScalarValue::Timestamp(now_ms))?;
            }
            Tombstone::Remove => writer.delete(root(DELETED_KEY))?,
        }
        write_map(writer, &[ROOT], self.current, self.before, self.after)
    }
}

fn root(name: &'static str) -> Place<'static> {
    Place::Field { maps: &[ROOT], name }
}

/// Checks what an app made of an entity's fields: their names, how deep they nest, and the keys of keyed lists.
pub(crate) fn check_fields(fields: &Map) -> Result<(), WriteError> {
    if let Some(name) = fields.keys().find(|name| name.starts_with('_')) {
        return Err(bad_name(name));
    }
    if !fields.values().all(|value| value.fits_depth(1)) {
        return Err(WriteError::TooDeep);
    }
    fields.iter().try_for_each(|(name, value)| check_inside(name, value))
}

/// Checks a value of the field `name`, which does not nest too deep.
fn check_inside(name: &str, value: &Value) -> Result<(), WriteError> {
    match value {
        Value::Map(map) => {
            if let Some(name) = map.keys().find(|name| RESERVED_KEYS.contains(&name.as_str())) {
                return Err(bad_name(name));
            }
            map.iter().try_for_each(|(name, value)| check_inside(name, value))
        }
        Value::Keyed(key, items) => {
            check_keys(name, key, items)?;
            items.iter().try_for_each(|item| check_inside(name, item))
        }
        Value::List(items) | Value::Tuple(items) => {
            items.iter().try_for_each(|item| check_inside(name, item))
        }
        Value::Variant(case, _) if RESERVED_KEYS.contains(&case.as_str()) => Err(bad_name(case)),
        Value::Variant(_, content) => check_inside(name, content),
        _ => Ok(()),
    }
}

fn bad_name(name: &str) -> WriteError {
    WriteError::BadFieldName(name.chars().take(NAME_CHARS_SHOWN).collect())
}

/// Writes the edit that leads from `before` to `after` into a map, or into several that are one.
pub(crate) fn write_map(
    writer: &mut Writer<'_>,
    maps: &[ObjId],
    current: &Map,
    before: &Map,
    after: &Map,
) -> Result<(), WriteError> {
    for name in before.keys().filter(|name| !after.contains_key(*name) && current.contains_key(*name)) {
        writer.delete(Place::Field { maps, name })?;
    }
    for (name, value) in after {
        if !is_unchanged(current.get(name), before.get(name), value) {
            if name.len() > KEY_BYTES_MAX {
                return Err(bad_name(name));
            }
            write_value(writer, Place::Field { maps, name }, current.get(name), before.get(name), value)?;
        }
    }
    Ok(())
}

/// Whether the edit leaves a field as it is.
fn is_unchanged(current: Option<&Value>, before: Option<&Value>, after: &Value) -> bool {
    before.or(current).is_some_and(|seen| seen.satisfies(after))
}

/// Writes one field or element that the edit changed.
fn write_value(
    writer: &mut Writer<'_>,
    place: Place<'_>,
    current: Option<&Value>,
    before: Option<&Value>,
    after: &Value,
) -> Result<(), WriteError> {
    match (current, after) {
        (Some(Value::Counter(current)), _) if is_whole(after) => {
            let base = before.and_then(Value::as_i64).unwrap_or(*current);
            let overflow = || WriteError::CounterOverflow { from: base, to: number_of(after) };
            let to = after.as_i64().ok_or_else(overflow)?;
            let by = to.checked_sub(base).ok_or_else(overflow)?;
            // At an end of its range it may have been counted beyond it, and an increment would count from there.
            return match *current {
                i64::MIN | i64::MAX => writer.put(place, ScalarValue::counter(to)),
                _ => writer.increment(place, by),
            };
        }
        (Some(Value::Text(current)), Value::Text(_) | Value::Str(_)) => {
            if let Some(texts) = writer.container(place, ObjType::Text)? {
                let wanted = after.as_str().unwrap_or_default();
                let splices = match (after, before.and_then(Value::as_str)) {
                    (Value::Text(after), Some(before)) if before == current.as_str() => {
                        after.splices_since(before)
                    }
                    (Value::Text(after), None) => after.splices_since(current.as_str()),
                    _ => text_difference(current.as_str(), wanted),
                };
                return writer.edit_text(&texts, current.as_str(), wanted, &splices);
            }
        }
        (Some(Value::Map(current)), Value::Map(after)) => {
            if let Some(maps) = writer.container(place, ObjType::Map)? {
                let before = before.and_then(Value::as_map).unwrap_or(current);
                return write_map(writer, &maps, current, before, after);
            }
        }
        (Some(Value::List(current)), Value::List(after)) => {
            if let Some(lists) = writer.container(place, ObjType::List)? {
                return write_list(writer, &lists, current, before.and_then(Value::as_list), after);
            }
        }
        (Some(Value::Keyed(key, current)), Value::Keyed(..) | Value::List(_)) => {
            // A plain list of records, from a reader that sees no keys, is written by key as well.
            if let Some(after) = coerced(place.name(), key, after)?
                && let Some(maps) = writer.container(place, ObjType::Map)?
            {
                let before = before.and_then(Value::as_list).unwrap_or(current);
                return write_keyed(writer, &maps, key, current, before, after);
            }
        }
        (Some(Value::Tuple(current)), Value::Tuple(after) | Value::List(after))
            if current.len() == after.len() =>
        {
            if let Some(maps) = writer.container(place, ObjType::Map)?
                && let Some(lists) =
                    writer.container(Place::Field { maps: &maps, name: TUPLE_KEY }, ObjType::List)?
                && let [list] = &*lists
            {
                let before = before.and_then(Value::as_list).filter(|before| before.len() == after.len());
                return write_tuple(writer, list, current, before.unwrap_or(current), after);
            }
        }
        (Some(Value::Variant(name, current)), Value::Variant(..) | Value::Map(_)) => {
            if let Some((case, content)) = as_case(after)
                && let Some(maps) = writer.container(place, ObjType::Map)?
            {
                let before = before.and_then(as_case).filter(|(seen, _)| *seen == name);
                let maps = maps.as_slice();
                let inside = Place::Field { maps, name: case };
                if case == name {
                    let before = before.map_or(current.as_ref(), |(_, before)| before);
                    return write_value(writer, inside, Some(current), Some(before), content);
                }
                writer.put(Place::Field { maps, name: VARIANT_KEY }, case.into())?;
                writer.delete(Place::Field { maps, name })?;
                return put(writer, Spot::Put(inside), content);
            }
        }
        _ => {}
    }
    put(writer, Spot::Put(place), after)
}

/// The name of a case and what it holds; a map with one name in it is how readers without cases show it.
fn as_case(value: &Value) -> Option<(&str, &Value)> {
    match value {
        Value::Variant(name, content) => Some((name, content)),
        Value::Map(map) if map.len() == 1 => {
            map.iter().next().map(|(name, content)| (name.as_str(), content))
        }
        _ => None,
    }
}

/// Whether this is a number that a counter could hold, but for its size.
fn is_whole(value: &Value) -> bool {
    match value {
        Value::Int(_) | Value::Uint(_) | Value::Counter(_) => true,
        // -0 is a float for its sign, which no counter has.
        Value::Float(float) => float.fract() == 0.0 && !(*float == 0.0 && float.is_sign_negative()),
        _ => false,
    }
}

fn number_of(value: &Value) -> String {
    match value {
        Value::Int(v) | Value::Counter(v) => v.to_string(),
        Value::Uint(v) => v.to_string(),
        other => other.as_f64().unwrap_or_default().to_string(),
    }
}

fn write_list(
    writer: &mut Writer<'_>,
    lists: &[ObjId],
    current: &[Value],
    before: Option<&[Value]>,
    after: &[Value],
) -> Result<(), WriteError> {
    // The app's own list counts only where it shows every element in place: a set type sorts, a filter drops.
    let before = before.filter(|before| {
        before.len() == current.len() && current.iter().zip(*before).all(|(c, b)| shows(c, b))
    });
    let before = before.unwrap_or(current);
    let mut parts = Parts::new(writer, lists, current.len())?;
    // From the front, so that each of several new elements builds on the one before it: nobody else's run gets in between.
    let mut position = 0;
    for step in align(before, after) {
        match step {
            ListStep::Keep { before: from, after: to } => {
                if !before[from].satisfies(&after[to]) {
                    let (list, index) = parts.of(position);
                    let place = Place::Element { list, index };
                    write_value(writer, place, current.get(from), before.get(from), &after[to])?;
                }
                position += 1;
            }
            ListStep::Remove { .. } => {
                let (list, index) = parts.remove(position);
                writer.delete(Place::Element { list, index })?;
            }
            ListStep::Insert { after: to } => {
                let (list, index) = parts.insert(position);
                put(writer, Spot::Insert { list, index }, &after[to])?;
                position += 1;
            }
        }
    }
    Ok(())
}

/// A list, or the parts of one that several devices made, with the number of elements in each.
struct Parts<'a> {
    lists: &'a [ObjId],
    lens: Vec<usize>,
}

impl<'a> Parts<'a> {
    fn new(writer: &mut Writer<'_>, lists: &'a [ObjId], len: usize) -> Result<Parts<'a>, WriteError> {
        let lens = if lists.len() == 1 { vec![len] } else { writer.lens(lists)? };
        Ok(Parts { lists, lens })
    }

    /// Where the element at a position is.
    fn of(&self, position: usize) -> (&'a ObjId, usize) {
        let (part, index) = self.find(position, |index, len| index < len);
        (&self.lists[part], index)
    }

    fn remove(&mut self, position: usize) -> (&'a ObjId, usize) {
        let (part, index) = self.find(position, |index, len| index < len);
        self.lens[part] = self.lens[part].saturating_sub(1);
        (&self.lists[part], index)
    }

    fn insert(&mut self, position: usize) -> (&'a ObjId, usize) {
        let (part, index) = self.find(position, |index, len| index <= len);
        self.lens[part] += 1;
        (&self.lists[part], index)
    }

    /// The part, and the index in it, of the first part in which the position `fits`.
    fn find(&self, position: usize, fits: impl Fn(usize, usize) -> bool) -> (usize, usize) {
        let mut index = position;
        let last = self.lens.len().saturating_sub(1);
        for (part, len) in self.lens.iter().enumerate() {
            if fits(index, *len) || part == last {
                return (part, index);
            }
            index -= len;
        }
        (last, index)
    }
}

fn write_tuple(
    writer: &mut Writer<'_>,
    list: &ObjId,
    current: &[Value],
    before: &[Value],
    after: &[Value],
) -> Result<(), WriteError> {
    for (index, after) in after.iter().enumerate() {
        if !is_unchanged(current.get(index), before.get(index), after) {
            let place = Place::Element { list, index };
            write_value(writer, place, current.get(index), before.get(index), after)?;
        }
    }
    Ok(())
}

/// Whether `seen`, through the app's type, can be the element `stored`: fields may be missing or defaulted on either side.
fn shows(stored: &Value, seen: &Value) -> bool {
    match (stored, seen) {
        (Value::Map(stored), Value::Map(seen)) => {
            seen.iter().all(|(key, seen)| stored.get(key).is_none_or(|stored| shows(stored, seen)))
        }
        _ => stored.same(seen),
    }
}

/// Where a new value goes.
#[derive(Clone, Copy)]
pub(crate) enum Spot<'a> {
    Put(Place<'a>),
    Insert { list: &'a ObjId, index: usize },
}

/// Writes a whole value where there was none, or another kind.
pub(crate) fn put(writer: &mut Writer<'_>, spot: Spot<'_>, value: &Value) -> Result<(), WriteError> {
    let scalar = match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(v) => ScalarValue::Boolean(*v),
        Value::Int(v) => ScalarValue::Int(*v),
        Value::Uint(v) => ScalarValue::Uint(*v),
        Value::Float(v) => ScalarValue::F64(*v),
        Value::Str(v) => ScalarValue::Str(v.as_str().into()),
        Value::Bytes(v) => ScalarValue::Bytes(v.clone()),
        Value::Timestamp(v) => ScalarValue::Timestamp(*v),
        Value::Counter(v) => ScalarValue::counter(*v),
        Value::Text(text) => {
            let id = put_object(writer, spot, ObjType::Text)?;
            return writer.fill_text(&id, text.as_str());
        }
        Value::List(items) => {
            let list = put_object(writer, spot, ObjType::List)?;
            return fill_list(writer, &list, items);
        }
        Value::Tuple(items) => {
            let map = put_object(writer, spot, ObjType::Map)?;
            let place = Place::Field { maps: &[map], name: TUPLE_KEY };
            let list = writer.put_object(place, ObjType::List)?;
            return fill_list(writer, &list, items);
        }
        Value::Keyed(key, items) => {
            let map = put_object(writer, spot, ObjType::Map)?;
            return put_keyed(writer, &map, key, items);
        }
        Value::Variant(name, content) => {
            let maps = &[put_object(writer, spot, ObjType::Map)?];
            writer.put(Place::Field { maps, name: VARIANT_KEY }, name.as_str().into())?;
            return put(writer, Spot::Put(Place::Field { maps, name }), content);
        }
        Value::Map(map) => {
            let id = put_object(writer, spot, ObjType::Map)?;
            return write_map(writer, &[id], &Map::new(), &Map::new(), map);
        }
    };
    match spot {
        Spot::Put(place) => writer.put(place, scalar),
        Spot::Insert { list, index } => writer.insert(list, index, scalar),
    }
}

fn fill_list(writer: &mut Writer<'_>, list: &ObjId, items: &[Value]) -> Result<(), WriteError> {
    items.iter().enumerate().try_for_each(|(index, item)| put(writer, Spot::Insert { list, index }, item))
}

fn put_object(writer: &mut Writer<'_>, spot: Spot<'_>, kind: ObjType) -> Result<ObjId, WriteError> {
    match spot {
        Spot::Put(place) => writer.put_object(place, kind),
        Spot::Insert { list, index } => writer.insert_object(list, index, kind),
    }
}

/// Writes a value where a path from the root ends.
pub(super) fn put_at(writer: &mut Writer<'_>, path: &[&str], value: &Value) -> Result<(), WriteError> {
    let (map, name) = parent_of(writer, path)?;
    put(writer, Spot::Put(Place::Field { maps: &[map], name }), value)
}

/// The map in which a path ends, and the name in it.
pub(super) fn parent_of<'a>(
    writer: &mut Writer<'_>,
    path: &[&'a str],
) -> Result<(ObjId, &'a str), WriteError> {
    let missing = || WriteError::Engine("a container's parent is created before it".to_owned());
    let (name, parents) = path.split_last().ok_or_else(missing)?;
    let mut map = ROOT;
    for step in parents {
        let place = Place::Field { maps: &[map], name: step };
        map = writer.container(place, ObjType::Map)?.and_then(|mut maps| maps.pop()).ok_or_else(missing)?;
    }
    Ok((map, name))
}
