//! One entity as an Automerge document. Only this module, and the sync fallback in `sync/reconcile.rs`, touch Automerge's types.
//!
//! Local edits and incoming changes both end here. [`crate::ingest`] is the one door for bytes from outside.

mod cause;
mod content;
mod edit;
mod examine;
mod meet;
mod outside;
mod show;
mod snapshot;
mod waiting;

use std::collections::{HashMap, HashSet};

use automerge::{ActorId, Automerge, Change, ReadDoc};
use bytes::Bytes;
use headwater_storage::ChangeHash;

pub(crate) use cause::Fault;
pub use cause::{Alarm, Cause, Culprit};
pub use content::{Action, Content, Deletion, Operation};
pub(crate) use content::{
    ReplayError, Replayed, author, builds_on, content, is_nobodys, replay, written_again,
};
use edit::begin::Beginning;
pub(crate) use edit::begin::Genesis;
use edit::write::Writer;
pub(crate) use edit::{LocalEdit, Tombstone, check_fields};
pub use examine::{Examined, examine};
pub use meet::{HEADS_MAX, highest_operation, meet};
pub use outside::{OutsideChange, OutsideEdit, OutsideError, OutsideKind, edit_outside};
use show::counters::Counters;
pub use show::projection::{Projection, ProjectionError, project};
use show::read;
use show::texts::Texts;
pub(crate) use show::view::View;
pub use show::view::{ACTOR_BYTES, EntityMeta, ViewError};
pub(crate) use waiting::in_causal_order;

use crate::ingest::{
    ChangeLimits, CheckedChange, IngestError, Panicked, check_stored, guarded, is_certified_actor,
    milliseconds, prevalidate_change,
};
use crate::model::Map;

/// One entity, loaded: every change that is known of it, and the values that follow from them.
///
/// Most work needs no document: reads come from the view row. One is loaded to write, to merge, or to compare histories.
///
/// ```
/// let document = headwater::document::Document::new();
/// assert!(document.heads().is_empty());
/// ```
#[derive(Clone)]
pub struct Document {
    automerge: Automerge,
    /// The changes that were applied, and those that wait for their dependencies, each with the number of its last operation.
    known: HashMap<ChangeHash, u64>,
    /// Changes that wait for their dependencies, in the order in which they came.
    waiting: Vec<CheckedChange>,
    /// The highest number that an operation has.
    max_op: u64,
    /// How many bytes of changes are inside, a measure of the memory that it takes.
    size_bytes: usize,
    /// No counter is further from 0 than this.
    counted_max: u64,
    texts: Texts,
}

/// When a change was made, in milliseconds since 1970 (0 where it does not say), and by which actor. Changes that nobody made have
/// none.
pub(crate) type Stamp = (i64, Vec<u8>);

/// A change that this device just made, as it will be stored and sent.
#[derive(Clone, Debug)]
pub(crate) struct LocalChange {
    pub(crate) hash: ChangeHash,
    pub(crate) payload: Bytes,
    pub(crate) time_ms: i64,
    pub(crate) actor: Vec<u8>,
}

impl LocalChange {
    /// Whether nobody made it: another device that does the same makes the same change.
    pub(crate) fn is_certified(&self) -> bool {
        is_certified_actor(&self.actor)
    }
}

/// A local edit that could not be made. The document must be dropped and loaded again from its changes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Lists and maps nest too deep; flatten the value.
    #[error("lists and maps nest deeper than {}", crate::model::DEPTH_MAX)]
    TooDeep,
    /// The change would be larger, or do more at once, than any relay and any other device accepts; split the edit.
    #[error(transparent)]
    Limit(#[from] IngestError),
    /// A counter would have to move further in one edit than a number of 64 bits can say, or to a number that it cannot hold; set it in
    /// steps, or to a number between -2^63 and 2^63-1.
    #[error("the counter is {from} and cannot be set to {to}: it would move by more than 64 bits hold")]
    CounterOverflow {
        /// What it is.
        from: i64,
        /// What it should become.
        to: String,
    },
    /// A field name is reserved (it begins with `_`) or too long (above 1 KiB); rename it.
    #[error("the field name `{0}` is reserved or too long")]
    BadFieldName(String),
    /// An element of a keyed list has no key, one that is no string, whole number, bytes or timestamp of at most 1 KiB, or one that
    /// another element has; give each its own.
    #[error("element {at} of the keyed list `{field}` has no `{key}` of its own")]
    BadKey {
        /// The list's field, or nothing where the list is inside another.
        field: String,
        /// The field that holds the keys.
        key: String,
        /// The element, from 0 up.
        at: usize,
    },
    /// What the edit builds on cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The merge engine refused the edit, which should not happen; the message says why.
    #[error("the merge engine refused the edit: {0}")]
    Engine(String),
}

impl Document {
    /// A document without any change.
    pub fn new() -> Document {
        Document {
            automerge: Automerge::new(),
            known: HashMap::new(),
            waiting: Vec::new(),
            max_op: 0,
            size_bytes: 0,
            counted_max: 0,
            texts: Texts::default(),
        }
    }

