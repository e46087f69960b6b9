//! Entities as JSON: what `put`, `set` and `import` read, and what `get`, `ls` and `export` print.

use std::str::FromStr;

use headwater::model::{JsonError, JsonStyle, json_from_value, map_from_json_text, value_from_json_text};
use headwater::{EntityId, Map, Record, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

/// The field that stands for the entity's id wherever an entity is JSON.
pub(crate) const ID_FIELD: &str = "id";
/// Where the value of a field `id` goes that cannot be the entity's id, such as a number from another
/// program.
pub(crate) const SOURCE_ID_FIELD: &str = "source_id";

/// A record that was read, and the id that it asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Incoming {
    pub(crate) id: Option<EntityId>,
    /// Whether `source_id` holds what the record itself calls its id.
    pub(crate) is_foreign: bool,
    pub(crate) fields: Map,
}

/// A record that cannot be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    /// It is no record.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It needs the field for its own `id`, but has one of that name.
    #[error(
        "`id` is not a UUID and would become `{SOURCE_ID_FIELD}`, which the record has already; rename one of them"
    )]
    TwoIds,
}

impl Incoming {
    pub(crate) fn parse(text: &[u8]) -> Result<Incoming, IncomingError> {
        Incoming::new(map_from_json_text(text)?)
    }

    pub(crate) fn new(mut fields: Map) -> Result<Incoming, IncomingError> {
        let mut is_foreign = false;
        let id = match fields.remove(ID_FIELD) {
            None | Some(Value::Null) => None,
            Some(id) => match uuid(&id) {
                Some(id) => Some(id),
                None if fields.contains_key(SOURCE_ID_FIELD) => return Err(IncomingError::TwoIds),
                None => {
                    fields.insert(SOURCE_ID_FIELD.to_owned(), id);
                    is_foreign = true;
                    None
                }
            },
        };
        Ok(Incoming { id, is_foreign, fields })
    }
}

/// An entity as one JSON object: `id`, then its fields in the order of their names.
pub(crate) struct Outgoing<'a> {
    pub(crate) record: &'a Record,
    pub(crate) style: JsonStyle,
}

impl Serialize for Outgoing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(ID_FIELD, &self.record.id.to_string())?;
        // Another program can have written a field `id`; the entity's id is the one that counts.
        for (name, value) in self.record.fields.iter().filter(|(name, _)| *name != ID_FIELD) {
            map.serialize_entry(name, &json_from_value(value, self.style))?;
        }
        map.end()
    }
}

/// A field and its new value, as given to `set`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) field: String,
    pub(crate) value: Value,
}

/// An assignment that was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssignmentError {
    /// Not of the form.
    #[error("it has the form FIELD=JSON, such as rating=4.5")]
    NoField,
    /// The value is no JSON.
    #[error("`{value}` is not JSON; a string needs double quotes inside single quotes: '{field}={quoted}'")]
    NotJson { field: String, value: String, quoted: Json },
    /// The value is JSON, but cannot be stored.
    #[error(transparent)]
    Json(JsonError),
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Assignment, AssignmentError> {
        let (field, value) =
            text.split_once('=').filter(|(field, _)| !field.is_empty()).ok_or(AssignmentError::NoField)?;
        let value = value_from_json_text(value.as_bytes()).map_err(|error| match error {
            JsonError::NotJson(_) => AssignmentError::NotJson {
                field: field.to_owned(),
                value: value.to_owned(),
                quoted: Json::from(value),
            },
            error => AssignmentError::Json(error),
        })?;
        Ok(Assignment { field: field.to_owned(), value })
    }
}

fn uuid(value: &Value) -> Option<EntityId> {
    match value {
        Value::Str(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_no_uuid_is_kept_beside_the_new_one() {
        // Would lose the key by which another program knows the record.
        let incoming = Incoming::parse(br#"{"id": 17, "name": "Guji"}"#).unwrap();
        assert_eq!((incoming.id, incoming.is_foreign), (None, true));
        assert_eq!(incoming.fields["source_id"], Value::Int(17));
        assert!(matches!(Incoming::parse(br#"{"id": 17, "source_id": 3}"#), Err(IncomingError::TwoIds)));
    }

    #[test]
    fn a_uuid_is_the_entitys_id_and_no_field() {
        // Would store the id twice, and let the two differ.
        let id = EntityId::from_bytes([7; 16]);
        let incoming = Incoming::parse(format!(r#"{{"id": "{id}", "name": "Guji"}}"#).as_bytes()).unwrap();
        assert_eq!((incoming.id, incoming.is_foreign), (Some(id), false));
        assert_eq!(incoming.fields.len(), 1);
    }

    #[test]
    fn a_value_that_is_no_json_is_refused_with_the_quoted_form() {
        // Would leave a person guessing why `name=Guji` fails.
        let error = "name=Guji".parse::<Assignment>().unwrap_err().to_string();
        assert!(error.contains(r#"'name="Guji"'"#), "{error}");
        assert!("=5".parse::<Assignment>().is_err() && "rating".parse::<Assignment>().is_err());
        assert_eq!("a=b=1".parse::<Assignment>().unwrap_err().to_string().matches("'a=\"b=1\"'").count(), 1);
        let error = "n=18446744073709551616".parse::<Assignment>().unwrap_err().to_string();
        assert!(error.contains("18446744073709551616 has more digits"), "{error}");
    }
}
