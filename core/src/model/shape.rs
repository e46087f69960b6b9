//! Which fields of a Rust struct are containers, found by watching what its `Deserialize` asks for.
//!
//! Containers have to be created identically on every device (see `document::genesis`), so they must be known before a value
//! exists. Each field is asked for in a run of its own that ends with an error on purpose: a type whose parser refuses the
//! made-up value (a UUID, an enum) then cannot hide the fields that come after it.

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
}

/// The containers of one Rust type, parents before children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) containers: Vec<Container>,
}

impl Shape {
    pub(crate) fn of<T: DeserializeOwned>() -> Shape {
        let mut shape = Shape::default();
        let mut paths: Vec<Vec<&'static str>> = vec![Vec::new()];
        while let Some(path) = paths.pop() {
            let mut seen = Seen::default();
            // The error is how every run ends; what was learnt is in `seen`.
            let _ends_early = T::deserialize(Probe { path: &path, seen: &mut seen }).is_err();
            if path.len() < DEPTH_MAX {
                paths.extend(seen.fields.iter().rev().map(|field| [path.as_slice(), &[*field]].concat()));
            }
            if let Some(kind) = seen.kind.filter(|_| !path.is_empty()) {
                shape.containers.push(Container { path, kind, is_struct: seen.is_struct });
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
            fill_at(fields, &container.path, container.kind);
        }
    }
}

fn fill_at(map: &mut Map, path: &[&'static str], kind: ContainerKind) {
    match path {
        [] => {}
        [last] => {
            map.entry((*last).to_owned()).or_insert_with(|| kind.empty());
        }
        [parent, rest @ ..] => {
            if let Some(Value::Map(inner)) = map.get_mut(*parent) {
                fill_at(inner, rest, kind);
            }
        }
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
}

struct Probe<'a> {
    path: &'a [&'static str],
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
            None => {
                self.seen.fields = fields.to_vec();
                self.seen.is_struct = true;
                self.container(ContainerKind::Map)
            }
            Some((field, rest)) => {
                visitor.visit_map(OneField { field: Some(field), path: rest, seen: self.seen })
            }
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
    seen: &'a mut Seen,
}

impl<'de> de::MapAccess<'de> for OneField<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        match self.field.take() {
            Some(field) => seed.deserialize(field.into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        seed.deserialize(Probe { path: self.path, seen: self.seen })
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
