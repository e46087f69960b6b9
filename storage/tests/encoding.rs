//! Commits as bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_storage::{
    Bytes, ChainHash, ChangeHash, ChangeRecord, CollectionName, Commit, CommitDecodeError, CommitDurability,
    DeviceId, Direction, EntityId, EntityWrite, FeedEpoch, InMemoryBackend, Judged, NewChange, NewReplica,
    NewSnapshot, Outbox, OutboxSeq, PayloadKind, Position, Refusal, ReplicaStore, Seq, SetAside, SpaceId,
    Step, StoredChange, StoredSnapshot, Unfolded, Watermark,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn entities() -> impl Strategy<Value = EntityId> {
    any::<[u8; 16]>().prop_map(EntityId::from_bytes)
}

fn hashes() -> impl Strategy<Value = ChangeHash> {
    any::<[u8; 32]>().prop_map(ChangeHash::from_bytes)
}

fn names() -> impl Strategy<Value = CollectionName> {
    "[a-z]{1,9}".prop_map(|name| CollectionName::new(&name).unwrap())
}

fn payloads() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn kinds() -> impl Strategy<Value = PayloadKind> {
    prop_oneof![Just(PayloadKind::Change), Just(PayloadKind::Snapshot), Just(PayloadKind::Verdict)]
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![
        Just(Direction::FromRelay),
        Just(Direction::Refused),
        Just(Direction::Quarantined),
        Just(Direction::Damaged),
        Just(Direction::OtherCollection)
    ]
}

fn refusals() -> impl Strategy<Value = Refusal> {
    (any::<u16>(), ".{0,9}").prop_map(|(code, message)| Refusal { code, message })
}

fn stored() -> impl Strategy<Value = Vec<StoredChange>> {
    let change = (kinds(), hashes(), payloads());
    vec(change.prop_map(|(kind, hash, payload)| StoredChange { kind, hash, payload }), 0..4)
}

fn writes() -> impl Strategy<Value = EntityWrite> {
    let outbox = prop_oneof![Just(Outbox::Queue), Just(Outbox::Skip)];
    let change = (kinds(), hashes(), payloads(), outbox)
        .prop_map(|(kind, hash, payload, outbox)| NewChange { kind, hash, payload, outbox });
    (entities(), names(), vec(change, 0..4), option::of(payloads()))
        .prop_map(|(entity, collection, changes, row)| EntityWrite { entity, collection, changes, row })
}

fn judged() -> impl Strategy<Value = Judged> {
    (entities(), names(), directions(), vec((hashes(), refusals()), 0..4), vec(hashes(), 0..4)).prop_map(
        |(entity, collection, direction, quarantined, released)| Judged {
            entity,
            collection,
            direction,
            quarantined,
            released,
        },
    )
}

fn asides() -> impl Strategy<Value = SetAside> {
    let record = (entities(), names(), kinds(), hashes(), payloads());
    (record, directions(), refusals(), any::<u64>()).prop_map(|(record, direction, reason, time_ms)| {
        let (entity, collection, kind, hash, payload) = record;
        SetAside {
            record: ChangeRecord { entity, collection, kind, hash, payload },
            direction,
            reason,
            time_ms,
        }
    })
}

fn positions() -> impl Strategy<Value = Position> {
    let watermark =
        (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(epoch, seq, chain)| Watermark {
            epoch: FeedEpoch::from_bytes(epoch),
            seq: Seq::new(seq),
            chain: ChainHash::from_bytes(chain),
        });
    (option::of(watermark), option::of(payloads()))
        .prop_map(|(watermark, cursor)| Position { watermark, cursor })
}

/// A snapshot in the place of rows that a store has, some of which wait for the relay.
fn snapshots() -> impl Strategy<Value = NewSnapshot> {
    (entities(), names(), vec(payloads(), 0..5), hashes(), payloads(), any::<bool>()).prop_map(
        |(entity, collection, changes, hash, payload, is_from_relay)| {
            let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 };
            let store = ReplicaStore::open_backend(InMemoryBackend::new(), new).unwrap();
            let space = SpaceId::from_name("home");
            let mut commit = Commit::new(space, 1);
            let change = |(number, payload): (usize, Bytes)| NewChange {
                kind: PayloadKind::Change,
                hash: ChangeHash::from_bytes([number as u8; 32]),
                payload,
                outbox: if number % 2 == 0 { Outbox::Queue } else { Outbox::Skip },
            };
            let changes = changes.into_iter().enumerate().map(change).collect();
            let write = EntityWrite { entity, collection: collection.clone(), changes, row: None };
            commit.steps.push(Step::Write(write));
            store.commit(commit).unwrap();
            let extent = store.foldable(space, entity).unwrap().extent;
            let snapshot = StoredSnapshot { hash, changes: 3, changes_bytes: 9, payload };
            NewSnapshot { entity, collection, extent, snapshot, is_from_relay }
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let unfolded = (entities(), stored()).prop_map(|(entity, changes)| Unfolded { entity, changes });
    prop_oneof![
        unfolded.prop_map(Step::Unfold),
        judged().prop_map(Step::Judge),
        writes().prop_map(Step::Write),
        any::<u64>().prop_map(|seq| Step::Acknowledge(OutboxSeq::new(seq))),
        (any::<u64>(), refusals()).prop_map(|(seq, reason)| Step::Refuse(OutboxSeq::new(seq), reason)),
        snapshots().prop_map(Step::Fold),
        asides().prop_map(Step::SetAside),
        (entities(), hashes()).prop_map(|(entity, hash)| Step::Recover(entity, hash)),
        positions().prop_map(Step::Position),
    ]
}

fn commits() -> impl Strategy<Value = Commit> {
    let durability = prop_oneof![Just(CommitDurability::Immediate), Just(CommitDurability::Deferred)];
    (any::<[u8; 16]>(), vec(steps(), 0..6), any::<u64>(), durability).prop_map(
        |(space, steps, now_ms, durability)| Commit {
            space: SpaceId::from_bytes(space),
            steps,
            now_ms,
            durability,
        },
    )
}

proptest! {
    #[test]
    fn a_commit_comes_back_from_its_bytes_as_it_was(commit in commits()) {
        // Would repeat another commit than the one that was kept.
        prop_assert_eq!(Commit::decode(&commit.encode()), Ok(commit));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_commit_and_never_a_panic(
        commit in commits(),
        (at, end) in any::<(prop::sample::Index, prop::sample::Index)>(),
        bit in 0..8_u8,
    ) {
        // Would take the program down that reads them back.
        let mut bytes = commit.encode();
        prop_assert!(Commit::decode(&bytes[..end.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _either = Commit::decode(&bytes);
    }
}

#[test]
fn another_version_and_what_follows_a_commit_are_refused() {
    // Would read what a newer program wrote as something else, or drop the half of what was kept.
    let mut bytes = Commit::new(SpaceId::from_name("home"), 1).encode();
    assert_eq!(bytes[..2], [0x82, 1]);
    bytes.push(0);
    assert!(matches!(Commit::decode(&bytes), Err(CommitDecodeError::Malformed(_))));
    bytes[1] = 2;
    assert_eq!(Commit::decode(&bytes), Err(CommitDecodeError::UnknownVersion(2)));
    let empty: [&[u8]; 3] = [&[], &[0x82], &[0xff; 40]];
    assert!(empty.iter().all(|bytes| Commit::decode(bytes).is_err()));
}
