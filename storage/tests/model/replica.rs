//! The replica store against maps.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use headwater_storage::{
    Bytes, ChainHash, ChangeHash, ChangeRecord, CollectionName, Commit, CommitDurability, Direction,
    EntityId, EntitySync, EntityWrite, FeedEpoch, NewChange, NewSnapshot, Outbox, OutboxEntry, OutboxSeq,
    PayloadKind, Position, Refusal, ReplicaStore, Seq, SetAside, SpaceId, Step as Part, StoredChange,
    StoredSnapshot, Unfolded, Watermark,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::Place;

pub(crate) struct ReplicaModel<P>(PhantomData<P>);

pub(crate) struct Reference;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Commit(Commit),
    Reopen,
    /// Read an entity to make a snapshot of it.
    Look(SpaceId, EntityId),
    /// Store the snapshot of what was read last.
    Fold,
    Unfold(SpaceId, EntityId),
}

/// The oracle. `outbox` is of all spaces: seq -> space, entity, collection, number of the change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Maps {
    spaces: BTreeMap<SpaceId, SpaceMaps>,
    outbox: BTreeMap<u64, (SpaceId, EntityId, CollectionName, usize)>,
    last: u64,
    committed: Vec<OutboxSeq>,
    looked: Option<Looked>,
    /// Whether the last step stored a snapshot.
    folded: bool,
}

/// What was read for a snapshot: where its predecessor ended, where it ends, and how often the entity was unfolded before.
#[derive(Debug, Clone)]
struct Looked {
    space: SpaceId,
    entity: EntityId,
    collection: CollectionName,
    from: usize,
    to: usize,
    unfolded: usize,
}

#[derive(Debug, Clone, Default)]
struct SpaceMaps {
    position: Position,
    collections: BTreeSet<CollectionName>,
    entities: BTreeMap<EntityId, Entity>,
    rows: BTreeMap<(CollectionName, EntityId), Bytes>,
    set_aside: BTreeMap<(EntityId, ChangeHash), SetAside>,
}

#[derive(Debug, Clone)]
struct Entity {
    collection: CollectionName,
    /// All of them, those for which the snapshot stands included.
    changes: Vec<StoredChange>,
    synced_ms: u64,
    snapshot: Option<StoredSnapshot>,
    /// How many the snapshot stands for.
    base: usize,
    unfolded: usize,
}

impl Entity {
    fn new(collection: CollectionName) -> Entity {
        Entity { collection, changes: Vec::new(), synced_ms: 0, snapshot: None, base: 0, unfolded: 0 }
    }
}

fn snapshot_of(changes: usize) -> StoredSnapshot {
    StoredSnapshot {
        hash: ChangeHash::from_bytes([7; 32]),
        changes: changes as u64,
        changes_bytes: 9,
        payload: Bytes::from(vec![1; changes]),
    }
}

impl Maps {
    fn look(&mut self, space: SpaceId, id: EntityId) {
        self.looked =
            self.spaces.get(&space).and_then(|space| space.entities.get(&id)).map(|entity| Looked {
                space,
                entity: id,
                collection: entity.collection.clone(),
                from: entity.base,
                to: entity.changes.len(),
                unfolded: entity.unfolded,
            });
    }

    fn fold(&mut self) {
        self.folded = false;
        let Some(looked) = self.looked.take() else { return };
        let space = self.spaces.get_mut(&looked.space).unwrap();
        let entity = space.entities.get_mut(&looked.entity).unwrap();
        if entity.base == looked.from && entity.unfolded == looked.unfolded {
            (entity.base, entity.snapshot) = (looked.to, Some(snapshot_of(looked.to)));
            self.folded = true;
        }
    }

    fn unfold(&mut self, space: SpaceId, id: EntityId) {
        if let Some(entity) = self.spaces.get_mut(&space).and_then(|space| space.entities.get_mut(&id)) {
            // Nothing that could tell has changed if there was nothing to unfold.
            entity.unfolded += usize::from(entity.base > 0);
            (entity.base, entity.snapshot) = (0, None);
        }
    }

