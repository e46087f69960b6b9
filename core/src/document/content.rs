//! What changes that were taken away had put into their entity, so that it can be read, and put there again.
//!
//! Their operations are made again on what is there now, numbered behind it and by an actor of the scratch
//! document alone; so a change whose numbers were the harm shows what it meant to write. Where that fails,
//! what is left is a list of the operations.

use std::collections::HashSet;
use std::ops::Range;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ObjType, ScalarValue};
use bytes::Bytes;
use headwater_storage::ChangeHash;

use super::show::view::{DELETED_KEY, device_of};
use super::{ACTOR_BYTES, Document, ViewError};
use crate::ingest::{
    ChangeLimits, IngestError, Panicked, check_stored, guarded, is_certified_actor, prevalidate_change,
};
use crate::model::{ContainerKind, Map, Value};

/// Operations that are listed, at most.
const OPERATIONS_MAX: usize = 1_000;
/// Bytes of values and names that are listed, at most.
const LISTED_BYTES_MAX: usize = 256 << 10;

/// What a change had put into its entity.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// The fields that it wrote, as a reader saw them.
    Fields {
        /// The fields with new values.
        set: Map,
        /// The fields that it removed.
        removed: Vec<String>,
        /// Whether it deleted the entity, or took a deletion back.
        deletion: Option<Deletion>,
    },
    /// What its operations say. They cannot be shown as fields: the merge engine does not take them, or they
    /// nest too deep.
    Operations {
        /// Why they cannot be shown as fields.
        reason: String,
        /// The first 1,000 operations, or as many as have 256 KiB of names and values.
        listed: Vec<Operation>,
        /// How many more there are.
        more: u64,
    },
    /// Its bytes never came to this device, or are damaged.
    Lost,
    /// So many changes were taken away at once that a notice does not say of each what it had written.
    /// [`Space::content`](crate::Space::content) does.
    NotRead,
}

/// What a change does to the mark of deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It deletes the entity.
    Deleted,
    /// It takes a deletion back.
    Restored,
}

/// One operation of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The object that it works on: `_root`, or `NUMBER@ACTOR` of the operation that made it.
    pub object: String,
    /// The field's name; in a list or text the element, as `NUMBER@ACTOR` or `_head`.
    pub key: String,
    /// What it does.
    pub action: Action,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Puts a value.
    Put(Value),
    /// Makes a container.
    Make(ContainerKind),
    /// Removes what is there.
    Delete,
    /// Adds to a counter.
    Increment(i64),
    /// Marks a part of a text.
    Mark(String),
}

/// The fields of an entity without a change and with it, Headwater's own left out.
pub(crate) struct Replayed {
    pub(crate) before: Map,
    pub(crate) after: Map,
    pub(crate) deletion: Option<Deletion>,
}

/// Changes that cannot be made again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("its bytes are not here")]
    Lost,
    #[error("with it, lists and maps nest too deep")]
    TooDeep,
    #[error("the merge engine does not take its operations: {0}")]
    Refused(String),
}

/// Makes the changes of `chain` again on `base`, and tells the last one apart. Only fields that it changes
/// are returned.
pub(crate) fn replay(base: &[Bytes], chain: &[Bytes]) -> Result<Replayed, ReplayError> {
    guarded(|| {
        let (last, before) = chain.split_last().ok_or(ReplayError::Lost)?;
        let last = check_stored(last).map_err(|_| ReplayError::Lost)?;
        let mut scratch = Document::from_changes(base.iter().cloned()).map_err(refused)?;
        let mut renamed = Vec::new();
        for payload in before {
            // One that cannot be read is missing, and the engine says whether the last one can do without.
            if let Ok(change) = check_stored(payload) {
                renewed(&mut scratch, change.parsed(), &mut renamed)?;
            }
        }
        let before = scratch.fields()?;
        renewed(&mut scratch, last.parsed(), &mut renamed)?;
        Ok(Replayed::between(before, scratch.fields()?))
    })
    .unwrap_or_else(|Panicked| Err(ReplayError::Refused("it panics".to_owned())))
}

