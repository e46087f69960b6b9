//! Ids: who, where and which. All are plain bytes, made by the caller.
//!
//! To serde, an id is its text in formats for people, such as JSON or an entity's fields, and its bytes in others. A collection's name is
//! a string in both.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// An id's text form was not understood. Ask for the id again: nothing was guessed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id whose bytes are these.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The id that is this UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 16 bytes, as they are stored and sent.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The same id as a UUID.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| ParseIdError { text: shortened(text), expected: "a UUID" })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Uuid::deserialize(deserializer).map(Self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                exact_bytes(d).map(Self::from_bytes)
            }
        }
    };
}

uuid_id! {
    /// A space: the unit of sharing, access and ordering.
    ///
    /// ```
    /// use headwater_storage::SpaceId;
    /// let id = SpaceId::from_bytes([7; 16]);
    /// assert_eq!(id.to_string().parse::<SpaceId>(), Ok(id));
    /// ```
    SpaceId
}

uuid_id! {
    /// An entity: one document. The same 16 bytes are its automerge-repo document id.
    ///
    /// ```
    /// use headwater_storage::EntityId;
    /// assert!(EntityId::from_bytes([1; 16]) < EntityId::from_bytes([2; 16]));
    /// ```
    EntityId
}

uuid_id! {
    /// A device, which is the same as one replica: permanent, made when the replica file is created.
    ///
    /// ```
    /// use headwater_storage::DeviceId;
    /// assert_eq!(DeviceId::from_bytes([3; 16]).as_bytes(), &[3; 16]);
    /// ```
    DeviceId
}

uuid_id! {
    /// One life of a feed. A feed that was made anew has another epoch, so that old watermarks do not fit it by accident.
    ///
    /// ```
    /// use headwater_storage::FeedEpoch;
    /// assert_ne!(FeedEpoch::from_bytes([1; 16]), FeedEpoch::from_bytes([2; 16]));
    /// ```
    FeedEpoch
}

/// The namespace of spaces that are called by a name instead of a UUID. Part of the format: it never changes.
const SPACE_NAMESPACE: Uuid = Uuid::from_u128(0x6865_6164_7761_5465_b2d1_7370_6163_6573);

impl SpaceId {
    /// The space that people call `name`: the UUID itself if `name` is one, else a UUIDv5 of the name.
    ///
    /// ```
    /// use headwater_storage::SpaceId;
    /// assert_eq!(SpaceId::from_name("team"), SpaceId::from_name("team"));
    /// assert_ne!(SpaceId::from_name("team"), SpaceId::from_name("home"));
    /// let id = SpaceId::from_bytes([7; 16]);
    /// assert_eq!(SpaceId::from_name(&id.to_string()), id);
    /// ```
    pub fn from_name(name: &str) -> Self {
        match Uuid::parse_str(name) {
            Ok(uuid) => Self(uuid),
            Err(_) => Self(Uuid::new_v5(&SPACE_NAMESPACE, name.as_bytes())),
        }
    }
}

/// The SHA-256 hash that names a change within its entity.
///
/// Two entities can hold a change with the same hash (the deterministic first change of a collection), so a change is
/// known by its entity and its hash together.
///
/// ```
/// use headwater_storage::ChangeHash;
/// let hash = ChangeHash::from_bytes([0xab; 32]);
/// assert_eq!(hash.to_string().parse::<ChangeHash>(), Ok(hash));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeHash([u8; 32]);

impl ChangeHash {
    /// The hash whose bytes are these.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, as they are stored and sent.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeHash({self})")
    }
}

impl FromStr for ChangeHash {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

impl Serialize for ChangeHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for ChangeHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Parsed::<Self>::new("64 hexadecimal digits"))
        } else {
            deserializer.deserialize_bytes(HashBytes)
        }
    }
}

/// Reads a hash in a format that is not for people.
struct HashBytes;

impl<'de> Visitor<'de> for HashBytes {
    type Value = ChangeHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ChangeHash, E> {
        bytes.try_into().map(ChangeHash).map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<ChangeHash, A::Error> {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = items.next_element()?.ok_or_else(|| de::Error::invalid_length(index, &"32 bytes"))?;
        }
        match items.next_element::<u8>()? {
            None => Ok(ChangeHash(bytes)),
            Some(_) => Err(de::Error::invalid_length(33, &"32 bytes")),
        }
    }
}

/// Reads what `FromStr` reads.
struct Parsed<T> {
    expected: &'static str,
    marker: std::marker::PhantomData<T>,
}

