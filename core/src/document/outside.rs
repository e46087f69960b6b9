//! Edits by somebody who has no replica, such as a SQL client: made into a change on the state that they saw.
//!
//! The change builds on that state alone, whatever came since, so it merges like the edit of a device that was offline. And it
//! follows from the edit alone, so that two relays that make it at the same time make the same bytes.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName};
use serde_json::{Value as Json, json};

use super::{
    ACTOR_BYTES, Document, LocalChange, LocalEdit, Tombstone, View, ViewError, WriteError, check_fields,
};
use crate::ingest::{
    ChangeLimits, IngestError, Panicked, check_stored_as, guarded, prevalidate_change, stamp,
};
use crate::model::{JSON_DEPTH_MAX, JsonError, Map, map_from_json};

/// One edit of one entity, by somebody who has no replica.
#[derive(Clone, Debug, PartialEq)]
pub struct OutsideEdit {
    /// Who makes it: a device id, and 8 bytes such that the whole was never used before for this entity.
    pub actor: [u8; ACTOR_BYTES],
    /// When it was made, in milliseconds since 1970. Times before March 1973 count as that, and those beyond the year 275760 as that.
    pub time_ms: i64,
    /// The heads that the editor saw, in any order; none for an entity that is new.
    pub base: Vec<ChangeHash>,
    /// What it does.
    pub kind: OutsideKind,
}

/// What an [`OutsideEdit`] does.
#[derive(Clone, Debug, PartialEq)]
pub enum OutsideKind {
    /// Creates the entity. One that is there gets the fields set, leaves its others as they are, and is restored if it is deleted.
    Put {
        /// The collection that it is created in.
        collection: CollectionName,
        /// Its fields.
        fields: Json,
    },
    /// Writes what differs between two JSON objects, and nothing else. A deleted entity stays deleted.
    Patch {
        /// The fields that the editor saw: [`Projection::data`](super::Projection::data) at `base`.
        before: Json,
        /// What the editor made of them. A field that is gone is removed.
        after: Json,
    },
    /// Deletes the entity, if it is not.
    Delete,
    /// Takes a deletion back, if there is one.
    Restore,
}

/// One of the changes that an [`OutsideEdit`] became, as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideChange {
    /// Its hash.
    pub hash: ChangeHash,
    /// Its bytes.
    pub payload: Bytes,
}

/// An outside edit that was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutsideError {
    /// The editor saw a change that is not here; get it first, or let the editor read again.
    #[error("the change {0}, which the edit builds on, is not here")]
    UnknownBase(ChangeHash),
    /// There is no entity in what the editor saw; put it first.
    #[error("there is no such entity in what the edit builds on")]
    NoEntity,
    /// The actor made another change of this entity; each edit needs an actor of its own.
    #[error("the actor made the change {0} before")]
    ActorUsed(ChangeHash),
    /// The JSON cannot be fields of an entity.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The edit cannot become a change.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What the edit builds on does not load.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// What the edit builds on cannot be shown.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Makes an edit that somebody without a replica made on an older state into changes, each building on the one before it: none when
/// it changes nothing, and more than one when it is too large for one.
///
/// `changes` are those of the entity, each with its hash, in any order. Only those that the edit builds on are read into the result:
/// the same edit gives the same bytes, whatever else is passed in. Takes as long as loading the entity.
///
/// # Errors
/// See [`OutsideError`].
///
/// ```
/// use headwater::document::{OutsideEdit, OutsideKind, edit_outside, project};
/// use serde_json::json;
/// let put = OutsideKind::Put { collection: "bags".parse()?, fields: json!({"name": "Guji", "rating": 4}) };
/// let edit = OutsideEdit { actor: [1; 24], time_ms: 1_700_000_000_000, base: vec![], kind: put };
/// let made = edit_outside(Vec::new(), &edit)?;
/// let changes: Vec<_> = made.into_iter().map(|change| (change.hash, change.payload)).collect();
/// let seen = project(changes.clone())?.expect("the entity is there");
///
/// let patch = OutsideKind::Patch { before: seen.data, after: json!({"name": "Guji", "rating": 5}) };
/// let edit = OutsideEdit { actor: [2; 24], time_ms: 1_700_000_000_001, base: seen.meta.heads, kind: patch };
/// assert_eq!(edit_outside(changes, &edit)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn edit_outside(
    changes: Vec<(ChangeHash, Bytes)>,
    edit: &OutsideEdit,
) -> Result<Vec<OutsideChange>, OutsideError> {
    guarded(|| make(&changes, edit)).unwrap_or_else(|Panicked| Err(IngestError::EnginePanicked.into()))
}

