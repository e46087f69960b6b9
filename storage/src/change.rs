//! One change as storage and relay see it: a routing header, and a payload that they need not understand.

use bytes::Bytes;
use thiserror::Error;

use crate::id::{ChangeHash, CollectionName, EntityId};

/// What a payload is.
///
/// ```
/// use headwater_storage::PayloadKind;
/// assert_eq!(PayloadKind::from_code(1), Ok(PayloadKind::Snapshot));
/// assert!(PayloadKind::from_code(9).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PayloadKind {
    /// One Automerge change.
    Change = 0,
    /// A whole document, standing for all changes up to its heads.
    Snapshot = 1,
    /// What the relay has to say about changes of the entity: which are left out, and which are taken in again.
    Verdict = 2,
}

impl PayloadKind {
    /// The number that is stored and sent.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub const fn from_code(code: u8) -> Result<Self, UnknownPayloadKind> {
        match code {
            0 => Ok(Self::Change),
            1 => Ok(Self::Snapshot),
            2 => Ok(Self::Verdict),
            _ => Err(UnknownPayloadKind { code }),
        }
    }
}

/// A payload of a kind that this version does not know. Update the program that met it; until then set the payload aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("payload kind {code} is not known to this version")]
pub struct UnknownPayloadKind {
    /// The number that was found.
    pub code: u8,
}

impl<C> minicbor::Encode<C> for PayloadKind {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u8(self.code())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PayloadKind {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::from_code(d.u8()?).map_err(|error| minicbor::decode::Error::message(error).at(at))
    }
}

/// A change with its routing header. It is known by `entity` and `hash` together.
///
/// ```
/// use headwater_storage::{Bytes, ChangeHash, ChangeRecord, CollectionName, EntityId, PayloadKind};
/// let record = ChangeRecord {
///     entity: EntityId::from_bytes([1; 16]),
///     collection: CollectionName::new("coffee_bags")?,
///     kind: PayloadKind::Change,
///     hash: ChangeHash::from_bytes([2; 32]),
///     payload: Bytes::from_static(b"change"),
/// };
/// assert_eq!(record.payload.len(), 6);
/// # Ok::<(), headwater_storage::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct ChangeRecord {
    /// The entity that it changes.
    #[n(0)]
    pub entity: EntityId,
    /// The collection of that entity.
    #[n(1)]
    pub collection: CollectionName,
    /// What `payload` is.
    #[n(2)]
    pub kind: PayloadKind,
    /// The hash of the change.
    #[n(3)]
    pub hash: ChangeHash,
    /// The bytes. May be encrypted.
    #[n(4)]
    #[cbor(with = "crate::octets")]
    pub payload: Bytes,
}

/// Why a change was refused or set aside.
///
/// ```
/// use headwater_storage::Refusal;
/// let refusal = Refusal { code: 7, message: "no write grant".to_owned() };
/// assert_eq!(refusal.code, 7);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Refusal {
    /// The code of the protocol. It means nothing to the store.
    #[n(0)]
    pub code: u16,
    /// The reason for people.
    #[n(1)]
    pub message: String,
}