    fn commit(&mut self, commit: &Commit) {
        self.committed.clear();
        self.spaces.entry(commit.space).or_default();
        for part in &commit.steps {
            match part {
                Part::Write(write) => self.write(commit, write),
                Part::Acknowledge(seq) => {
                    if let Some((entity, _)) = self.leave(commit.space, *seq) {
                        let space = self.space(commit);
                        space.entities.get_mut(&entity).unwrap().synced_ms = commit.now_ms;
                    }
                }
                Part::Refuse(seq, reason) => {
                    if let Some((entity, record)) = self.leave(commit.space, *seq) {
                        let key = (entity, record.hash);
                        let (direction, reason, time_ms) =
                            (Direction::Refused, reason.clone(), commit.now_ms);
                        let aside = SetAside { record, direction, reason, time_ms };
                        self.space(commit).set_aside.insert(key, aside);
                    }
                }
                Part::SetAside(aside) => {
                    let key = (aside.record.entity, aside.record.hash);
                    self.space(commit).set_aside.insert(key, aside.clone());
                }
                Part::Recover(entity, hash) => {
                    self.space(commit).set_aside.remove(&(*entity, *hash));
                }
                Part::Position(position) => self.space(commit).position = position.clone(),
                other => panic!("{other:?} is not made here"),
            }
        }
    }

    fn space(&mut self, commit: &Commit) -> &mut SpaceMaps {
        self.spaces.get_mut(&commit.space).unwrap()
    }

    fn write(&mut self, commit: &Commit, write: &EntityWrite) {
        let space = self.spaces.get_mut(&commit.space).unwrap();
        space.collections.insert(write.collection.clone());
        let entity =
            space.entities.entry(write.entity).or_insert_with(|| Entity::new(write.collection.clone()));
        for change in &write.changes {
            match change.outbox {
                Outbox::Queue => {
                    self.last += 1;
                    let place = (commit.space, write.entity, write.collection.clone(), entity.changes.len());
                    self.outbox.insert(self.last, place);
                    self.committed.push(OutboxSeq::new(self.last));
                }
                Outbox::Skip => entity.synced_ms = commit.now_ms,
            }
            let (kind, hash, payload) = (change.kind, change.hash, change.payload.clone());
            entity.changes.push(StoredChange { kind, hash, payload });
        }
        if let Some(row) = &write.row {
            space.rows.remove(&(entity.collection.clone(), write.entity));
            entity.collection = write.collection.clone();
            space.rows.insert((write.collection.clone(), write.entity), row.clone());
        }
    }

    fn leave(&mut self, space: SpaceId, seq: OutboxSeq) -> Option<(EntityId, ChangeRecord)> {
        if self.outbox.get(&seq.get())?.0 != space {
            return None;
        }
        let entry = self.entry(seq.get());
        self.outbox.remove(&seq.get());
        Some((entry.record.entity, entry.record))
    }

    fn entry(&self, seq: u64) -> OutboxEntry {
        let (space, entity, collection, number) = self.outbox[&seq].clone();
        let StoredChange { kind, hash, payload } =
            self.spaces[&space].entities[&entity].changes[number].clone();
        let record = ChangeRecord { entity, collection, kind, hash, payload };
        OutboxEntry { seq: OutboxSeq::new(seq), record }
    }
}

impl ReferenceStateMachine for Reference {
    type State = Maps;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Maps> {
        Just(Maps::default()).boxed()
    }

    fn transitions(maps: &Maps) -> BoxedStrategy<Step> {
        let look = (spaces(), entities()).prop_map(|(space, entity)| Step::Look(space, entity));
        let maps = maps.clone();
        let last = maps.last;
        // The outbox of an entity that goes back to rows is told apart by hashes, which these random changes may share.
        let unfold = (spaces(), entities()).prop_map(move |(space, entity)| {
            let known = maps.spaces.get(&space).and_then(|space| space.entities.get(&entity));
            let is_clear = known.is_some_and(|entity| {
                let hashes: BTreeSet<_> = entity.changes.iter().map(|change| change.hash).collect();
                hashes.len() == entity.changes.len()
            });
            if is_clear { Step::Unfold(space, entity) } else { Step::Reopen }
        });
        prop_oneof![
            9 => commits(last).prop_map(Step::Commit),
            1 => Just(Step::Reopen),
            4 => look,
            4 => Just(Step::Fold),
            1 => unfold
        ]
        .boxed()
    }

    fn apply(mut maps: Maps, step: &Step) -> Maps {
        match step {
            Step::Commit(commit) => maps.commit(commit),
            Step::Reopen => {}
            Step::Look(space, entity) => maps.look(*space, *entity),
            Step::Fold => maps.fold(),
            Step::Unfold(space, entity) => maps.unfold(*space, *entity),
        }
        maps
    }
}

impl<P: Place<ReplicaStore>> StateMachineTest for ReplicaModel<P> {
    type SystemUnderTest = (P, Option<ReplicaStore>, Option<(SpaceId, NewSnapshot)>);
    type Reference = Reference;

