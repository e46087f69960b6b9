use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{COUNTER_NAME, KEYED_NAME, TIMESTAMP_NAME};

/// A number that concurrent edits add up in: two devices that each add one end at plus two.
///
/// ```
/// use headwater::model::Counter;
/// let mut brewed = Counter::new(3);
/// brewed.increment(2);
/// assert_eq!(brewed.value(), 5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(i64);

impl Counter {
    /// A counter that starts at `value`.
    pub const fn new(value: i64) -> Counter {
        Counter(value)
    }

    /// Where it stands.
    pub const fn value(self) -> i64 {
        self.0
    }

    /// Adds `by`, which may be negative. Stops at the ends of `i64`.
    pub const fn increment(&mut self, by: i64) {
        self.0 = self.0.saturating_add(by);
    }
}

/// A moment, in milliseconds since 1970-01-01 UTC.
///
/// ```
/// use headwater::model::Timestamp;
/// assert!(Timestamp(1_000) < Timestamp(2_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// Milliseconds since 1970-01-01 UTC.
    pub i64,
);

macro_rules! newtype_serde {
    ($type:ty, $name:expr, $make:expr, $expecting:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct($name, &self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Newtype;
                impl<'de> Visitor<'de> for Newtype {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<$type, D::Error> {
                        i64::deserialize(d).map($make)
                    }
                }
                deserializer.deserialize_newtype_struct($name, Newtype)
            }
        }
    };
}

newtype_serde!(Counter, COUNTER_NAME, Counter, "a counter");
newtype_serde!(Timestamp, TIMESTAMP_NAME, Timestamp, "a timestamp in milliseconds");

/// Names the field by which the elements of a [`Keyed`] list are told apart.
pub trait KeyField {
    /// The field's name in the serialized element.
    const NAME: &'static str;
}

/// The usual key: the field `id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdField;

impl KeyField for IdField {
    const NAME: &'static str = "id";
}

/// A list whose elements are told apart by a key field: each key is there once. Two devices that edit one element keep both edits,
/// also when one of them, or both, move it. A removal wins over what others do to the element meanwhile, until the key is added
/// again.
///
/// Keys are strings, whole numbers, bytes or timestamps, each at most 1 KiB long. An element without a key, or a key that is there
/// twice, makes the write fail, before anything is written.
///
/// ```
/// use headwater::model::Keyed;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Item { id: u32, name: String, packed: bool }
/// let mut items: Keyed<Item> = Keyed::default();
/// items.push(Item { id: 1, name: "tent".into(), packed: false });
/// assert_eq!(items.len(), 1);
/// ```
pub struct Keyed<T, K = IdField> {
    items: Vec<T>,
    key: PhantomData<fn() -> K>,
}

impl<T, K> Default for Keyed<T, K> {
    fn default() -> Self {
        Keyed::from(Vec::new())
    }
}

impl<T: Clone, K> Clone for Keyed<T, K> {
    fn clone(&self) -> Self {
        Keyed::from(self.items.clone())
    }
}

impl<T: fmt::Debug, K> fmt::Debug for Keyed<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

impl<T: PartialEq, K> PartialEq for Keyed<T, K> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<T, K> From<Vec<T>> for Keyed<T, K> {
    fn from(items: Vec<T>) -> Self {
        Keyed { items, key: PhantomData }
    }
}

impl<T, K> Deref for Keyed<T, K> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T, K> DerefMut for Keyed<T, K> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

impl<T: Serialize, K: KeyField> Serialize for Keyed<T, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(KEYED_NAME, &KeyedBody(self))
    }
}

/// The elements for formats that people read; with the key's name for our own serializer (and other binary ones).
struct KeyedBody<'a, T, K>(&'a Keyed<T, K>);

impl<T: Serialize, K: KeyField> Serialize for KeyedBody<'_, T, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.items.serialize(serializer)
        } else {
            (K::NAME, &self.0.items).serialize(serializer)
        }
    }
}

impl<'de, T: Deserialize<'de>, K: KeyField> Deserialize<'de> for Keyed<T, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyedVisitor<T, K>(PhantomData<fn() -> (T, K)>);
        impl<'de, T: Deserialize<'de>, K: KeyField> Visitor<'de> for KeyedVisitor<T, K> {
            type Value = Keyed<T, K>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a keyed list")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                if d.is_human_readable() {
                    Vec::deserialize(d).map(Keyed::from)
                } else {
                    // The name of the key goes along, for whoever looks at the shape of a type.
                    d.deserialize_tuple_struct(K::NAME, 2, self)
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let missing = |at| de::Error::invalid_length(at, &"the name of the key and the elements");
                let _key: String = parts.next_element()?.ok_or_else(|| missing(0))?;
                let items: Vec<T> = parts.next_element()?.ok_or_else(|| missing(1))?;
                Ok(Keyed::from(items))
            }
        }
        deserializer.deserialize_newtype_struct(KEYED_NAME, KeyedVisitor(PhantomData))
    }
}
