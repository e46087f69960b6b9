//! The feed store as a subject: its script, and all that can be seen of it.

use std::collections::BTreeSet;

use headwater_storage::testing::{Dice, SimulatedDisk};
use headwater_storage::{
    Append, AppendError, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityHeads, EntityId,
    FeedEntry, FeedEpoch, FeedRow, NewFeed, OpenError, PageLimit, PayloadKind, Placement, ReadError,
    RedbFeed, Seq, SpaceId, Standing, StoreError, Watermark,
};

use crate::run::{Act, Subject};

const WIDE: PageLimit = PageLimit { entries_max: 10_000, bytes_max: 1 << 30 };
const NARROW: PageLimit = PageLimit { entries_max: 3, bytes_max: 1 << 30 };

pub(crate) struct Feed;

#[derive(Debug, PartialEq)]
pub(crate) struct State(Vec<SpaceState>);

/// A space, its head, its changes, and the heads of its entities.
type SpaceState = (SpaceId, Option<Watermark>, Vec<FeedRow>, Vec<EntityHeads>);

#[derive(Clone)]
pub(crate) enum Step {
    Append(Vec<Append>),
    Read(SpaceId),
}

impl Subject for Feed {
    type Store = RedbFeed;
    type Step = Step;
    type State = State;

    fn open(disk: SimulatedDisk) -> Result<RedbFeed, OpenError> {
        RedbFeed::open_backend(disk, NewFeed { created_ms: 1 })
    }

    fn script(seed: u64) -> Vec<Act<Step>> {
        if seed == 0 { fixed() } else { random(&mut Dice::new(seed)) }
    }

    fn durable(step: &Step) -> bool {
        matches!(step, Step::Append(_))
    }

    fn apply(feed: &RedbFeed, step: &Step) -> Result<Vec<u64>, StoreError> {
        match step {
            Step::Append(appends) => match feed.append_all(appends.clone()) {
                Ok(_) => {}
                Err(AppendError::Store(error)) => return Err(error),
                Err(other) => panic!("{other:?}"),
            },
            Step::Read(space) => {
                let page = store_error(feed.read_by_seq(*space, Seq::ZERO, NARROW))?;
                store_error(feed.read_by_entity(*space, page.end.seq, None, NARROW))?;
            }
        }
        Ok(Vec::new())
    }

    fn further(seed: u64) -> Vec<Step> {
        let tag = seed.to_be_bytes()[7];
        vec![
            Step::Append(vec![append(1, &[(tag % 5, 200, &[])]), append(4, &[(tag, 201, &[])])]),
            Step::Append(vec![append(1, &[(tag % 5, 202, &[200]), (tag, 203, &[])])]),
        ]
    }

    fn state(feed: &RedbFeed) -> Result<State, StoreError> {
        let spaces = feed.spaces()?.into_iter().map(|space| {
            let rows = store_error(feed.read_by_seq(space, Seq::ZERO, WIDE))?.rows;
            Ok((space, feed.head(space)?, rows, store_error(feed.heads(space, None, 10_000))?))
        });
        Ok(State(spaces.collect::<Result<_, StoreError>>()?))
    }

    fn verify(feed: &RedbFeed, state: &State) {
        for (space, head, rows, _) in &state.0 {
            let head = head.expect("a listed space has a head");
            let mut at = Watermark::start(*space, head.epoch);
            let mut known = BTreeSet::new();
            for row in rows {
                assert_eq!(row.seq, at.seq.next(), "the seqs have a gap");
                at = at.extended(row.record.entity, row.record.hash);
                assert!(known.insert((row.record.entity, row.record.hash)), "a change is there twice");
            }
            assert_eq!(at, head, "the chain does not lead to the head");
            assert_eq!(feed.verify_chain(*space, Seq::ZERO, 10_000).unwrap(), None);
            assert_eq!(feed.check(*space, &head).unwrap(), Standing::Known);
            for base in [0, head.seq.get() / 2] {
                assert!(caught_up(feed, *space, base).eq(base + 1..=head.seq.get()), "a catch-up has gaps");
            }
            // Every change is found by its hash: offered again, it is known at its place.
            let entries = rows.iter().map(|row| FeedEntry::new(row.record.clone(), vec![])).collect();
            let offered = Append { entries, ..append_to(*space) };
            let placements = feed.append_all(vec![offered]).unwrap().remove(0);
            let placed = rows.iter().map(|row| Placement::Duplicate(row.seq));
            assert!(placements.placements().iter().cloned().eq(placed), "a stored change is not known");
        }
    }
}

