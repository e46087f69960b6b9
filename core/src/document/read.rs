//! A document's values, as of now: the winner of each field.

use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValueRef, ValueRef};

use super::ViewError;
use super::counters::Counters;
use super::texts::KnownTexts;
use crate::model::{DEPTH_MAX, Map, Text, Value};

pub(super) fn root(
    document: &Automerge,
    texts: KnownTexts<'_>,
    counters: &Counters,
) -> Result<Map, ViewError> {
    map(document, texts, counters, &ROOT, 0)
}

// These recurse at most `DEPTH_MAX` deep, whatever the document holds.

fn map(
    document: &Automerge,
    texts: KnownTexts<'_>,
    counters: &Counters,
    object: &ObjId,
    depth: usize,
) -> Result<Map, ViewError> {
    document
        .map_range(object, ..)
        .map(|item| {
            let value = value(document, texts, counters, &item.value, &|| item.id(), depth + 1)?;
            Ok((item.key.to_string(), value))
        })
        .collect()
}

pub(super) fn value(
    document: &Automerge,
    texts: KnownTexts<'_>,
    counters: &Counters,
    value: &ValueRef<'_>,
    id: &dyn Fn() -> ObjId,
    depth: usize,
) -> Result<Value, ViewError> {
    if depth > DEPTH_MAX {
        return Err(ViewError::TooDeep);
    }
    Ok(match value {
        ValueRef::Object(ObjType::Map | ObjType::Table) => {
            Value::Map(map(document, texts, counters, &id(), depth)?)
        }
        ValueRef::Object(ObjType::List) => {
            let items = document.list_range(id(), ..);
            Value::List(
                items
                    .map(|item| self::value(document, texts, counters, &item.value, &|| item.id(), depth + 1))
                    .collect::<Result<_, _>>()?,
            )
        }
        ValueRef::Object(ObjType::Text) => Value::Text(Text::from(text(document, texts, &id())?)),
        ValueRef::Scalar(scalar) => match scalar {
            ScalarValueRef::Null => Value::Null,
            ScalarValueRef::Boolean(v) => Value::Bool(*v),
            ScalarValueRef::Int(v) => Value::Int(*v),
            ScalarValueRef::Uint(v) => Value::from(*v),
            ScalarValueRef::F64(v) => Value::Float(*v),
            ScalarValueRef::Str(v) => Value::Str(v.to_string()),
            ScalarValueRef::Bytes(v) => Value::Bytes(v.to_vec()),
            ScalarValueRef::Counter(v) => Value::Counter(counters.value(id, *v)),
            ScalarValueRef::Timestamp(v) => Value::Timestamp(*v),
            // From a later Automerge: its bytes are all we can show, and they are kept in the document.
            ScalarValueRef::Unknown { bytes, .. } => Value::Bytes(bytes.to_vec()),
        },
    })
}

fn text(document: &Automerge, texts: KnownTexts<'_>, id: &ObjId) -> Result<String, ViewError> {
    let read = || document.text(id).map_err(|error| ViewError::Unreadable(error.to_string()));
    match texts.get(id) {
        Some(known) => {
            debug_assert_eq!(read().as_deref().ok(), Some(known), "a text is not what an edit made of it");
            Ok(known.to_owned())
        }
        None => read(),
    }
}
