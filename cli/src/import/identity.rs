//! Which entity a record is about: what makes an import repeatable.
//!
//! A record whose `id` is a UUID says so itself. Any other is known by a key: its foreign `id`, kept in the
//! field `source_id`, or the field that `--key` names. An entity that has the key already is the one;
//! otherwise the id follows from the collection, the field and the key, so that two devices that import one
//! file make the same entities.

use std::collections::HashMap;

use headwater::model::{JsonStyle, json_from_value};
use headwater::{DynamicCollection, EntityId, ReadError, Value};
use uuid::Uuid;

use crate::record::{ID_FIELD, Incoming, SOURCE_ID_FIELD};

/// The namespace of entities that are imported by a key. Part of the format: it never changes.
const NAMESPACE: Uuid = Uuid::from_u128(0x6865_6164_7761_5465_b2d1_696d_706f_7274);

/// How the records of an import are told apart.
pub(crate) struct Identities {
    entities: DynamicCollection,
    /// `None` where the foreign `id` is the key.
    named: Option<String>,
    /// key -> the entities that have it. Read when the first key comes.
    known: Option<HashMap<Key, Vec<EntityId>>>,
}

/// A key in the one form that equal keys have. 5 and "5" are two.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

/// The entity that a record is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// This one, whether or not it is there.
    Known(EntityId),
    /// The record says nothing of which it is, so it is a new one each time.
    New,
}

/// A record of which it is not clear which entity it is about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unclear {
    /// The field that was named is missing or null.
    #[error("it has no `{0}`, by which --key tells the records apart")]
    NoKey(String),
    /// Two entities have the key.
    #[error(
        "entities {first} and {second} both have this `{field}`; change it in one of them, or delete one"
    )]
    Ambiguous { first: EntityId, second: EntityId, field: String },
    /// Its id says one entity, and its key another.
    #[error("its `id` is {id}, but entity {other} has this `{field}`; correct one of the two")]
    Contradiction { id: EntityId, other: EntityId, field: String },
    /// The entity that an import made for the key has got another key since.
    #[error(
        "entity {id} was imported with this `{field}` and has another one now; give the record the `id` of the entity that is meant"
    )]
    Moved { id: EntityId, field: String },
    /// The entities that are there cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Identities {
    pub(crate) fn new(entities: DynamicCollection, named: Option<String>) -> Identities {
        // An `id` is told apart by its own rules, and kept in another field where it is foreign.
        let named = named.filter(|field| field != ID_FIELD && field != SOURCE_ID_FIELD);
        Identities { entities, named, known: None }
    }

    /// The entities that a record may be about. They have to be stored before [`Identities::resolve`] is
    /// asked.
    pub(crate) fn candidates(&mut self, record: &Incoming) -> Result<Vec<EntityId>, Unclear> {
        let Some(key) = self.key(record)? else { return Ok(record.id.into_iter().collect()) };
        let made = self.made_for(&key);
        let known = self.known()?.get(&key).cloned().unwrap_or_default();
        Ok(known.into_iter().chain([made]).chain(record.id).collect())
    }

    /// The entity that a record is about.
    pub(crate) fn resolve(&mut self, record: &Incoming) -> Result<Identity, Unclear> {
        let Some(key) = self.key(record)? else {
            return Ok(record.id.map_or(Identity::New, Identity::Known));
        };
        let made = self.made_for(&key);
        let mut holders = Vec::new();
        for id in self.known()?.get(&key).cloned().unwrap_or_default() {
            // It can have got another key by the same import.
            if !holders.contains(&id) && self.held_by(id)?.as_ref() == Some(&key) {
                holders.push(id);
            }
        }
        let field = self.field().to_owned();
        let id = match (holders.as_slice(), record.id) {
            ([first, second, ..], _) => {
                return Err(Unclear::Ambiguous { first: *first, second: *second, field });
            }
            ([other], Some(id)) if *other != id => {
                return Err(Unclear::Contradiction { id, other: *other, field });
            }
            ([id], _) => *id,
            ([], Some(id)) => id,
            ([], None) if self.held_by(made)?.is_some_and(|held| held != key) => {
                return Err(Unclear::Moved { id: made, field });
            }
            ([], None) => made,
        };
        let known = self.known()?.entry(key).or_default();
        // However often a file names it.
        if !known.contains(&id) {
            known.push(id);
        }
        Ok(Identity::Known(id))
    }

    fn field(&self) -> &str {
        self.named.as_deref().unwrap_or(SOURCE_ID_FIELD)
    }

    /// What a record is known by. `None` if that is its `id`, or nothing.
    fn key(&self, record: &Incoming) -> Result<Option<Key>, Unclear> {
        match &self.named {
            None if record.is_foreign => Ok(record.fields.get(SOURCE_ID_FIELD).and_then(Key::of)),
            None => Ok(None),
            Some(field) => match record.fields.get(field).and_then(Key::of) {
                None if record.id.is_none() => Err(Unclear::NoKey(field.clone())),
                key => Ok(key),
            },
        }
    }

    /// The id that an entity gets which is imported by this key.
    fn made_for(&self, key: &Key) -> EntityId {
        let name = serde_json::json!([self.entities.name().as_str(), self.field(), key.0]);
        EntityId::from_uuid(Uuid::new_v5(&NAMESPACE, name.to_string().as_bytes()))
    }

    /// The key that an entity has.
    fn held_by(&self, id: EntityId) -> Result<Option<Key>, ReadError> {
        let record = self.entities.get(id)?;
        Ok(record.and_then(|record| record.fields.get(self.field()).and_then(Key::of)))
    }

    fn known(&mut self) -> Result<&mut HashMap<Key, Vec<EntityId>>, ReadError> {
        if self.known.is_none() {
            let field = self.field();
            let mut known: HashMap<Key, Vec<EntityId>> = HashMap::new();
            for record in self.entities.iter() {
                let record = record?;
                if let Some(key) = record.fields.get(field).and_then(Key::of) {
                    known.entry(key).or_default().push(record.id);
                }
            }
            self.known = Some(known);
        }
        Ok(self.known.get_or_insert_default())
    }
}

