//! A document's values, as of now.

use std::cmp::Ordering;

use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValueRef, ValueRef};

use super::counters::Counters;
use super::keys::{self, PlaceOf};
use super::place::{KEYED_KEY, PLACE_KEY, Place, REMOVED_KEY, Shown, TUPLE_KEY, VARIANT_KEY, unreadable};
use super::texts::KnownTexts;
use crate::document::ViewError;
use crate::model::{DEPTH_MAX, Map, Text, Value};

/// Reads a document, or what a transaction has made of one.
pub(crate) struct Reader<'a, D> {
    pub(crate) document: &'a D,
    pub(crate) texts: KnownTexts<'a>,
    pub(crate) counters: &'a Counters<'a>,
}

/// Every field of the root, Headwater's own included.
pub(crate) fn root(
    document: &Automerge,
    texts: KnownTexts<'_>,
    counters: &Counters<'_>,
) -> Result<Map, ViewError> {
    Reader { document, texts, counters }.fields(&[ROOT], 0)
}

// These recurse at most `DEPTH_MAX` deep, whatever the document holds.
impl<D: ReadDoc> Reader<'_, D> {
    /// The fields of a map, or of several that are one.
    pub(crate) fn fields(&self, maps: &[ObjId], depth: usize) -> Result<Map, ViewError> {
        let mut fields = Map::new();
        if let [map] = maps {
            for item in self.document.map_range(map, ..) {
                let value = if item.conflict {
                    self.shown(Place::Field { maps, name: &item.key }, depth + 1)?
                } else {
                    Some(self.value(&item.value, &|| item.id(), depth + 1)?)
                };
                fields.extend(value.map(|value| (item.key.to_string(), value)));
            }
            return Ok(fields);
        }
        for map in maps {
            for name in self.document.keys(map) {
                if !fields.contains_key(&name) {
                    let value = self.shown(Place::Field { maps, name: &name }, depth + 1)?;
                    fields.extend(value.map(|value| (name, value)));
                }
            }
        }
        Ok(fields)
    }

    /// What stands at a place where several may stand.
    pub(crate) fn shown(&self, place: Place<'_>, depth: usize) -> Result<Option<Value>, ViewError> {
        let Some(shown) = place.shown(self.document)? else { return Ok(None) };
        Ok(Some(match shown {
            Shown::Scalar(scalar, id) => self.value(&ValueRef::from(scalar), &|| id.clone(), depth)?,
            Shown::Counter { ids, engine } => match self.counters.total(&ids, engine) {
                Some(total) => Value::Counter(total),
                None => return Ok(None),
            },
            Shown::Container(kind, objects) => self.container(kind, &objects, depth)?,
        }))
    }

    /// A value that stands alone at its place.
    pub(crate) fn value(
        &self,
        value: &ValueRef<'_>,
        id: &dyn Fn() -> ObjId,
        depth: usize,
    ) -> Result<Value, ViewError> {
        Ok(match value {
            ValueRef::Object(kind) => self.container(*kind, &[id()], depth)?,
            ValueRef::Scalar(scalar) => match scalar {
                _ if depth > DEPTH_MAX => return Err(ViewError::TooDeep),
                ScalarValueRef::Null => Value::Null,
                ScalarValueRef::Boolean(v) => Value::Bool(*v),
                ScalarValueRef::Int(v) => Value::Int(*v),
                ScalarValueRef::Uint(v) => Value::from(*v),
                ScalarValueRef::F64(v) => Value::Float(*v),
                ScalarValueRef::Str(v) => Value::Str(v.to_string()),
                ScalarValueRef::Bytes(v) => Value::Bytes(v.to_vec()),
                ScalarValueRef::Counter(v) => Value::Counter(self.counters.value(id, *v)),
                ScalarValueRef::Timestamp(v) => Value::Timestamp(*v),
                // From a later Automerge: its bytes are all we can show, and they are kept in the document.
                ScalarValueRef::Unknown { bytes, .. } => Value::Bytes(bytes.to_vec()),
            },
        })
    }

    pub(crate) fn container(
        &self,
        kind: ObjType,
        objects: &[ObjId],
        depth: usize,
    ) -> Result<Value, ViewError> {
        if depth > DEPTH_MAX {
            return Err(ViewError::TooDeep);
        }
        Ok(match kind {
            ObjType::Map | ObjType::Table => self.formed(objects, self.fields(objects, depth)?)?,
            // What several devices made apart stands one behind the other.
            ObjType::List => {
                let parts = objects.iter().map(|list| self.items(list, depth));
                Value::List(parts.collect::<Result<Vec<_>, _>>()?.concat())
            }
            ObjType::Text => {
                let parts = objects.iter().map(|text| self.text(text));
                Value::Text(Text::from(parts.collect::<Result<String, _>>()?))
            }
        })
    }

    pub(crate) fn items(&self, list: &ObjId, depth: usize) -> Result<Vec<Value>, ViewError> {
        let mut items = Vec::new();
        for item in self.document.list_range(list, ..) {
            if item.conflict {
                items.extend(self.shown(Place::Element { list, index: item.index }, depth + 1)?);
            } else {
                items.push(self.value(&item.value, &|| item.id(), depth + 1)?);
            }
        }
        Ok(items)
    }

    fn text(&self, id: &ObjId) -> Result<String, ViewError> {
        let read = || self.document.text(id).map_err(unreadable);
        match self.texts.get(id) {
            Some(known) => {
                debug_assert_eq!(
                    read().as_deref().ok(),
                    Some(known),
                    "a text is not what an edit made of it"
                );
                Ok(known.to_owned())
            }
            None => read(),
        }
    }

    /// A map as what its own names say that it is.
    fn formed(&self, maps: &[ObjId], mut fields: Map) -> Result<Value, ViewError> {
        match fields.range("_".to_owned()..).next() {
            Some((name, _)) if name.starts_with('_') => {}
            _ => return Ok(Value::Map(fields)),
        }
        if let Some(Value::Str(key)) = fields.get(KEYED_KEY).cloned() {
            fields.remove(KEYED_KEY);
            return Ok(Value::Keyed(key.clone(), self.elements(maps, &key, fields)?));
        }
        if let Some(Value::Str(name)) = fields.get(VARIANT_KEY) {
            let name = name.clone();
            let content = fields.remove(&name).unwrap_or(Value::Null);
            return Ok(Value::Variant(name, Box::new(content)));
        }
        if let Some(Value::List(_)) = fields.get(TUPLE_KEY)
            && let Some(Value::List(items)) = fields.remove(TUPLE_KEY)
        {
            return Ok(Value::Tuple(items));
        }
        Ok(Value::Map(fields))
    }

    /// The elements of a keyed list in their order, each with its key.
    fn elements(&self, maps: &[ObjId], key: &str, fields: Map) -> Result<Vec<Value>, ViewError> {
        let mut elements = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let Value::Map(mut element) = value else {
                // Another program put it there. It stands behind the others.
                elements.push((PlaceOf::None(ROOT), name, value));
                continue;
            };
            let is_removed = element.remove(REMOVED_KEY) == Some(Value::Bool(true));
            if is_removed {
                continue;
            }
            let place = match element.remove(PLACE_KEY) {
                Some(Value::Str(place)) => PlaceOf::At(place),
                _ => PlaceOf::None(self.maker(Place::Field { maps, name: &name })?),
            };
            element.insert(key.to_owned(), keys::key_value(&name));
            elements.push((place, name, Value::Map(element)));
        }
        elements.sort_by(|(a, a_name, _), (b, b_name, _)| match a.cmp(b) {
            Ordering::Equal => a_name.cmp(b_name),
            order => order,
        });
        Ok(elements.into_iter().map(|(_, _, value)| value).collect())
    }

    /// The last operation that put an object at a place.
    fn maker(&self, place: Place<'_>) -> Result<ObjId, ViewError> {
        Ok(match place.shown(self.document)? {
            Some(Shown::Container(_, mut objects)) => objects.pop().unwrap_or(ROOT),
            Some(Shown::Scalar(_, id)) => id,
            Some(Shown::Counter { mut ids, .. }) => ids.pop().unwrap_or(ROOT),
            None => ROOT,
        })
    }
}