impl<T> Parsed<T> {
    fn new(expected: &'static str) -> Self {
        Self { expected, marker: std::marker::PhantomData }
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<C> minicbor::Encode<C> for ChangeHash {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for ChangeHash {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        exact_bytes(d).map(Self)
    }
}

/// The name of a collection: 1 to 128 bytes, no control characters, not starting with `_`.
///
/// ```
/// use headwater_storage::{CollectionName, NameError};
/// let name = CollectionName::new("coffee_bags")?;
/// assert_eq!(name.as_str(), "coffee_bags");
/// assert_eq!(CollectionName::new("_mine"), Err(NameError::Reserved));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Checks `name`. See [`NameError`] for what can be wrong with it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match name.as_bytes() {
            [] => Err(NameError::Empty),
            bytes if bytes.len() > Self::LEN_MAX => Err(NameError::TooLong { len: bytes.len() }),
            [b'_', ..] => Err(NameError::Reserved),
            _ if name.chars().any(char::is_control) => Err(NameError::ControlCharacter),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CollectionName({:?})", &*self.0)
    }
}

impl AsRef<str> for CollectionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Serialize for CollectionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CollectionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed::<Self>::new("the name of a collection"))
    }
}

impl<C> minicbor::Encode<C> for CollectionName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for CollectionName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::new(d.str()?).map_err(|error| minicbor::decode::Error::message(error).at(at))
    }
}

/// Why a text cannot name a collection. Choose another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters. Give it at least one.
    #[error("a collection name cannot be empty")]
    Empty,
    /// The name is too long. Shorten it to [`CollectionName::LEN_MAX`] bytes.
    #[error("a collection name of {len} bytes is longer than the {} allowed", CollectionName::LEN_MAX)]
    TooLong {
        /// The length that was given, in bytes.
        len: usize,
    },
    /// Names that begin with `_` are Headwater's own. Use another first character.
    #[error("a collection name cannot begin with '_'")]
    Reserved,
    /// The name has a control character, such as a line break. Remove it.
    #[error("a collection name cannot contain control characters")]
    ControlCharacter,
}

/// The next byte string, if it has exactly `N` bytes. Allocates nothing.
pub(crate) fn exact_bytes<const N: usize>(
    d: &mut minicbor::Decoder<'_>,
) -> Result<[u8; N], minicbor::decode::Error> {
    let at = d.position();
    d.bytes()?
        .try_into()
        .map_err(|_| minicbor::decode::Error::message("a byte string of another length was expected").at(at))
}

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

pub(crate) fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let wrong = || ParseIdError { text: shortened(text), expected: "64 hexadecimal digits" };
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).ok_or_else(wrong)?;
            *byte = (*byte << 4) | u8::try_from(value).map_err(|_| wrong())?;
        }
    }
    Ok(bytes)
}

/// Text from outside can have any length; an error message repeats only its beginning.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{BytesDeserializer, Error, StrDeserializer};

    use super::*;

    #[test]
    fn ids_are_text_in_json_and_come_back() {
        // Would keep an app from holding an id in a field, or show people sixteen numbers.
        let (entity, hash) = (EntityId::from_bytes([7; 16]), ChangeHash::from_bytes([0xab; 32]));
        let name = CollectionName::new("coffee_bags").unwrap();
        let json = serde_json::to_string(&(entity, hash, &name)).unwrap();
        assert_eq!(json, format!("[\"{entity}\",\"{hash}\",\"{name}\"]"));
        assert_eq!(
            serde_json::from_str::<(EntityId, ChangeHash, CollectionName)>(&json).unwrap(),
            (entity, hash, name)
        );
    }

    #[test]
    fn what_is_no_id_is_refused() {
        // Would let a reference in a field point at an entity that cannot exist, or a name in that no collection may have.
        assert!(serde_json::from_str::<EntityId>("\"guji\"").is_err());
        assert!(serde_json::from_str::<ChangeHash>("\"ab\"").is_err());
        assert!(serde_json::from_str::<CollectionName>("\"_mine\"").is_err());
        let text: StrDeserializer<'_, Error> = "00".into_deserializer();
        assert!(SpaceId::deserialize(text).is_err());
    }

    #[test]
    fn a_hash_of_bytes_has_exactly_32() {
        // Would read a shortened hash as another one, in a format that is not for people.
        let read = |bytes: &[u8]| HashBytes.visit_bytes::<Error>(bytes);
        assert_eq!(read(&[3; 32]), Ok(ChangeHash::from_bytes([3; 32])));
        assert!(read(&[3; 31]).is_err());
        let bytes: BytesDeserializer<'_, Error> = BytesDeserializer::new(&[3; 33]);
        assert!(bytes.deserialize_bytes(HashBytes).is_err());
    }
}