    /// Builds the document from its changes, in any order. Changes whose dependencies are missing wait inside.
    ///
    /// # Errors
    /// When one of the changes does not parse or does not apply; nothing is kept then.
    pub fn from_changes(changes: impl IntoIterator<Item = Bytes>) -> Result<Document, IngestError> {
        let mut document = Document::new();
        let checked =
            changes.into_iter().map(|payload| check_stored(&payload)).collect::<Result<Vec<_>, _>>()?;
        let _stamps = document.apply_all(checked, u64::MAX)?;
        Ok(document)
    }

    /// Applies changes that came from outside. Known ones are passed over.
    ///
    /// # Errors
    /// When a change does not parse or apply. The document is then unusable and must be built again without that change.
    pub fn apply(&mut self, changes: &[Bytes]) -> Result<(), IngestError> {
        let checked = changes.iter().map(check_stored).collect::<Result<Vec<_>, _>>()?;
        self.apply_checked(checked)
    }

    /// Applies changes that passed [`check_change`](crate::ingest::check_change).
    ///
    /// # Errors
    /// As for [`Document::apply`].
    pub fn apply_checked(&mut self, changes: Vec<CheckedChange>) -> Result<(), IngestError> {
        self.apply_stamped(changes).map(|_| ())
    }

    /// As [`Document::apply_checked`]. Returns when and by whom those were made that were applied, earlier ones that waited for them
    /// included.
    pub(crate) fn apply_stamped(&mut self, changes: Vec<CheckedChange>) -> Result<Vec<Stamp>, IngestError> {
        self.apply_all(changes, ChangeLimits::default().operation_ahead_max)
    }

    fn apply_all(&mut self, changes: Vec<CheckedChange>, ahead_max: u64) -> Result<Vec<Stamp>, IngestError> {
        let known = &mut self.known;
        let fresh = changes.into_iter();
        let fresh: Vec<CheckedChange> =
            fresh.filter(|change| known.insert(change.hash(), change.header.max_op()).is_none()).collect();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        self.size_bytes += fresh.iter().map(|change| change.payload.len()).sum::<usize>();
        for change in &fresh {
            self.counted_max = self.counted_max.saturating_add(change.header.counted_max);
        }
        let mut candidates = std::mem::take(&mut self.waiting);
        let waited: HashSet<ChangeHash> = candidates.iter().chain(&fresh).map(CheckedChange::hash).collect();
        candidates.extend(fresh);
        let known = &self.known;
        let ready;
        (ready, self.waiting) =
            waiting::in_order(candidates, |hash| known.contains_key(hash) && !waited.contains(hash));
        for change in &ready {
            self.max_op = numbered_in_order(change, &self.known, self.max_op, ahead_max)?;
        }
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let ordinary = ready.iter().filter(|change| !is_certified_actor(&change.header.actor));
        let stamps = ordinary.map(|change| (change.time_ms, change.header.actor.to_vec())).collect();
        let automerge = &mut self.automerge;
        match guarded(|| {
            automerge.apply_changes(ready.into_iter().map(CheckedChange::into_parsed).collect::<Vec<_>>())
        }) {
            Ok(Ok(())) => Ok(stamps),
            Ok(Err(error)) => Err(IngestError::DoesNotApply(error.to_string())),
            Err(Panicked) => Err(IngestError::EnginePanicked),
        }
    }

    /// Whether a change is here, applied or waiting for its dependencies.
    pub fn contains(&self, hash: &ChangeHash) -> bool {
        self.known.contains_key(hash)
    }

    /// How many changes were applied.
    pub(crate) fn changes_len(&self) -> u64 {
        (self.known.len() - self.waiting.len()) as u64
    }

    /// How many changes wait for their dependencies.
    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a change could be applied as the next one.
    pub(crate) fn is_ready(&self, change: &CheckedChange) -> bool {
        let waits = |hash: &ChangeHash| self.waiting.iter().any(|waiting| waiting.hash() == *hash);
        change.deps().iter().all(|dep| self.known.contains_key(dep) && !waits(dep))
    }