/// The content of the last change of `chain`; see [`replay`].
pub(crate) fn content(base: &[Bytes], chain: &[Bytes]) -> Content {
    let reason = match replay(base, chain) {
        Ok(Replayed { before, after, deletion }) => {
            let removed = before.into_keys().filter(|key| !after.contains_key(key)).collect();
            return Content::Fields { set: after, removed, deletion };
        }
        Err(ReplayError::Lost) => return Content::Lost,
        Err(error) => error.to_string(),
    };
    let listed = guarded(|| {
        let change = check_stored(chain.last()?).ok()?;
        Some(operations(&change.parsed().decode().operations))
    });
    match listed {
        Ok(Some((listed, more))) => Content::Operations { reason, listed, more },
        Ok(None) => Content::Lost,
        Err(Panicked) => Content::Operations { reason, listed: Vec::new(), more: 0 },
    }
}

/// The device that made a change, where it was a Headwater one and the bytes are whole.
pub(crate) fn author(payload: &Bytes) -> Option<headwater_storage::DeviceId> {
    let header = prevalidate_change(payload, &ChangeLimits::stored()).ok()?;
    device_of(&header.actor)
}

/// Whether nobody made a change: it follows from its content alone.
pub(crate) fn is_nobodys(payload: &Bytes) -> bool {
    prevalidate_change(payload, &ChangeLimits::stored()).is_ok_and(|header| is_certified_actor(&header.actor))
}

/// What a change builds on, as far as its bytes tell.
pub(crate) fn builds_on(payload: &Bytes) -> Vec<ChangeHash> {
    prevalidate_change(payload, &ChangeLimits::stored()).map_or_else(|_| Vec::new(), |header| header.deps)
}

/// What stands in a change that writes another one again, so that no device does so twice.
pub(super) fn again_message(hash: ChangeHash) -> String {
    format!("again {hash}")
}

/// The hash of this change, if it writes that other one again.
pub(crate) fn written_again(payload: &Bytes, other: ChangeHash) -> Option<ChangeHash> {
    let message = again_message(other);
    let change = check_stored(payload).ok()?;
    (change.parsed().message() == Some(&*message)).then(|| change.hash())
}

impl Replayed {
    fn between(mut before: Map, mut after: Map) -> Replayed {
        let deletion = match (before.contains_key(DELETED_KEY), after.contains_key(DELETED_KEY)) {
            (false, true) => Some(Deletion::Deleted),
            (true, false) => Some(Deletion::Restored),
            _ => None,
        };
        let stays = |key: &String| before.get(key) == after.get(key) || key.starts_with('_');
        let staying: HashSet<String> =
            before.keys().chain(after.keys()).filter(|key| stays(key)).cloned().collect();
        before.retain(|key, _| !staying.contains(key));
        after.retain(|key, _| !staying.contains(key));
        Replayed { before, after, deletion }
    }
}

/// The operations of one change, the numbers that they had, and the number that the first of them got.
struct Renamed {
    actor: ActorId,
    had: Range<u64>,
    got: u64,
    by: ActorId,
}

/// Makes a change again on top of all that is in `scratch`.
fn renewed(scratch: &mut Document, change: &Change, renamed: &mut Vec<Renamed>) -> Result<(), ReplayError> {
    let mut change = change.decode();
    let by = ActorId::from(&change.hash.map_or([0; 32], |hash| hash.0)[..ACTOR_BYTES]);
    let start = scratch.max_op.saturating_add(1);
    let had = change.start_op.get()..change.start_op.get().saturating_add(change.operations.len() as u64);
    renamed.push(Renamed { actor: change.actor_id.clone(), had, got: start, by: by.clone() });
    for operation in &mut change.operations {
        rename(operation, renamed);
    }
    (change.actor_id, change.seq) = (by, 1);
    change.start_op = start.try_into().map_err(|_| ReplayError::Refused("no number is left".to_owned()))?;
    change.deps = scratch.automerge.get_heads();
    change.hash = None;
    let payload = Bytes::copy_from_slice(Change::from(change).raw_bytes());
    scratch.apply(&[payload]).map_err(refused)
}