    fn init_test(_: &Maps) -> Self::SystemUnderTest {
        let place = P::make();
        let store = place.open();
        (place, Some(store), None)
    }

    fn apply(
        (place, store, looked): Self::SystemUnderTest,
        maps: &Maps,
        step: Step,
    ) -> Self::SystemUnderTest {
        match step {
            Step::Commit(commit) => {
                let committed = store.as_ref().unwrap().commit(commit).unwrap();
                assert_eq!(committed.outbox, maps.committed);
                (place, store, looked)
            }
            Step::Reopen => {
                drop(store);
                let store = place.open();
                (place, Some(store), looked)
            }
            Step::Look(space, entity) => {
                let stored = store.as_ref().unwrap().foldable(space, entity).unwrap();
                let before = stored.snapshot.map_or(0, |snapshot| snapshot.changes as usize);
                let snapshot = snapshot_of(before + stored.changes.len());
                let looked = maps.looked.as_ref().map(|looked| {
                    let (collection, extent) = (looked.collection.clone(), stored.extent);
                    (space, NewSnapshot { entity, collection, extent, snapshot, is_from_relay: false })
                });
                (place, store, looked)
            }
            Step::Fold => {
                if let Some((space, new)) = looked {
                    let mut commit = Commit::new(space, 1);
                    commit.steps.push(Part::Fold(new));
                    let folded = store.as_ref().unwrap().commit(commit).unwrap().folded;
                    assert_eq!(!folded.is_empty(), maps.folded);
                }
                (place, store, None)
            }
            Step::Unfold(space, entity) => {
                let changes = maps.spaces[&space].entities[&entity].changes.clone();
                let mut commit = Commit::new(space, 1);
                commit.steps.push(Part::Unfold(Unfolded { entity, changes }));
                store.as_ref().unwrap().commit(commit).unwrap();
                (place, store, looked)
            }
        }
    }

    fn check_invariants((_, store, _): &Self::SystemUnderTest, maps: &Maps) {
        let store = store.as_ref().unwrap();
        assert!(store.spaces().into_iter().eq(maps.spaces.keys().copied()));
        for (space, expected) in &maps.spaces {
            check_space(store, maps, *space, expected);
        }
    }
}

fn check_space(store: &ReplicaStore, maps: &Maps, space: SpaceId, expected: &SpaceMaps) {
    assert_eq!(store.position(space).unwrap(), expected.position);
    assert!(store.collections(space).iter().eq(&expected.collections));
    for collection in &expected.collections {
        let rows: Vec<_> = expected
            .rows
            .iter()
            .filter(|((of, _), _)| of == collection)
            .map(|((_, entity), row)| (*entity, row.clone()))
            .collect();
        assert_eq!(store.count(space, collection).unwrap(), rows.len() as u64);
        assert_eq!(store.rows(space, collection, None, 1000).unwrap(), rows);
        if let Some((first, _)) = rows.first() {
            assert_eq!(store.rows(space, collection, Some(*first), 2).unwrap(), rows[1..rows.len().min(3)]);
        }
    }
    let entities: Vec<_> =
        expected.entities.iter().map(|(id, entity)| (*id, entity.collection.clone())).collect();
    assert_eq!(store.entities(space, None, 1000).unwrap(), entities);
    let waiting: Vec<_> =
        maps.outbox.iter().filter(|(_, place)| place.0 == space).map(|(seq, _)| maps.entry(*seq)).collect();
    for (id, entity) in &expected.entities {
        let Entity { collection, changes, synced_ms, snapshot, base, .. } = entity;
        let stored = store.entity(space, *id).unwrap();
        assert_eq!(stored.changes, changes[*base..]);
        assert_eq!(stored.snapshot, *snapshot);
        let waits = |number: usize| {
            maps.outbox.values().any(|place| place.0 == space && place.1 == *id && place.3 == number)
        };
        let loose = changes.iter().enumerate().filter(|(number, _)| number >= base || waits(*number));
        assert!(store.loose_changes(space, *id).unwrap().iter().eq(loose.map(|(_, change)| change)));
        let row = expected.rows.get(&(collection.clone(), *id)).cloned();
        assert_eq!(store.row(space, collection, *id).unwrap(), row);
        assert_eq!(store.find(space, *id).unwrap(), Some((collection.clone(), row)));
        let count = waiting.iter().filter(|entry| entry.record.entity == *id).count() as u32;
        let sync = EntitySync { waiting: count, synced_ms: (*synced_ms != 0).then_some(*synced_ms) };
        assert_eq!(store.entity_sync(space, *id).unwrap(), Some(sync));
    }
    assert_eq!(store.outbox(space, OutboxSeq::ZERO, 1000, 1 << 30).unwrap(), waiting);
    assert_eq!(store.outbox_len(space), waiting.len() as u64);
    assert_eq!(store.outbox_last(space).unwrap(), waiting.last().map(|entry| entry.seq));
    let with_outbox: BTreeSet<_> = waiting.iter().map(|entry| entry.record.entity).collect();
    assert_eq!(store.outbox_entities(space).unwrap(), with_outbox);
    for seq in 1..=maps.last {
        let waits = maps.outbox.get(&seq).is_some_and(|place| place.0 == space);
        assert_eq!(store.outbox_contains(space, OutboxSeq::new(seq)).unwrap(), waits);
    }
    assert!(store.set_aside(space).unwrap().iter().eq(expected.set_aside.values()));
}