fn make(changes: &[(ChangeHash, Bytes)], edit: &OutsideEdit) -> Result<Vec<OutsideChange>, OutsideError> {
    let mut document = document_at(changes, &edit.base)?;
    let view = View::of(&document)?;
    let Step { new_in, tombstone, before, after } = step(&view, edit)?;
    check_fields(&before)?;
    check_fields(&after)?;
    let local =
        LocalEdit { new_in, tombstone, current: &view.fields, before: &before, after: &after, again: None };
    let made = document.edit(&edit.actor, stamp(edit.time_ms), &local)?;
    let is_made = |hash: &ChangeHash| made.iter().any(|change| change.hash == *hash);
    // Two changes of one actor with one number would leave the entity unable to load.
    if !made.is_empty()
        && let Some((hash, _)) =
            changes.iter().find(|(hash, payload)| !is_made(hash) && is_by(payload, &edit.actor))
    {
        return Err(OutsideError::ActorUsed(*hash));
    }
    Ok(made.into_iter().map(|LocalChange { hash, payload, .. }| OutsideChange { hash, payload }).collect())
}

/// The entity as the editor saw it.
fn document_at(changes: &[(ChangeHash, Bytes)], base: &[ChangeHash]) -> Result<Document, OutsideError> {
    let payloads: HashMap<ChangeHash, &Bytes> =
        changes.iter().map(|(hash, payload)| (*hash, payload)).collect();
    if let Some(unknown) = base.iter().find(|hash| !payloads.contains_key(*hash)) {
        return Err(OutsideError::UnknownBase(*unknown));
    }
    let mut next: Vec<ChangeHash> = base.to_vec();
    // The order of the walk follows from what the edit builds on, and not from how the changes came.
    next.sort_unstable();
    let mut seen: HashSet<ChangeHash> = HashSet::new();
    let mut ancestors = Vec::new();
    while let Some(hash) = next.pop() {
        if !seen.insert(hash) {
            continue;
        }
        let missing =
            || IngestError::DoesNotApply(format!("the change {hash}, which it builds on, is missing"));
        let change = check_stored_as(hash, payloads.get(&hash).ok_or_else(missing)?)?;
        next.extend(change.deps());
        ancestors.push(change);
    }
    let mut document = Document::new();
    let _stamps = document.apply_all(ancestors, u64::MAX)?;
    Ok(document)
}

/// An edit in terms of the document.
struct Step<'a> {
    new_in: Option<&'a CollectionName>,
    tombstone: Tombstone,
    before: Map,
    after: Map,
}

fn step<'a>(view: &View, edit: &'a OutsideEdit) -> Result<Step<'a>, OutsideError> {
    if !view.exists() && !matches!(edit.kind, OutsideKind::Put { .. }) {
        return Err(OutsideError::NoEntity);
    }
    let nothing = Step { new_in: None, tombstone: Tombstone::Leave, before: Map::new(), after: Map::new() };
    let restored = if view.deleted.is_some() { Tombstone::Remove } else { Tombstone::Leave };
    Ok(match &edit.kind {
        OutsideKind::Put { collection, fields } => {
            let new_in = (!view.exists()).then_some(collection);
            Step { new_in, tombstone: restored, after: fields_of(fields, &Json::Null)?, ..nothing }
        }
        OutsideKind::Patch { before, after } => {
            Step { before: fields_of(before, after)?, after: fields_of(after, before)?, ..nothing }
        }
        OutsideKind::Delete if view.deleted.is_none() => {
            Step { tombstone: Tombstone::Set { now_ms: stamp(edit.time_ms) }, ..nothing }
        }
        OutsideKind::Delete => nothing,
        OutsideKind::Restore => Step { tombstone: restored, ..nothing },
    })
}

/// The fields of `json` that are not exactly the same in `other`.
///
/// Those that are cannot be part of the edit. Some could not even be read back: a map whose one key is `$bytes` looks like bytes.
fn fields_of(json: &Json, other: &Json) -> Result<Map, OutsideError> {
    let Json::Object(fields) = json else { return Err(JsonError::NotAnObject.into()) };
    let mut differing = serde_json::Map::new();
    for (key, value) in fields {
        // Before anything else that goes down into it.
        if !fits_depth(value, 1) {
            return Err(WriteError::TooDeep.into());
        }
        if key.starts_with('_') || other.get(key) != Some(value) {
            differing.insert(key.clone(), value.clone());
        }
    }
    let is_field = fields.len() > 1 && differing.len() == 1 && differing.contains_key("$map");
    // Alone, a field of this name would be taken for all fields in the form of a map.
    Ok(map_from_json(if is_field { json!({ "$map": differing }) } else { Json::Object(differing) })?)
}

fn fits_depth(json: &Json, depth: usize) -> bool {
    depth <= JSON_DEPTH_MAX
        && match json {
            Json::Array(items) => items.iter().all(|item| fits_depth(item, depth + 1)),
            Json::Object(fields) => fields.values().all(|value| fits_depth(value, depth + 1)),
            _ => true,
        }
}

fn is_by(payload: &Bytes, actor: &[u8]) -> bool {
    prevalidate_change(payload, &ChangeLimits::stored()).is_ok_and(|header| header.actor == actor)
}
