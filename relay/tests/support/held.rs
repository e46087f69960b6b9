//! What a replica holds, to compare it with others and with the feed.

use headwater::{EntityId, Map, Replica, SpaceId};
use headwater_storage::OutboxSeq;

use crate::feed::Changes;

/// Every change that a replica holds of a space. Fails if something of it was set aside.
pub(crate) fn changes(replica: &Replica, space: SpaceId) -> Changes {
    assert!(replica.space(space).set_aside().unwrap().is_empty(), "something was set aside");
    let positions = replica.entity_positions(space, None, usize::MAX).unwrap();
    let of = |entity| replica.entity_changes(space, entity).unwrap().into_iter().collect();
    positions.into_iter().map(|position| (position.entity, of(position.entity))).collect()
}

/// Every change that a replica has and the relay has not acknowledged. Fails if one is there twice.
pub(crate) fn outbox(replica: &Replica, space: SpaceId) -> Changes {
    let mut waiting = Changes::new();
    for entry in replica.outbox(space, OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap() {
        let record = entry.record;
        let twice = waiting.entry(record.entity).or_default().insert(record.hash, record.payload);
        assert_eq!(twice, None, "a change is in the outbox twice");
    }
    waiting
}

/// The records of a collection, as an app reads them.
pub(crate) fn records(replica: &Replica, space: SpaceId, collection: &str) -> Vec<(EntityId, Map)> {
    let collection = replica.space(space).dynamic(collection).unwrap();
    collection.iter().map(Result::unwrap).map(|record| (record.id, record.fields)).collect()
}

/// Whether all of `part` is in `whole`, with the same bytes.
pub(crate) fn contains(whole: &Changes, part: &Changes) -> bool {
    part.iter().all(|(entity, changes)| {
        whole
            .get(entity)
            .is_some_and(|held| changes.iter().all(|(hash, bytes)| held.get(hash) == Some(bytes)))
    })
}

/// What of `whole` is not in `part`.
pub(crate) fn without(mut whole: Changes, part: &Changes) -> Changes {
    for (entity, hashes) in part {
        if let Some(held) = whole.get_mut(entity) {
            held.retain(|hash, _| !hashes.contains_key(hash));
        }
    }
    whole.retain(|_, changes| !changes.is_empty());
    whole
}

/// All of both.
pub(crate) fn together(mut one: Changes, other: Changes) -> Changes {
    for (entity, changes) in other {
        one.entry(entity).or_default().extend(changes);
    }
    one
}

pub(crate) fn count(changes: &Changes) -> usize {
    changes.values().map(std::collections::BTreeMap::len).sum()
}

pub(crate) fn payload_bytes(changes: &Changes) -> usize {
    changes.values().flat_map(|changes| changes.values()).map(|payload| payload.len()).sum()
}
