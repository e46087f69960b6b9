//! Changes that are nothing but bytes, and feeds of them.

use headwater_storage::{
    Append, Appended, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEntry, FeedEpoch,
    InMemoryBackend, NewFeed, PayloadKind, RedbFeed, SpaceId,
};

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name("test")
}

pub(crate) fn device() -> DeviceId {
    DeviceId::from_bytes([9; 16])
}

pub(crate) fn entity(number: u64) -> EntityId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    EntityId::from_bytes(bytes)
}

/// A change that is nothing but bytes: neither side of the session looks inside.
pub(crate) fn change(of: u64, number: u64) -> ChangeRecord {
    sized_change(of, number, 100)
}

pub(crate) fn sized_change(of: u64, number: u64, bytes: usize) -> ChangeRecord {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&of.to_be_bytes());
    hash[8..16].copy_from_slice(&number.to_be_bytes());
    // Not compressible, so that sizes mean something.
    let mut random = of.wrapping_mul(31).wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let payload: Vec<u8> = (0..bytes)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as u8
        })
        .collect();
    ChangeRecord {
        entity: entity(of),
        collection: CollectionName::new("notes").unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes(hash),
        payload: payload.into(),
    }
}

pub(crate) fn deps(record: &ChangeRecord) -> Vec<ChangeHash> {
    match automerge::Change::from_bytes(record.payload.to_vec()) {
        Ok(change) => change.deps().iter().map(|dep| ChangeHash::from_bytes(dep.0)).collect(),
        Err(_) => Vec::new(),
    }
}

pub(crate) fn new_feed() -> RedbFeed {
    RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 }).unwrap()
}

pub(crate) fn append(feed: &RedbFeed, epoch: u8, records: Vec<ChangeRecord>) -> Appended {
    let entries = records
        .into_iter()
        .map(|record| {
            let deps = deps(&record);
            FeedEntry::new(record, deps)
        })
        .collect();
    let append = Append {
        space: space(),
        origin: DeviceId::from_bytes([8; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 0,
        epoch_if_new: FeedEpoch::from_bytes([epoch; 16]),
        entries,
    };
    feed.append_all(vec![append]).unwrap().remove(0)
}