/// The seqs that a catch-up by entity gives, in ascending order.
fn caught_up(feed: &RedbFeed, space: SpaceId, base: u64) -> impl Iterator<Item = u64> {
    let mut seen = Vec::new();
    let mut cursor: Option<Bytes> = None;
    loop {
        let page = feed.read_by_entity(space, Seq::new(base), cursor.as_deref(), NARROW).unwrap();
        seen.extend(page.rows.into_iter().map(|row| row.seq.get()));
        assert!(seen.len() <= 10_000, "a catch-up does not end");
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    seen.sort_unstable();
    seen.into_iter()
}

/// Appends to one and to several spaces, in one and in several transactions, with duplicates and missing dependencies.
fn fixed() -> Vec<Act<Step>> {
    [
        Act::Do(Step::Append(vec![append(1, &[(1, 1, &[])])])),
        Act::Do(Step::Append(vec![append(1, &[(1, 2, &[1]), (2, 1, &[]), (3, 3, &[])])])),
        Act::Do(Step::Append(vec![append(2, &[(1, 1, &[])]), append(1, &[(2, 4, &[1])]), append(3, &[])])),
        Act::Do(Step::Read(space(1))),
        Act::Do(Step::Append(vec![append(1, &[(1, 1, &[]), (4, 9, &[8]), (5, 60, &[])])])),
        Act::Do(Step::Append(vec![append(1, &[(1, 1, &[])])])),
        Act::Reopen,
        Act::Do(Step::Append(vec![append(2, &[(1, 5, &[1]), (1, 6, &[5]), (2, 7, &[])])])),
        Act::Do(Step::Append(vec![append(3, &[(1, 90, &[]), (1, 91, &[90]), (1, 92, &[91])])])),
        Act::Do(Step::Read(space(2))),
        Act::Do(Step::Append(vec![append(1, &[(1, 10, &[2])]), append(2, &[(2, 11, &[7])])])),
    ]
    .to_vec()
}

fn random(dice: &mut Dice) -> Vec<Act<Step>> {
    let mut acts = vec![Act::Do(Step::Append(vec![append(1, &[(0, 0, &[])])]))];
    for _ in 0..6 + dice.below(20) {
        acts.push(match dice.below(8) {
            0 => Act::Reopen,
            1 => Act::Do(Step::Read(space(1))),
            _ => Act::Do(Step::Append(
                (0..1 + dice.below(3))
                    .map(|_| {
                        let mut append = append_to(space(1 + dice.below(3) as u8));
                        for _ in 0..dice.below(6) {
                            let deps: Vec<u8> = (0..dice.below(2)).map(|_| dice.below(20) as u8).collect();
                            append.entries.push(entry(dice.below(5) as u8, dice.below(100) as u8, &deps));
                        }
                        append
                    })
                    .collect(),
            )),
        });
    }
    acts
}

fn append_to(space: SpaceId) -> Append {
    Append {
        space,
        origin: DeviceId::from_bytes([7; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 3,
        epoch_if_new: FeedEpoch::from_bytes([5; 16]),
        entries: Vec::new(),
    }
}

/// An append of changes: entity, hash, dependencies.
fn append(number: u8, changes: &[(u8, u8, &[u8])]) -> Append {
    let entries = changes.iter().map(|(entity, hash, deps)| entry(*entity, *hash, deps)).collect();
    Append { entries, ..append_to(space(number)) }
}

fn entry(entity: u8, hash: u8, deps: &[u8]) -> FeedEntry {
    let record = ChangeRecord {
        entity: EntityId::from_bytes([entity; 16]),
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes([hash; 32]),
        payload: Bytes::from(vec![hash; usize::from(hash) * 50]),
    };
    FeedEntry::new(record, deps.iter().map(|dep| ChangeHash::from_bytes([*dep; 32])).collect())
}

fn space(number: u8) -> SpaceId {
    SpaceId::from_bytes([number; 16])
}

fn store_error<T>(result: Result<T, ReadError>) -> Result<T, StoreError> {
    result.map_err(|error| match error {
        ReadError::Store(error) => error,
        other => panic!("{other:?}"),
    })
}
