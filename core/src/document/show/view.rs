//! The view row: what reads see of an entity, made in one place from its document.
//!
//! Layout, CBOR: array of
//! 0. version, 1
//! 1. created, ms since 1970 (the earliest time of a change, 0 if none says one), or null if the entity does not exist
//! 2. updated, ms since 1970 (the latest change's time), or null
//! 3. actor of that latest change, bytes
//! 4. deleted, ms since 1970, or null
//! 5. heads, bytes, 32 each
//! 6. fields, map
//!
//! Everything in it follows from the set of changes alone, so two replicas with the same changes have the same row.

use headwater_storage::{ChangeHash, CollectionName, DeviceId};
use minicbor::{Decoder, Encoder};

use crate::document::Document;
use crate::model::{Map, Timestamp, Value, decode_value, encode_map};

/// Names the entity's collection inside its document, so that other Automerge tools see it too.
pub(crate) const COLLECTION_KEY: &str = "_collection";
/// When the entity was deleted: a field like any other, so that deletion merges and can be taken back.
pub(crate) const DELETED_KEY: &str = "_deleted";

/// The length of an actor id that Headwater makes: the device id, then 8 bytes that are new in each opening. A file that was
/// copied or restored therefore never continues another opening's sequence of changes.
///
/// ```
/// assert_eq!(headwater::document::ACTOR_BYTES, 16 + 8);
/// ```
pub const ACTOR_BYTES: usize = 24;

const VERSION: u64 = 1;

/// What is known of an entity beside its fields.
///
/// The times are those that the editing devices' clocks said. A clock before March 1973 counts as that, and one beyond the year
/// 275760 as that: other times would read as something else elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityMeta {
    /// When it was created. `None` where no change says when it was made, as with some programs other than Headwater.
    pub created: Option<Timestamp>,
    /// When it was last edited. `None` as there.
    pub updated: Option<Timestamp>,
    /// The device of the last edit, where it was a Headwater device.
    pub updated_by: Option<DeviceId>,
    /// When it was deleted, if it is.
    pub deleted: Option<Timestamp>,
    /// The causal position: the same on two devices exactly when they have the same changes.
    pub heads: Vec<ChangeHash>,
}

/// A document that cannot be shown. Its changes are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Lists and maps nest deeper than [`crate::model::DEPTH_MAX`].
    #[error("lists and maps nest too deep")]
    TooDeep,
    /// The merge engine could not read a value.
    #[error("the document cannot be read: {0}")]
    Unreadable(String),
    /// The stored row is damaged; it can be made again from the changes.
    #[error("the view row is damaged: {0}")]
    DamagedRow(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// `None` where there are only deterministic first changes, which no one made: then there is no entity.
    created: Option<i64>,
    /// The latest change's time and actor, compared as a pair, so that equal times have one winner everywhere.
    updated: Option<(i64, Vec<u8>)>,
    pub(crate) deleted: Option<i64>,
    pub(crate) heads: Vec<ChangeHash>,
    /// The app's fields, without those whose names begin with `_`.
    pub(crate) fields: Map,
    /// The collection that the document itself names; not part of the row.
    pub(crate) collection: Option<CollectionName>,
}

impl View {
    /// The view after `document` got the changes whose times and actors are in `stamps`. `self` is the view before.
    pub(crate) fn advance<'a>(
        &self,
        document: &Document,
        stamps: impl IntoIterator<Item = (i64, &'a [u8])>,
    ) -> Result<View, ViewError> {
        let mut fields = document.fields()?;
        let mut view = View {
            created: self.created,
            updated: self.updated.clone(),
            deleted: match fields.get(DELETED_KEY) {
                Some(Value::Timestamp(at)) => Some(*at),
                Some(other) => other.as_i64(),
                None => None,
            },
            heads: document.heads(),
            collection: fields
                .get(COLLECTION_KEY)
                .and_then(Value::as_str)
                .and_then(|name| CollectionName::new(name).ok()),
            fields: Map::new(),
        };
        fields.retain(|key, _| !key.starts_with('_'));
        view.fields = fields;
        for (time, actor) in stamps {
            // A change of another program may say no time. The others say more.
            let earlier =
                |created: i64| if (time == 0, time) < (created == 0, created) { time } else { created };
            view.created = Some(view.created.map_or(time, earlier));
            if view.updated.as_ref().is_none_or(|(t, a)| (*t, a.as_slice()) < (time, actor)) {
                view.updated = Some((time, actor.to_vec()));
            }
        }
        Ok(view)
    }

