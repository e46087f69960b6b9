//! Which fields of a Rust struct are containers, found by watching what its `Deserialize` asks for.
//!
//! Containers have to be created identically on every device (see `document::edit`), so they must be known before a value
//! exists. Each field is asked for in a run of its own that ends with an error on purpose: a type whose parser refuses the
//! made-up value (a UUID, an enum) then cannot hide the fields that come after it. A field that has further names
//! (`#[serde(alias)]`) is asked for by each of them; which names are one field, the type's own key says.

use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::{COUNTER_NAME, ContainerKind, DEPTH_MAX, DecodeError, KEYED_NAME, Map, TEXT_NAME, Value};

/// More containers than this are not looked for: a type that deep or wide is a mistake, and the rest are made when written.
const CONTAINERS_MAX: usize = 256;

/// A container field, by its path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) path: Vec<&'static str>,
    pub(crate) kind: ContainerKind,
    /// A struct's fields are its own concern; every other container reads well when it is empty.
    pub(crate) is_struct: bool,
    /// The other names by which the type reads the field.
    pub(crate) others: Vec<&'static str>,
}

/// The containers of one Rust type, parents before children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) containers: Vec<Container>,
}

impl Shape {
    pub(crate) fn of<T: DeserializeOwned>() -> Shape {
        let mut shape = Shape::default();
        let mut paths: Vec<(Vec<&'static str>, Vec<&'static str>)> = vec![(Vec::new(), Vec::new())];
        while let Some((path, others)) = paths.pop() {
            let seen = ask::<T>(&path, None);
            if path.len() < DEPTH_MAX {
                let fields = same_fields::<T>(&path, &seen.fields);
                let deeper = fields.into_iter().rev();
                paths.extend(deeper.map(|(name, others)| ([path.as_slice(), &[name]].concat(), others)));
            }
            if let Some(kind) = seen.kind.filter(|_| !path.is_empty()) {
                shape.containers.push(Container { path, kind, is_struct: seen.is_struct, others });
            }
            if shape.containers.len() >= CONTAINERS_MAX {
                break;
            }
        }
        shape
    }

    /// Puts an empty container where the type expects one and the entity has none yet: it was created by an older version of
    /// the app, or one without that field.
    pub(crate) fn fill(&self, fields: &mut Map) {
        for container in self.containers.iter().filter(|container| !container.is_struct) {
            fill_at(fields, &container.path, container);
        }
    }
}

fn fill_at(map: &mut Map, path: &[&'static str], container: &Container) {
    match path {
        [] => {}
        // A second name of a field would make the type refuse the entity.
        [_] if container.others.iter().any(|name| map.contains_key(*name)) => {}
        [last] => {
            map.entry((*last).to_owned()).or_insert_with(|| container.kind.empty());
        }
        [parent, rest @ ..] => {
            if let Some(Value::Map(inner)) = map.get_mut(*parent) {
                fill_at(inner, rest, container);
            }
        }
    }
}

/// What a type says at a path; and, with a name, of the field that it reads by that name.
fn ask<T: DeserializeOwned>(path: &[&'static str], name: Option<&'static str>) -> Seen {
    let mut seen = Seen::default();
    // The error is how every run ends; what was learnt is in `seen`.
    let _ends_early = T::deserialize(Probe { path, name, seen: &mut seen }).is_err();
    seen
}

/// Each name by which the struct at a path reads a field, with the other names of the same field.
fn same_fields<T: DeserializeOwned>(
    path: &[&'static str],
    names: &[&'static str],
) -> Vec<(&'static str, Vec<&'static str>)> {
    let mark = |name| ask::<T>(path, Some(name)).field;
    let unknown = mark("");
    let marks: Vec<_> =
        names.iter().map(|name| mark(name).filter(|mark| Some(mark) != unknown.as_ref())).collect();
    let fields = names.iter().zip(&marks).map(|(name, field)| {
        let is_same = |(other, mark): &(&&'static str, &Option<FieldMark>)| {
            *other != name && field.is_some() && *mark == field
        };
        (*name, names.iter().zip(&marks).filter(is_same).map(|(other, _)| *other).collect())
    });
    fields.collect()
}

/// Tells the fields of a struct apart: which case of the enum a name is that serde makes of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FieldMark(Vec<u8>);

impl Hasher for FieldMark {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl ContainerKind {
    /// A container of this kind with nothing in it.
    pub(crate) fn empty(self) -> Value {
        match self {
            ContainerKind::Text => Value::Text(super::Text::new()),
            ContainerKind::List => Value::List(Vec::new()),
            ContainerKind::Keyed(key) => Value::Keyed(key.to_owned(), Vec::new()),
            ContainerKind::Map => Value::Map(Map::new()),
            ContainerKind::Counter => Value::Counter(0),
        }
    }
}

#[derive(Default)]
struct Seen {
    kind: Option<ContainerKind>,
    fields: Vec<&'static str>,
    is_struct: bool,
    field: Option<FieldMark>,
}

struct Probe<'a> {
    path: &'a [&'static str],
    /// The name that the struct at the end of the path is asked about.
    name: Option<&'static str>,
    seen: &'a mut Seen,
}

impl Probe<'_> {
    fn container<T>(self, kind: ContainerKind) -> Result<T, DecodeError> {
        if self.path.is_empty() {
            self.seen.kind = Some(kind);
        }
        Err(stop())
    }
}

fn stop() -> DecodeError {
    de::Error::custom("probe")
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        Err(stop())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            TEXT_NAME => self.container(ContainerKind::Text),
            COUNTER_NAME => self.container(ContainerKind::Counter),
            KEYED_NAME => visitor.visit_newtype_struct(KeyProbe(self)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        self.container(ContainerKind::List)
    }

    fn deserialize_map<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        self.container(ContainerKind::Map)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.path.split_first() {
            None if self.name.is_some() => {
                visitor.visit_map(OneField { field: None, path: &[], name: self.name, seen: self.seen })
            }
            None => {
                self.seen.fields = fields.to_vec();
                self.seen.is_struct = true;
                self.container(ContainerKind::Map)
            }
            Some((field, rest)) => visitor.visit_map(OneField {
                field: Some(field),
                path: rest,
                name: self.name,
                seen: self.seen,
            }),
        }
    }

    // An optional container may be absent for good, so nothing is created for it ahead of time.
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

/// Inside a keyed list, which tells the name of its key to formats that are not for people.
struct KeyProbe<'a>(Probe<'a>);

impl<'de> Deserializer<'de> for KeyProbe<'_> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        Err(stop())
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        key: &'static str,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.0.container(ContainerKind::Keyed(key))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple map struct enum identifier ignored_any
    }
}