    /// The changes that no other applied change depends on, in ascending order.
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads: Vec<ChangeHash> =
            self.automerge.get_heads().into_iter().map(|h| ChangeHash::from_bytes(h.0)).collect();
        heads.sort_unstable();
        heads
    }

    /// The bytes of one applied change.
    pub fn change_bytes(&self, hash: &ChangeHash) -> Option<Bytes> {
        let change = self.automerge.get_change_by_hash(&automerge::ChangeHash(*hash.as_bytes()))?;
        Some(Bytes::copy_from_slice(change.raw_bytes()))
    }

    /// When each applied change was made, in milliseconds since 1970, and by which actor, those apart that nobody made.
    pub(crate) fn stamps(&self) -> Vec<Stamp> {
        let changes = self.automerge.get_changes_meta(&[]);
        changes
            .into_iter()
            .filter(|change| !is_certified_actor(change.actor.to_bytes()))
            .map(|change| (milliseconds(change.timestamp), change.actor.to_bytes().to_vec()))
            .collect()
    }

    /// How many bytes of changes the document was built from.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The engine's own document, for the sync fallback in [`crate::sync`].
    pub(crate) fn automerge(&self) -> &Automerge {
        &self.automerge
    }

    pub(crate) fn automerge_mut(&mut self) -> &mut Automerge {
        &mut self.automerge
    }

    /// Runs one local edit and returns the changes that it made, in order: none if it changed nothing, and more than one if it is too
    /// large for one. Those of a new entity's first content come first; nobody made them.
    ///
    /// On an error the document may hold part of the edit: drop it.
    pub(crate) fn edit(
        &mut self,
        actor: &[u8],
        time_ms: i64,
        edit: &LocalEdit<'_>,
    ) -> Result<Vec<LocalChange>, WriteError> {
        let Some(collection) = edit.new_in else { return self.edit_only(actor, time_ms, edit) };
        let begun = guarded(|| match cfg!(bug = "equal-content-twice") {
            true => Beginning::of(collection, &Map::new()),
            false => Beginning::of(collection, edit.after),
        });
        let (changes, rest) = begun.map_err(|Panicked| panicked())??.into_changes();
        if changes.is_empty() && self.known.is_empty() {
            return self.edit_only(actor, time_ms, edit);
        }
        let mut made = self.begin_with(changes)?;
        // What others gave the entity first may be here too, and is no part of this edit.
        let current = self.fields()?;
        let after = rest.of(edit.after, &current);
        let edit = LocalEdit { current: &current, after: &after, ..*edit };
        made.extend(self.edit_only(actor, time_ms, &edit)?);
        Ok(made)
    }

    fn edit_only(
        &mut self,
        actor: &[u8],
        time_ms: i64,
        edit: &LocalEdit<'_>,
    ) -> Result<Vec<LocalChange>, WriteError> {
        let mut automerge = std::mem::take(&mut self.automerge);
        let texts = &mut self.texts;
        let made = guarded(|| {
            automerge.set_actor(ActorId::from(actor));
            let mut writer = Writer::new(automerge, time_ms, edit.again, texts)?;
            edit.write(&mut writer)?;
            writer.finish()
        });
        let (automerge, made) = made.map_err(|Panicked| panicked())??;
        self.automerge = automerge;
        made.into_iter().map(|change| self.keep(change, time_ms)).collect()
    }

    /// Takes note of a change that was just made, in the form in which it is stored and sent.
    fn keep(&mut self, mut change: Change, time_ms: i64) -> Result<LocalChange, WriteError> {
        let limits = ChangeLimits::default();
        // Deflated only where it would not fit otherwise: what is sent is compressed together, which does better.
        let payload = match change.raw_bytes() {
            raw if raw.len() as u64 <= limits.change_bytes_max => Bytes::copy_from_slice(raw),
            _ => Bytes::copy_from_slice(&change.bytes()),
        };
        // What no relay and no other device would take is not made in the first place.
        let header = prevalidate_change(&payload, &limits)?;
        self.counted_max = self.counted_max.saturating_add(header.counted_max);
        let hash = ChangeHash::from_bytes(change.hash().0);
        self.know(hash, change.max_op());
        self.size_bytes += payload.len();
        let actor = change.actor_id().to_bytes().to_vec();
        Ok(LocalChange { hash, payload, time_ms, actor })
    }

    fn counters(&self) -> Counters<'_> {
        Counters::of(&self.automerge, self.counted_max)
    }

    fn know(&mut self, hash: ChangeHash, max_op: u64) {
        self.known.insert(hash, max_op);
        self.max_op = self.max_op.max(max_op);
    }

    /// Every field of the root, Headwater's own included.
    pub(crate) fn fields(&self) -> Result<Map, ViewError> {
        // A snapshot can load, and name what is not there where it is read.
        guarded(|| read::root(&self.automerge, self.texts.of(&self.automerge), &self.counters()))
            .unwrap_or_else(|panicked| Err(ViewError::Unreadable(panicked.to_string())))
    }
}

/// Checks that a change's operations are numbered behind those that it builds on, and not too far ahead. Returns the highest number
/// after it.
fn numbered_in_order(
    change: &CheckedChange,
    known: &HashMap<ChangeHash, u64>,
    max_op: u64,
    ahead_max: u64,
) -> Result<u64, IngestError> {
    let first = change.header.start_op;
    let before = change.deps().iter().filter_map(|dep| known.get(dep)).max().copied().unwrap_or(0);
    if first <= before && change.header.operations > 0 {
        return Err(IngestError::OutOfOrder { first, before });
    }
    if first.saturating_sub(max_op) > ahead_max {
        return Err(IngestError::FarAhead { first, limit: max_op.saturating_add(ahead_max) });
    }
    Ok(max_op.max(change.header.max_op()))
}

fn panicked() -> WriteError {
    WriteError::Engine("it panicked".to_owned())
}

impl Default for Document {
    fn default() -> Document {
        Document::new()
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("changes", &self.known.len()).field("heads", &self.heads()).finish()
    }
}

impl From<automerge::AutomergeError> for WriteError {
    fn from(error: automerge::AutomergeError) -> WriteError {
        WriteError::Engine(error.to_string())
    }
}
