//! A small history of one entity, the same in every run: made by two devices that edit apart and come together.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headwater::replica::MergeRequest;
use headwater::{
    ChangeHash, CollectionName, DynamicCollection, EntityId, Map, Replica, SpaceId, Text, Value,
};
use headwater_storage::{ChangeRecord, OutboxSeq, PayloadKind};

use crate::{Clock, Random};

pub(super) const SPACE: &str = "home";
pub(super) const COLLECTION: &str = "things";

pub(super) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

pub(super) fn entity() -> EntityId {
    EntityId::from_bytes([1; 16])
}

pub(super) fn collection() -> CollectionName {
    CollectionName::new(COLLECTION).expect("a name")
}

/// A device of a target. Its number is all that its ids and times follow from.
pub(super) fn replica(number: u64) -> Replica {
    Replica::in_memory(Clock::new(Random::new(number), Arc::default(), number as i64)).expect("opens")
}

/// Gives `to` every change that `from` made.
pub(super) fn carry(from: &Replica, to: &Replica) {
    let merged = to.merge(space(), MergeRequest { records: made(from), position: None }).expect("merges");
    assert_eq!(merged.set_aside, 0, "an honest change is set aside");
}

/// Every change that a device made, in its order.
pub(super) fn made(replica: &Replica) -> Vec<ChangeRecord> {
    let entries = replica.outbox(space(), OutboxSeq::ZERO, usize::MAX, usize::MAX).expect("reads");
    entries.into_iter().map(|entry| entry.record).collect()
}

pub(super) fn record(hash: ChangeHash, payload: Bytes) -> ChangeRecord {
    let (entity, collection) = (entity(), collection());
    ChangeRecord { entity, collection, kind: PayloadKind::Change, hash, payload }
}

/// The changes of the entity, in causal order.
///
/// ```
/// let history = headwater_fuzz::targets::history();
/// let document = headwater::document::Document::from_changes(history.iter().map(|(_, bytes)| bytes.clone()))?;
/// assert_eq!((document.waiting_len(), document.heads().len()), (0, 1));
/// # Ok::<(), headwater::ingest::IngestError>(())
/// ```
pub fn history() -> &'static [(ChangeHash, Bytes)] {
    static HISTORY: OnceLock<Vec<(ChangeHash, Bytes)>> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let (left, right) = (replica(1), replica(2));
        let things = |replica: &Replica| replica.space(SPACE).dynamic(COLLECTION).expect("a name");
        let (on_left, on_right) = (things(&left), things(&right));
        on_left.upsert_all(vec![(entity(), first())]).expect("inserts");
        carry(&left, &right);
        set(&on_left, "text", Value::Text(Text::from("stay warm")));
        set(&on_left, "number", Value::Int(-7));
        on_left.unset(entity(), &["string"]).expect("removes a field");
        set(&on_right, "text", Value::Text(Text::from("warm and dry")));
        set(&on_right, "counter", Value::Counter(5));
        set(&on_right, "list", Value::List(vec![Value::Bool(true), Value::Null, Value::Str("c".into())]));
        carry(&left, &right);
        carry(&right, &left);
        set(&on_left, "map", Value::Map(Map::from([("deep".into(), Value::Bytes(vec![0; 9]))])));
        on_left.delete(entity()).expect("deletes");
        on_left.restore(entity()).expect("restores");
        left.entity_changes(space(), entity()).expect("reads")
    })
}

fn set(things: &DynamicCollection, name: &str, value: Value) {
    things.set(entity(), Map::from([(name.to_owned(), value)])).expect("sets a field");
}

fn first() -> Map {
    Map::from([
        ("string".into(), Value::Str("a".into())),
        ("number".into(), Value::Float(0.5)),
        ("text".into(), Value::Text(Text::from("warm"))),
        ("counter".into(), Value::Counter(1)),
        ("list".into(), Value::List(vec![Value::Timestamp(1), Value::Uint(u64::MAX)])),
        ("map".into(), Value::Map(Map::new())),
    ])
}