struct OneField<'a> {
    field: Option<&'static str>,
    path: &'a [&'static str],
    name: Option<&'static str>,
    seen: &'a mut Seen,
}

impl<'de> de::MapAccess<'de> for OneField<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        match (self.field.take(), self.name) {
            (Some(field), _) => seed.deserialize(field.into_deserializer()).map(Some),
            (None, Some(name)) => {
                let field = seed.deserialize(name.into_deserializer())?;
                let mut mark = FieldMark::default();
                discriminant(&field).hash(&mut mark);
                self.seen.field = Some(mark);
                Err(stop())
            }
            (None, None) => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        seed.deserialize(Probe { path: self.path, name: self.name, seen: self.seen })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::{Counter, Keyed, Text};
    use super::*;

    #[test]
    fn containers_are_found_behind_fields_that_refuse_made_up_values() {
        // Would fail if a UUID or an enum before it hid a container, and two devices then created it twice.
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        struct Bag {
            id: uuid::Uuid,
            kind: Kind,
            notes: Text,
            maybe: Option<Text>,
            brews: Counter,
            steps: Keyed<Step>,
            water: Water,
            extra: std::collections::HashMap<String, f64>,
        }
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        enum Kind {
            A,
        }
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        struct Step {
            id: u32,
        }
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        struct Water {
            ppm: u32,
            minerals: Vec<String>,
        }
        let found: Vec<_> =
            Shape::of::<Bag>().containers.into_iter().map(|c| (c.path.join("."), c.kind)).collect();
        let expected = [
            ("notes", ContainerKind::Text),
            ("brews", ContainerKind::Counter),
            ("steps", ContainerKind::Keyed("id")),
            ("water", ContainerKind::Map),
            ("water.minerals", ContainerKind::List),
            ("extra", ContainerKind::Map),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn further_names_of_a_field_are_known_as_that() {
        // Would fill in a text under its second name, and the type would refuse the entity: "duplicate field".
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        struct Bag {
            #[serde(alias = "memo", alias = "a_note")]
            notes: Text,
            tags: Vec<String>,
            #[serde(alias = "h2o")]
            water: Water,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        struct Water {
            #[serde(alias = "salts")]
            minerals: Vec<String>,
        }
        let shape = Shape::of::<Bag>();
        let others = |path: &[&str]| {
            let found = shape.containers.iter().find(|container| container.path == path);
            found.map(|container| container.others.clone())
        };
        assert_eq!(others(&["notes"]), Some(vec!["a_note", "memo"]));
        assert_eq!(others(&["memo"]), Some(vec!["a_note", "notes"]));
        assert_eq!(others(&["tags"]), Some(vec![]));
        assert_eq!(others(&["h2o"]), Some(vec!["water"]));
        assert_eq!(others(&["h2o", "salts"]), Some(vec!["minerals"]));
        let mut fields = Map::from([("memo".to_owned(), Value::Text("juicy".into()))]);
        shape.fill(&mut fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["memo", "tags"]);
    }

    #[test]
    fn a_type_that_contains_itself_ends() {
        // Would hang or overflow the stack if a recursive type were followed for ever.
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its shape is looked at")]
        struct Node {
            name: String,
            child: Box<Node>,
        }
        assert_eq!(Shape::of::<Node>().containers.len(), DEPTH_MAX);
    }
}