    /// The view of a whole document, made from all its changes.
    pub(crate) fn of(document: &Document) -> Result<View, ViewError> {
        let stamps = document.stamps();
        View::default().advance(document, stamps.iter().map(|(time_ms, actor)| (*time_ms, actor.as_slice())))
    }

    /// Whether the entity was created at all: a stray first change is no entity yet.
    pub(crate) fn exists(&self) -> bool {
        self.created.is_some()
    }

    pub(crate) fn meta(&self) -> EntityMeta {
        EntityMeta {
            created: self.created.filter(|time| *time != 0).map(Timestamp),
            updated: self.updated.as_ref().map(|(time, _)| Timestamp(*time)).filter(|time| time.0 != 0),
            updated_by: self.updated.as_ref().and_then(|(_, actor)| device_of(actor)),
            deleted: self.deleted.map(Timestamp),
            heads: self.heads.clone(),
        }
    }

    /// The row as it is stored. Only the step that also tells listeners of it calls this.
    pub(crate) fn to_row(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let heads: Vec<u8> = self.heads.iter().flat_map(|head| *head.as_bytes()).collect();
        let (updated, actor) = match &self.updated {
            Some((time, actor)) => (Some(*time), actor.as_slice()),
            None => (None, &[][..]),
        };
        let mut out = Encoder::new(&mut bytes);
        // Writing to memory cannot fail.
        let _infallible = out
            .array(7)
            .and_then(|out| out.u64(VERSION))
            .and_then(|out| out.encode(self.created))
            .and_then(|out| out.encode(updated))
            .and_then(|out| out.bytes(actor))
            .and_then(|out| out.encode(self.deleted))
            .and_then(|out| out.bytes(&heads))
            .and_then(|out| encode_map(out, &self.fields));
        bytes
    }

    pub(crate) fn decode(row: &[u8]) -> Result<View, ViewError> {
        let (mut view, mut input) = header(row)?;
        view.fields = match decode_value(&mut input, 0).map_err(damaged)? {
            Value::Map(fields) => fields,
            _ => return Err(ViewError::DamagedRow("its fields are no map".into())),
        };
        Ok(view)
    }

    /// All but the fields.
    pub(crate) fn decode_header(row: &[u8]) -> Result<View, ViewError> {
        header(row).map(|(view, _)| view)
    }
}

fn header(row: &[u8]) -> Result<(View, Decoder<'_>), ViewError> {
    let mut input = Decoder::new(row);
    let mut read = || {
        if input.array()? != Some(7) || input.u64()? != VERSION {
            return Err(minicbor::decode::Error::message("another layout"));
        }
        let created = input.decode()?;
        let updated: Option<i64> = input.decode()?;
        let actor = input.bytes()?.to_vec();
        let deleted = input.decode()?;
        let heads = input
            .bytes()?
            .chunks_exact(32)
            .filter_map(|head| head.try_into().ok())
            .map(ChangeHash::from_bytes);
        let heads = heads.collect();
        Ok(View { created, updated: updated.map(|time| (time, actor)), deleted, heads, ..View::default() })
    };
    let view = read().map_err(damaged)?;
    Ok((view, input))
}

fn damaged(error: minicbor::decode::Error) -> ViewError {
    ViewError::DamagedRow(error.to_string())
}

/// The device behind an actor, where it is a Headwater one.
pub(crate) fn device_of(actor: &[u8]) -> Option<DeviceId> {
    if actor.len() != ACTOR_BYTES {
        return None;
    }
    actor.get(..16)?.try_into().ok().map(DeviceId::from_bytes)
}
