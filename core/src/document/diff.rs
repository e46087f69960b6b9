//! The difference between two values, written into a document: only what the edit touched.
//!
//! Three values take part. `current` is what the document holds; `before` is what the app saw of it through its own type; `after`
//! is what the app made of that. What differs between the last two is the edit; `current` says how to write it (a field that is
//! a text in the document gets splices, even when the app's type calls it a string).

use automerge::{ObjId, ObjType, Prop, ROOT, ScalarValue};
use headwater_storage::{ChangeHash, CollectionName};

use super::WriteError;
use super::list::{ListStep, align};
use super::view::{COLLECTION_KEY, DELETED_KEY};
use super::write::Writer;
use crate::model::{Map, Value, text_difference};

/// The longest name of a field, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// How much of a field's name an error shows.
const NAME_CHARS_SHOWN: usize = 40;

/// One local edit of an entity.
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
    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), WriteError> {
        if let Some(collection) = self.new_in {
            writer.put(&ROOT, COLLECTION_KEY.into(), collection.as_str().into())?;
        }
        match self.tombstone {
            Tombstone::Leave => {}
            Tombstone::Set { now_ms } => {
                writer.put(&ROOT, DELETED_KEY.into(), ScalarValue::Timestamp(now_ms))?;
            }
            Tombstone::Remove => writer.delete(&ROOT, DELETED_KEY.into())?,
        }
        write_map(writer, &ROOT, self.current, self.before, self.after)
    }
}

/// Checks what an app made of an entity's fields: their names, and how deep they nest.
pub(crate) fn check_fields(fields: &Map) -> Result<(), WriteError> {
    if let Some(name) = fields.keys().find(|name| name.starts_with('_')) {
        return Err(WriteError::BadFieldName(name.chars().take(NAME_CHARS_SHOWN).collect()));
    }
    if fields.values().all(|value| value.fits_depth(1)) { Ok(()) } else { Err(WriteError::TooDeep) }
}

/// Writes the edit that leads from `before` to `after` into the map `object`.
fn write_map(
    writer: &mut Writer<'_>,
    object: &ObjId,
    current: &Map,
    before: &Map,
    after: &Map,
) -> Result<(), WriteError> {
    for key in before.keys().filter(|key| !after.contains_key(*key) && current.contains_key(*key)) {
        writer.delete(object, key.as_str().into())?;
    }
    for (key, value) in after {
        if !is_unchanged(current.get(key), before.get(key), value) {
            if key.len() > KEY_BYTES_MAX {
                return Err(WriteError::BadFieldName(key.chars().take(NAME_CHARS_SHOWN).collect()));
            }
            write_value(writer, object, Prop::Map(key.clone()), current.get(key), before.get(key), value)?;
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
    object: &ObjId,
    prop: Prop,
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
            if matches!(*current, i64::MIN | i64::MAX) {
                writer.put(object, prop, ScalarValue::counter(to))?;
            } else {
                writer.increment(object, prop, by)?;
            }
            return Ok(());
        }
        (Some(Value::Text(current)), Value::Text(_) | Value::Str(_)) => {
            if let Some(text) = writer.container(object, &prop)? {
                let wanted = after.as_str().unwrap_or_default();
                let splices = match (after, before.and_then(Value::as_str)) {
                    (Value::Text(after), Some(before)) if before == current.as_str() => {
                        after.splices_since(before)
                    }
                    (Value::Text(after), None) => after.splices_since(current.as_str()),
                    _ => text_difference(current.as_str(), wanted),
                };
                return writer.edit_text(&text, current.as_str(), wanted, &splices);
            }
        }
        (Some(Value::Map(current)), Value::Map(after)) => {
            if let Some(map) = writer.container(object, &prop)? {
                let before = before.and_then(Value::as_map).unwrap_or(current);
                return write_map(writer, &map, current, before, after);
            }
        }
        (Some(Value::List(current)), Value::List(after)) => {
            if let Some(list) = writer.container(object, &prop)? {
                return write_list(writer, &list, current, before.and_then(Value::as_list), after, None);
            }
        }
        (Some(Value::List(current)), Value::Keyed(key, after)) => {
            if let Some(list) = writer.container(object, &prop)? {
                return write_list(writer, &list, current, before.and_then(Value::as_list), after, Some(key));
            }
        }
        _ => {}
    }
    put(writer, object, Place::Put(prop), after)
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
    list: &ObjId,
    current: &[Value],
    before: Option<&[Value]>,
    after: &[Value],
    key: Option<&str>,
) -> Result<(), WriteError> {
    // The app's own list counts only where it shows every element in place: a set type sorts, a filter drops.
    let before = before.filter(|before| {
        before.len() == current.len() && current.iter().zip(*before).all(|(c, b)| shows(c, b))
    });
    let before = before.unwrap_or(current);
    // From the front, so that each of several new elements builds on the one before it: nobody else's run gets in between.
    let mut position = 0;
    for step in align(before, after, key) {
        match step {
            ListStep::Keep { before: from, after: to } => {
                if !before[from].satisfies(&after[to]) {
                    let place = Prop::Seq(position);
                    write_value(writer, list, place, current.get(from), before.get(from), &after[to])?;
                }
                position += 1;
            }
            ListStep::Remove { .. } => writer.delete(list, Prop::Seq(position))?,
            ListStep::Insert { after: to } => {
                put(writer, list, Place::Insert(position), &after[to])?;
                position += 1;
            }
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

enum Place {
    Put(Prop),
    Insert(usize),
}

/// Writes a whole value where there was none, or another kind.
fn put(writer: &mut Writer<'_>, object: &ObjId, place: Place, value: &Value) -> Result<(), WriteError> {
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
            let id = put_object(writer, object, place, ObjType::Text)?;
            return writer.fill_text(&id, text.as_str());
        }
        Value::List(items) | Value::Keyed(_, items) => {
            let id = put_object(writer, object, place, ObjType::List)?;
            for (index, item) in items.iter().enumerate() {
                put(writer, &id, Place::Insert(index), item)?;
            }
            return Ok(());
        }
        Value::Map(map) => {
            let id = put_object(writer, object, place, ObjType::Map)?;
            return write_map(writer, &id, &Map::new(), &Map::new(), map);
        }
    };
    match place {
        Place::Put(prop) => writer.put(object, prop, scalar),
        Place::Insert(index) => writer.insert(object, index, scalar),
    }
}

fn put_object(
    writer: &mut Writer<'_>,
    object: &ObjId,
    place: Place,
    kind: ObjType,
) -> Result<ObjId, WriteError> {
    match place {
        Place::Put(prop) => writer.put_object(object, prop, kind),
        Place::Insert(index) => writer.insert_object(object, index, kind),
    }
}
