//! The difference between two values, written into a document: only what the edit touched.
//!
//! Three values take part. `current` is what the document holds; `before` is what the app saw of it through its own type; `after`
//! is what the app made of that. What differs between the last two is the edit; `current` says how to write it (a field that is
//! a text in the document gets splices, even when the app's type calls it a string).

use automerge::transaction::{Transactable, Transaction};
use automerge::{ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue};
use headwater_storage::CollectionName;

use super::WriteError;
use super::list::{ListStep, align};
use super::view::{COLLECTION_KEY, DELETED_KEY};
use crate::model::{Map, Value};

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
}

/// What an edit does to the mark of deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tombstone {
    Leave,
    Set { now_ms: i64 },
    Remove,
}

impl LocalEdit<'_> {
    pub(super) fn write(&self, tx: &mut Transaction<'_>) -> Result<(), WriteError> {
        if let Some(collection) = self.new_in {
            tx.put(ROOT, COLLECTION_KEY, collection.as_str())?;
        }
        match self.tombstone {
            Tombstone::Leave => {}
            Tombstone::Set { now_ms } => tx.put(ROOT, DELETED_KEY, ScalarValue::Timestamp(now_ms))?,
            Tombstone::Remove => tx.delete(ROOT, DELETED_KEY)?,
        }
        write_map(tx, &ROOT, self.current, self.before, self.after)
    }

    /// The texts at the top that the edit changes, with what the document holds of them, and what it will hold.
    pub(super) fn changed_texts(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.after.iter().filter_map(|(key, value)| {
            let (Some(Value::Text(current)), Some(after)) = (self.current.get(key), value.as_str()) else {
                return None;
            };
            let unchanged = is_unchanged(self.current.get(key), self.before.get(key), value);
            (!unchanged).then_some((key.as_str(), current.as_str(), after))
        })
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
    tx: &mut Transaction<'_>,
    object: &ObjId,
    current: &Map,
    before: &Map,
    after: &Map,
) -> Result<(), WriteError> {
    for key in before.keys().filter(|key| !after.contains_key(*key) && current.contains_key(*key)) {
        tx.delete(object, key.as_str())?;
    }
    for (key, value) in after {
        if !is_unchanged(current.get(key), before.get(key), value) {
            if key.len() > KEY_BYTES_MAX {
                return Err(WriteError::BadFieldName(key.chars().take(NAME_CHARS_SHOWN).collect()));
            }
            write_value(tx, object, Prop::Map(key.clone()), current.get(key), before.get(key), value)?;
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
    tx: &mut Transaction<'_>,
    object: &ObjId,
    prop: Prop,
    current: Option<&Value>,
    before: Option<&Value>,
    after: &Value,
) -> Result<(), WriteError> {
    match (current, after) {
        (Some(Value::Counter(current)), _) if after.as_i64().is_some() => {
            let base = before.and_then(Value::as_i64).unwrap_or(*current);
            let by = after.as_i64().unwrap_or(base).saturating_sub(base);
            tx.increment(object, prop, by)?;
            return Ok(());
        }
        (Some(Value::Text(current)), Value::Text(_) | Value::Str(_)) => {
            if let Some(text) = container(tx, object, &prop)? {
                let splices = match (after, before.and_then(Value::as_str)) {
                    (Value::Text(after), Some(before)) if before == current.as_str() => {
                        after.splices_since(before)
                    }
                    (Value::Text(after), None) => after.splices_since(current.as_str()),
                    _ => crate::model::text_difference(current.as_str(), after.as_str().unwrap_or_default()),
                };
                for splice in splices {
                    tx.splice_text(&text, splice.position, splice.deleted as isize, &splice.inserted)?;
                }
                return Ok(());
            }
        }
        (Some(Value::Map(current)), Value::Map(after)) => {
            if let Some(map) = container(tx, object, &prop)? {
                let before = before.and_then(Value::as_map).unwrap_or(current);
                return write_map(tx, &map, current, before, after);
            }
        }
        (Some(Value::List(current)), Value::List(after)) => {
            if let Some(list) = container(tx, object, &prop)? {
                return write_list(tx, &list, current, before.and_then(Value::as_list), after, None);
            }
        }
        (Some(Value::List(current)), Value::Keyed(key, after)) => {
            if let Some(list) = container(tx, object, &prop)? {
                return write_list(tx, &list, current, before.and_then(Value::as_list), after, Some(key));
            }
        }
        _ => {}
    }
    put(tx, object, Place::Put(prop), after)
}

fn write_list(
    tx: &mut Transaction<'_>,
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
    // From the back, so that positions further to the front stay what they were.
    let mut position = before.len();
    for step in align(before, after, key).into_iter().rev() {
        match step {
            ListStep::Keep { before: from, after: to } => {
                position = from;
                if !before[from].satisfies(&after[to]) {
                    write_value(tx, list, Prop::Seq(from), current.get(from), before.get(from), &after[to])?;
                }
            }
            ListStep::Remove { before: from } => {
                position = from;
                tx.delete(list, from)?;
            }
            ListStep::Insert { after: to } => put(tx, list, Place::Insert(position), &after[to])?,
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
fn put(tx: &mut Transaction<'_>, object: &ObjId, place: Place, value: &Value) -> Result<(), WriteError> {
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
            let id = put_object(tx, object, place, ObjType::Text)?;
            if !text.is_empty() {
                tx.splice_text(&id, 0, 0, text.as_str())?;
            }
            return Ok(());
        }
        Value::List(items) | Value::Keyed(_, items) => {
            let id = put_object(tx, object, place, ObjType::List)?;
            for (index, item) in items.iter().enumerate() {
                put(tx, &id, Place::Insert(index), item)?;
            }
            return Ok(());
        }
        Value::Map(map) => {
            let id = put_object(tx, object, place, ObjType::Map)?;
            return write_map(tx, &id, &Map::new(), &Map::new(), map);
        }
    };
    match place {
        Place::Put(prop) => tx.put(object, prop, scalar)?,
        Place::Insert(index) => tx.insert(object, index, scalar)?,
    }
    Ok(())
}

fn put_object(
    tx: &mut Transaction<'_>,
    object: &ObjId,
    place: Place,
    kind: ObjType,
) -> Result<ObjId, WriteError> {
    Ok(match place {
        Place::Put(prop) => tx.put_object(object, prop, kind)?,
        Place::Insert(index) => tx.insert_object(object, index, kind)?,
    })
}

fn container(tx: &Transaction<'_>, object: &ObjId, prop: &Prop) -> Result<Option<ObjId>, WriteError> {
    Ok(tx.get(object, prop.clone())?.and_then(|(value, id)| value.is_object().then_some(id)))
}