fn rename(operation: &mut Op, renamed: &[Renamed]) {
    let new = |id: &OpId| {
        let of = renamed.iter().rev().find(|of| of.actor == *id.actor() && of.had.contains(&id.counter()));
        of.map_or_else(|| id.clone(), |of| OpId::new(id.counter() - of.had.start + of.got, &of.by))
    };
    if let ObjectId::Id(id) = &mut operation.obj {
        *id = new(id);
    }
    if let Key::Seq(ElementId::Id(id)) = &mut operation.key {
        *id = new(id);
    }
    operation.pred = operation.pred.iter().map(new).collect();
}

fn operations(operations: &[Op]) -> (Vec<Operation>, u64) {
    let (mut listed, mut bytes) = (Vec::new(), 0);
    for operation in operations.iter().take(OPERATIONS_MAX) {
        let shown = shown(operation);
        bytes += shown.object.len() + shown.key.len();
        bytes += match &shown.action {
            Action::Put(Value::Str(text)) | Action::Mark(text) => text.len(),
            Action::Put(Value::Bytes(held)) => held.len(),
            _ => 0,
        };
        if bytes > LISTED_BYTES_MAX {
            break;
        }
        listed.push(shown);
    }
    let more = (operations.len() - listed.len()) as u64;
    (listed, more)
}

fn shown(operation: &Op) -> Operation {
    let id = |id: &OpId| format!("{}@{}", id.counter(), id.actor());
    let object = match &operation.obj {
        ObjectId::Root => "_root".to_owned(),
        ObjectId::Id(of) => id(of),
    };
    let key = match &operation.key {
        Key::Map(name) => name.to_string(),
        Key::Seq(ElementId::Head) => "_head".to_owned(),
        Key::Seq(ElementId::Id(of)) => id(of),
    };
    let action = match &operation.action {
        OpType::Put(value) => Action::Put(value_of(value)),
        OpType::Make(ObjType::Map | ObjType::Table) => Action::Make(ContainerKind::Map),
        OpType::Make(ObjType::List) => Action::Make(ContainerKind::List),
        OpType::Make(ObjType::Text) => Action::Make(ContainerKind::Text),
        OpType::Delete => Action::Delete,
        OpType::Increment(by) => Action::Increment(*by),
        OpType::MarkBegin(mark) => Action::Mark(mark.name.to_string()),
        OpType::MarkEnd(_) => Action::Mark(String::new()),
    };
    Operation { object, key, action }
}

fn value_of(scalar: &ScalarValue) -> Value {
    match scalar {
        ScalarValue::Null => Value::Null,
        ScalarValue::Boolean(v) => Value::Bool(*v),
        ScalarValue::Int(v) => Value::Int(*v),
        ScalarValue::Uint(v) => Value::from(*v),
        ScalarValue::F64(v) => Value::Float(*v),
        ScalarValue::Str(v) => Value::Str(v.to_string()),
        ScalarValue::Bytes(v) => Value::Bytes(v.clone()),
        ScalarValue::Counter(v) => Value::Counter(v.into()),
        ScalarValue::Timestamp(v) => Value::Timestamp(*v),
        ScalarValue::Unknown { bytes, .. } => Value::Bytes(bytes.clone()),
    }
}

fn refused(error: IngestError) -> ReplayError {
    ReplayError::Refused(error.to_string())
}

impl From<ViewError> for ReplayError {
    fn from(error: ViewError) -> ReplayError {
        match error {
            ViewError::TooDeep => ReplayError::TooDeep,
            error => ReplayError::Refused(error.to_string()),
        }
    }
}
