//! The replica store as a subject: its script, and all that can be seen of it.

use headwater_storage::testing::{Dice, SimulatedDisk};
use headwater_storage::{
    Bytes, ChainHash, ChangeHash, ChangeRecord, CollectionName, Commit, CommitDurability, CommitError,
    DeviceId, Direction, EntityId, EntitySync, EntityWrite, FeedEpoch, NewChange, NewReplica, NewSnapshot,
    OpenError, Outbox, OutboxEntry, OutboxSeq, PayloadKind, Position, Refusal, ReplicaStore, Seq, SetAside,
    SpaceId, Step as Part, StoreError, StoredChange, StoredSnapshot, Unfolded, Watermark,
};

use crate::run::{Act, Subject};

pub(crate) struct Replica;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Commit(Commit),
    /// A snapshot of everything in these entities.
    Fold(SpaceId, Vec<EntityId>),
    /// Back to rows.
    Unfold(SpaceId, EntityId),
}

#[derive(Debug, PartialEq)]
pub(crate) struct State {
    device: DeviceId,
    spaces: Vec<SpaceState>,
}

#[derive(Debug, PartialEq)]
struct SpaceState {
    space: SpaceId,
    position: Position,
    collections: Vec<Collection>,
    entities: Vec<Entity>,
    outbox: Vec<OutboxEntry>,
    outbox_len: u64,
    set_aside: Vec<SetAside>,
}

/// A collection, how many rows it counts, and its rows.
type Collection = (CollectionName, u64, Vec<(EntityId, Bytes)>);

/// An entity, its collection, how it stands towards the relay, its snapshot, and its changes.
type Entity =
    (EntityId, CollectionName, Option<EntitySync>, (Option<StoredSnapshot>, usize), Vec<StoredChange>);

impl Subject for Replica {
    type Store = ReplicaStore;
    type Step = Step;
    type State = State;