impl Key {
    /// `None` for null, by which nothing is told apart.
    fn of(value: &Value) -> Option<Key> {
        Some(Key(match value {
            Value::Null => return None,
            // The same number to whoever reads it, whichever type it has: JavaScript writes 5.0 as 5.
            Value::Int(v) | Value::Counter(v) => v.to_string(),
            Value::Float(_) if value.as_i64().is_some() => value.as_i64().unwrap_or_default().to_string(),
            Value::Text(text) => json_from_value(&Value::from(text.as_str()), JsonStyle::Kinds).to_string(),
            value => json_from_value(value, JsonStyle::Kinds).to_string(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use headwater::{Map, Replica};

    use super::*;

    fn collection() -> (tempfile::TempDir, DynamicCollection) {
        let directory = tempfile::tempdir().unwrap();
        let replica = Replica::open(directory.path().join("r")).unwrap();
        (directory, replica.space("home").dynamic("bags").unwrap())
    }

    fn record(text: &str) -> Incoming {
        Incoming::parse(text.as_bytes()).unwrap()
    }

    fn id(identities: &mut Identities, text: &str) -> EntityId {
        match identities.resolve(&record(text)).unwrap() {
            Identity::Known(id) => id,
            Identity::New => panic!("{text} is known by nothing"),
        }
    }

    #[test]
    fn the_ids_of_imported_records_never_change() {
        // Would double every record of every file that is imported again by a later version, or by another
        // device.
        let (_directory, entities) = collection();
        let mut identities = Identities::new(entities.clone(), None);
        assert_eq!(id(&mut identities, r#"{"id": 5}"#).to_string(), "94bac01a-3e82-5e4f-8258-fa9dfa2eddda");
        let mut identities = Identities::new(entities, Some("sku".to_owned()));
        assert_eq!(
            id(&mut identities, r#"{"sku": "a"}"#).to_string(),
            "e43bb0c2-255f-5234-98fc-393faaed9443"
        );
    }

    #[test]
    fn keys_of_another_kind_are_other_keys() {
        // Would make one entity of two records, and lose the fields of one of them.
        let (_directory, entities) = collection();
        let mut identities = Identities::new(entities, None);
        let keys =
            ["5", "\"5\"", "true", "\"true\"", "[5]", "{\"$bytes\": \"05\"}", "5.5", "18446744073709551615"];
        let ids: std::collections::HashSet<EntityId> =
            keys.iter().map(|key| id(&mut identities, &format!(r#"{{"id": {key}}}"#))).collect();
        assert_eq!(ids.len(), keys.len());
        assert_eq!(id(&mut identities, r#"{"id": 5.0}"#), id(&mut identities, r#"{"id": 5}"#));
    }

    #[test]
    fn a_key_that_two_entities_have_names_both() {
        // Would write a record into whichever of the two comes first.
        let (_directory, entities) = collection();
        let insert = || entities.insert(Map::from([("sku".to_owned(), Value::Int(5))])).unwrap().id;
        let (first, second) = (insert(), insert());
        let mut identities = Identities::new(entities, Some("sku".to_owned()));
        let error = identities.resolve(&record(r#"{"sku": 5}"#)).unwrap_err().to_string();
        assert!(error.contains(&first.to_string()) && error.contains(&second.to_string()), "{error}");
    }

    #[test]
    fn an_entity_that_got_another_key_is_not_overwritten() {
        // Would turn one entity back into another record, and lose what became of it.
        let (_directory, entities) = collection();
        let mut identities = Identities::new(entities.clone(), Some("sku".to_owned()));
        let first = id(&mut identities, r#"{"sku": 5}"#);
        entities.upsert_all([(first, Map::from([("sku".to_owned(), Value::Int(6))]))]).unwrap();
        let mut identities = Identities::new(entities, Some("sku".to_owned()));
        assert!(matches!(identities.resolve(&record(r#"{"sku": 5}"#)), Err(Unclear::Moved { .. })));
        assert_eq!(id(&mut identities, r#"{"sku": 6}"#), first);
        let other = EntityId::from_bytes([9; 16]);
        let contradicting = record(&format!(r#"{{"id": "{other}", "sku": 6}}"#));
        assert!(matches!(identities.resolve(&contradicting), Err(Unclear::Contradiction { .. })));
        assert!(matches!(identities.resolve(&record("{}")), Err(Unclear::NoKey(_))));
    }
}