fn commits(last: u64) -> impl Strategy<Value = Commit> {
    let seq = move || (1..=last + 2).prop_map(OutboxSeq::new);
    let refused = (seq(), any::<u16>())
        .prop_map(|(seq, code)| (seq, Refusal { code, message: format!("refused with {code}") }));
    let recovered = (entities(), hashes()).prop_map(|(entity, hash)| Part::Recover(entity, hash));
    // Writes as often as all others together, and runs of one kind as often as not.
    let part = prop_oneof![
        4 => writes().prop_map(Part::Write),
        2 => seq().prop_map(Part::Acknowledge),
        1 => refused.prop_map(|(seq, reason)| Part::Refuse(seq, reason)),
        1 => asides().prop_map(Part::SetAside),
        1 => recovered,
        1 => positions().prop_map(Part::Position),
    ];
    let durability = prop_oneof![Just(CommitDurability::Immediate), Just(CommitDurability::Deferred)];
    (spaces(), vec(part, 0..8), 0..1000_u64, durability)
        .prop_map(|(space, steps, now_ms, durability)| Commit { space, steps, now_ms, durability })
}

fn hashes() -> impl Strategy<Value = ChangeHash> {
    (0..4_u8).prop_map(|hash| ChangeHash::from_bytes([hash; 32]))
}

fn writes() -> impl Strategy<Value = EntityWrite> {
    let outbox = prop_oneof![Just(Outbox::Queue), Just(Outbox::Skip)];
    let change = (any::<u8>(), kinds(), payloads(), outbox).prop_map(|(hash, kind, payload, outbox)| {
        NewChange { kind, hash: ChangeHash::from_bytes([hash; 32]), payload, outbox }
    });
    (entities(), names(), vec(change, 0..3), option::of(payloads()))
        .prop_map(|(entity, collection, changes, row)| EntityWrite { entity, collection, changes, row })
}

fn asides() -> impl Strategy<Value = SetAside> {
    (entities(), names(), hashes(), kinds(), payloads(), any::<u16>()).prop_map(
        |(entity, collection, hash, kind, payload, code)| SetAside {
            record: ChangeRecord { entity, collection, kind, hash, payload },
            direction: Direction::FromRelay,
            reason: Refusal { code, message: "not readable".to_owned() },
            time_ms: u64::from(code),
        },
    )
}

fn positions() -> impl Strategy<Value = Position> {
    let watermark = (any::<u8>(), any::<u64>()).prop_map(|(byte, seq)| Watermark {
        epoch: FeedEpoch::from_bytes([byte; 16]),
        seq: Seq::new(seq),
        chain: ChainHash::from_bytes([byte; 32]),
    });
    let cursor = vec(any::<u8>(), 0..=Position::CURSOR_LEN_MAX).prop_map(Bytes::from);
    (option::of(watermark), option::of(cursor)).prop_map(|(watermark, cursor)| Position { watermark, cursor })
}

fn spaces() -> impl Strategy<Value = SpaceId> {
    (1..4_u8).prop_map(|space| SpaceId::from_bytes([space; 16]))
}

fn entities() -> impl Strategy<Value = EntityId> {
    prop_oneof![Just(0_u8), 1..5_u8, Just(0xff)].prop_map(|byte| EntityId::from_bytes([byte; 16]))
}

fn names() -> impl Strategy<Value = CollectionName> {
    prop_oneof![Just("bags"), Just("cups"), Just("b")].prop_map(|name| CollectionName::new(name).unwrap())
}

fn kinds() -> impl Strategy<Value = PayloadKind> {
    prop_oneof![Just(PayloadKind::Change), Just(PayloadKind::Snapshot)]
}

fn payloads() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}