    fn open(disk: SimulatedDisk) -> Result<ReplicaStore, OpenError> {
        ReplicaStore::open_backend(disk, NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 1 })
    }

    fn script(seed: u64) -> Vec<Act<Step>> {
        if seed == 0 { fixed() } else { random(&mut Dice::new(seed)) }
    }

    fn durable(step: &Step) -> bool {
        let Step::Commit(commit) = step else { return true };
        let lasts = |part: &Part| match part {
            Part::Write(write) => write.changes.iter().any(|change| change.outbox == Outbox::Queue),
            Part::Refuse(..) | Part::SetAside(_) => true,
            _ => false,
        };
        commit.durability == CommitDurability::Immediate || commit.steps.iter().any(lasts)
    }

    fn apply(store: &ReplicaStore, step: &Step) -> Result<Vec<u64>, StoreError> {
        let commit = match step {
            Step::Commit(commit) => commit.clone(),
            Step::Fold(space, entities) => fold(store, *space, entities)?,
            Step::Unfold(space, entity) => {
                let mut commit = Commit::new(*space, 1);
                let changes = store.loose_changes(*space, *entity)?;
                commit.steps.push(Part::Unfold(Unfolded { entity: *entity, changes }));
                commit
            }
        };
        match store.commit(commit) {
            Ok(committed) => Ok(committed.outbox.into_iter().map(OutboxSeq::get).collect()),
            Err(CommitError::Store(error)) => Err(error),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn further(seed: u64) -> Vec<Step> {
        let tag = seed.to_be_bytes()[7];
        let mut queued = local(1, &[(tag, tag, 30)]);
        queued.steps.push(Part::SetAside(aside(tag, 9)));
        vec![
            Step::Commit(queued),
            Step::Commit(acknowledge(1, &[1, 2, 3, 4, 5, 6, 7, 8])),
            Step::Commit(page(2, &[(tag, 1)], 100)),
            folding(1, &[tag, 1, 2]),
        ]
    }

    fn state(store: &ReplicaStore) -> Result<State, StoreError> {
        // Spaces come from memory, so a poisoned store has to be asked for something else as well.
        store.position(space(1))?;
        let spaces = store.spaces().into_iter().map(|space| space_state(store, space));
        Ok(State { device: store.device_id(), spaces: spaces.collect::<Result<_, _>>()? })
    }

    fn verify(store: &ReplicaStore, state: &State) {
        for found in &state.spaces {
            assert_eq!(found.outbox_len, found.outbox.len() as u64, "the outbox is counted wrongly");
            assert!(found.outbox.is_sorted_by(|a, b| a.seq < b.seq));
            let last = found.outbox.last().map(|entry| entry.seq);
            assert_eq!(store.outbox_last(found.space).unwrap(), last);
            for (name, count, rows) in &found.collections {
                assert_eq!(*count, rows.len() as u64, "the rows are counted wrongly");
                for (entity, row) in rows {
                    let expected = Some((name.clone(), Some(row.clone())));
                    assert_eq!(store.find(found.space, *entity).unwrap(), expected);
                }
            }
            for (entity, _, sync, _, changes) in &found.entities {
                let waiting: Vec<_> =
                    found.outbox.iter().filter(|entry| entry.record.entity == *entity).collect();
                assert_eq!(sync.map(|sync| sync.waiting), Some(waiting.len() as u32));
                for entry in waiting {
                    assert!(changes.iter().any(|change| change.hash == entry.record.hash));
                }
            }
        }
    }
}

fn space_state(store: &ReplicaStore, space: SpaceId) -> Result<SpaceState, StoreError> {
    let mut collections = Vec::new();
    for name in store.collections(space) {
        let (count, rows) = (store.count(space, &name)?, store.rows(space, &name, None, 1000)?);
        collections.push((name, count, rows));
    }
    let mut entities = Vec::new();
    for (entity, collection) in store.entities(space, None, 1000)? {
        let sync = store.entity_sync(space, entity)?;
        let stored = store.entity(space, entity)?;
        let folded = (stored.snapshot, stored.changes.len());
        entities.push((entity, collection, sync, folded, store.loose_changes(space, entity)?));
    }
    Ok(SpaceState {
        space,
        position: store.position(space)?,
        collections,
        entities,
        outbox: store.outbox(space, OutboxSeq::ZERO, 1000, 1 << 30)?,
        outbox_len: store.outbox_len(space),
        set_aside: store.set_aside(space)?,
    })
}

/// First write, local edits, a page merged with its position, acknowledgements, a refusal, changes set aside.
fn fixed() -> Vec<Act<Step>> {
    let mut refused = Commit::new(space(1), 50);
    let reason = Refusal { code: 7, message: "no write grant".to_owned() };
    refused.steps.push(Part::Refuse(OutboxSeq::new(4), reason));
    let moved = moved_to(1, local(1, &[(1, 14, 40)]));
    let mut set_aside = page(1, &[(9, 15)], 7);
    set_aside.steps.push(Part::SetAside(aside(9, 16)));
    [
        act(local(1, &[(1, 1, 20)])),
        act(local(1, &[(1, 2, 600), (2, 3, 20), (3, 4, 5000)])),
        act(page(1, &[(4, 5), (5, 6), (6, 7), (7, 8)], 4)),
        act(acknowledge(1, &[1])),
        act(acknowledge(1, &[2])),
        act(local(2, &[(1, 9, 20)])),
        act(refused),
        act(acknowledge(1, &[3])),
        Act::Reopen,
        act(page(1, &[(1, 10), (8, 11)], 6)),
        Act::Do(folding(1, &[1, 2, 4])),
        act(acknowledge(2, &[5])),
        act(moved),
        act(set_aside),
        Act::Do(folding(1, &[1, 2])),
        act(acknowledge(1, &[6])),
        Act::Do(Step::Unfold(space(1), EntityId::from_bytes([1; 16]))),
    ]
    .to_vec()
}

fn random(dice: &mut Dice) -> Vec<Act<Step>> {
    let mut queued = 0;
    let mut acts = Vec::new();
    for number in 0..8 + dice.below(25) {
        let at = 1 + dice.below(3) as u8;
        let hash = |part: u64| (number * 5 + part) as u8;
        acts.push(match dice.below(11) {
            0 if number > 0 => Act::Reopen,
            0..=2 => {
                let count = 1 + dice.below(4);
                queued += count;
                let writes: Vec<_> =
                    (0..count).map(|part| (dice.below(12) as u8, hash(part), 1 << dice.below(15))).collect();
                act(moved_to(dice.below(2) as u8, local(at, &writes)))
            }
            3 | 4 => {
                let count = 1 + dice.below(5);
                let rows: Vec<_> = (0..count).map(|part| (dice.below(12) as u8, hash(part))).collect();
                act(page(at, &rows, number))
            }
            5 | 6 => {
                let seqs: Vec<_> = (0..1 + dice.below(3)).map(|_| 1 + dice.below(queued + 1)).collect();
                act(acknowledge(at, &seqs))
            }
            7 | 8 => Act::Do(folding(at, &[dice.below(12) as u8, dice.below(12) as u8])),
            9 => Act::Do(Step::Unfold(space(at), EntityId::from_bytes([dice.below(12) as u8; 16]))),
            _ => {
                let mut commit = Commit::new(space(at), number);
                let refusal = Refusal { code: 1, message: "no".to_owned() };
                commit.steps.push(Part::Refuse(OutboxSeq::new(1 + dice.below(queued + 1)), refusal));
                commit.steps.push(Part::SetAside(aside(dice.below(12) as u8, hash(0))));
                act(commit)
            }
        });
    }
    acts
}

fn act(commit: Commit) -> Act<Step> {
    Act::Do(Step::Commit(commit))
}

fn folding(at: u8, entities: &[u8]) -> Step {
    let mut ids: Vec<_> = entities.iter().map(|entity| EntityId::from_bytes([*entity; 16])).collect();
    ids.dedup();
    Step::Fold(space(at), ids)
}

fn fold(store: &ReplicaStore, space: SpaceId, entities: &[EntityId]) -> Result<Commit, StoreError> {
    let mut commit = Commit::new(space, 1);
    for entity in entities {
        let stored = store.foldable(space, *entity)?;
        let changes = stored.snapshot.map_or(0, |snapshot| snapshot.changes) + stored.changes.len() as u64;
        if stored.changes.is_empty() {
            continue;
        }
        let snapshot = StoredSnapshot {
            hash: ChangeHash::from_bytes([9; 32]),
            changes,
            changes_bytes: 10,
            payload: Bytes::from(vec![1; changes as usize * 50]),
        };
        let (entity, collection, extent) = (*entity, collection(0), stored.extent);
        let new = NewSnapshot { entity, collection, extent, snapshot, is_from_relay: false };
        commit.steps.push(Part::Fold(new));
    }
    Ok(commit)
}

/// Local changes: entity, hash, length of the payload.
fn local(at: u8, changes: &[(u8, u8, usize)]) -> Commit {
    let mut commit = Commit::new(space(at), 10);
    for (entity, hash, len) in changes {
        commit.steps.push(write(*entity, *hash, *len, Outbox::Queue));
    }
    commit
}

/// The commit with its first write in another collection.
fn moved_to(number: u8, mut commit: Commit) -> Commit {
    if let Some(Part::Write(write)) = commit.steps.first_mut() {
        write.collection = collection(number);
    }
    commit
}

/// A page from the relay, with the position after it: entity, hash.
fn page(at: u8, changes: &[(u8, u8)], seq: u64) -> Commit {
    let mut commit = Commit::new(space(at), 20);
    for (entity, hash) in changes {
        commit.steps.push(write(*entity, *hash, 100, Outbox::Skip));
    }
    let chain = ChainHash::from_bytes([seq as u8; 32]);
    let watermark = Watermark { epoch: FeedEpoch::from_bytes([1; 16]), seq: Seq::new(seq), chain };
    let cursor = Some(Bytes::from(vec![seq as u8; 9]));
    commit.steps.push(Part::Position(Position { watermark: Some(watermark), cursor }));
    commit
}

fn acknowledge(at: u8, seqs: &[u64]) -> Commit {
    let mut commit = Commit::new(space(at), 30);
    commit.steps = seqs.iter().copied().map(OutboxSeq::new).map(Part::Acknowledge).collect();
    commit.durability = CommitDurability::Deferred;
    commit
}

fn write(entity: u8, hash: u8, len: usize, outbox: Outbox) -> Part {
    Part::Write(EntityWrite {
        entity: EntityId::from_bytes([entity; 16]),
        collection: collection(0),
        changes: vec![NewChange {
            kind: PayloadKind::Change,
            hash: ChangeHash::from_bytes([hash; 32]),
            payload: Bytes::from(vec![hash; len]),
            outbox,
        }],
        row: Some(Bytes::from(vec![hash; 40])),
    })
}

fn aside(entity: u8, hash: u8) -> SetAside {
    SetAside {
        record: ChangeRecord {
            entity: EntityId::from_bytes([entity; 16]),
            collection: collection(0),
            kind: PayloadKind::Change,
            hash: ChangeHash::from_bytes([hash; 32]),
            payload: Bytes::from_static(b"aside"),
        },
        direction: Direction::FromRelay,
        reason: Refusal { code: 3, message: "not readable".to_owned() },
        time_ms: 5,
    }
}

fn space(number: u8) -> SpaceId {
    SpaceId::from_bytes([number; 16])
}

fn collection(number: u8) -> CollectionName {
    CollectionName::new(["bags", "cups"][usize::from(number)]).unwrap()
}
