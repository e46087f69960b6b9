//! The feed store against one list per space.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use headwater_storage::{
    Append, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEntry, FeedEpoch,
    FeedRow, FeedStore, PageLimit, PayloadKind, Placement, ReadError, Seq, SpaceId, Standing, Watermark,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use tokio::runtime::{Builder, Runtime};

use crate::Place;

pub(crate) struct FeedModel<P>(PhantomData<P>);

pub(crate) struct Reference;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Appends that go into one transaction.
    Append(Vec<Append>),
    /// The next page of the catch-up that is going on; the first one of a new one from `base` otherwise.
    CatchUp {
        space: SpaceId,
        base: u64,
        limit: PageLimit,
    },
    Reopen,
}

/// The oracle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
    spaces: BTreeMap<SpaceId, List>,
    placements: Vec<Vec<Placement>>,
}

#[derive(Debug, Clone)]
struct List {
    epoch: FeedEpoch,
    rows: Vec<FeedRow>,
    /// What the changes at the same places depend on.
    deps: Vec<Vec<ChangeHash>>,
}

pub(crate) struct UnderTest<P> {
    store: Option<FeedStore>,
    place: P,
    runtime: Runtime,
    catch_up: Option<CatchUp>,
}

struct CatchUp {
    space: SpaceId,
    base: u64,
    /// The length of the feed when it began.
    began: u64,
    cursor: Bytes,
    seen: BTreeSet<u64>,
}

impl List {
    fn at(&self, entity: EntityId, hash: ChangeHash) -> Option<usize> {
        self.rows.iter().position(|row| row.record.entity == entity && row.record.hash == hash)
    }

    fn offer(&mut self, origin: DeviceId, entry: &FeedEntry) -> Placement {
        let entity = entry.record.entity;
        if let Some(place) = self.at(entity, entry.record.hash) {
            return Placement::Duplicate(Seq::new(place as u64 + 1));
        }
        if let Some(first) = self.of(entity).next()
            && first.record.collection != entry.record.collection
        {
            return Placement::OtherCollection(first.record.collection.clone());
        }
        let missing: Vec<_> =
            entry.deps.iter().copied().filter(|dep| self.at(entity, *dep).is_none()).collect();
        if !missing.is_empty() {
            return Placement::MissingDeps(missing);
        }
        let seq = Seq::new(self.rows.len() as u64 + 1);
        self.rows.push(FeedRow { seq, origin, record: entry.record.clone() });
        self.deps.push(entry.deps.clone());
        Placement::Accepted(seq)
    }

    fn watermark(&self, space: SpaceId, seq: usize) -> Watermark {
        let start = Watermark::start(space, self.epoch);
        self.rows[..seq].iter().fold(start, |at, row| at.extended(row.record.entity, row.record.hash))
    }

    fn of(&self, entity: EntityId) -> impl Iterator<Item = &FeedRow> {
        self.rows.iter().filter(move |row| row.record.entity == entity)
    }

    fn heads(&self, entity: EntityId) -> Vec<ChangeHash> {
        let mut heads = BTreeSet::new();
        for (row, deps) in self.rows.iter().zip(&self.deps) {
            if row.record.entity == entity {
                deps.iter().for_each(|dep| {
                    heads.remove(dep);
                });
                heads.insert(row.record.hash);
            }
        }
        heads.into_iter().collect()
    }
}

impl ReferenceStateMachine for Reference {
    type State = Lists;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Lists> {
        Just(Lists::default()).boxed()
    }

    fn transitions(_: &Lists) -> BoxedStrategy<Step> {
        let catch_up = (spaces(), 0..12_u64, limits()).prop_map(|(space, base, limit)| Step::CatchUp {
            space,
            base,
            limit,
        });
        prop_oneof![6 => vec(appends(), 1..4).prop_map(Step::Append), 6 => catch_up, 1 => Just(Step::Reopen)]
            .boxed()
    }

    fn apply(mut lists: Lists, step: &Step) -> Lists {
        if let Step::Append(appends) = step {
            lists.placements.clear();
            for append in appends {
                let new = || List { epoch: append.epoch_if_new, rows: Vec::new(), deps: Vec::new() };
                let list = lists.spaces.entry(append.space).or_insert_with(new);
                let placed = append.entries.iter().map(|entry| list.offer(append.origin, entry));
                lists.placements.push(placed.collect());
            }
        }
        lists
    }
}

impl<P: Place<FeedStore>> StateMachineTest for FeedModel<P> {
    type SystemUnderTest = UnderTest<P>;
    type Reference = Reference;

    fn init_test(_: &Lists) -> UnderTest<P> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let place = P::make();
        let store = Some(place.open());
        UnderTest { store, place, runtime, catch_up: None }
    }

    fn apply(mut under: UnderTest<P>, lists: &Lists, step: Step) -> UnderTest<P> {
        let store = under.store.clone().unwrap();
        match step {
            Step::Append(appends) => {
                let appended = under.runtime.block_on(store.append_all(appends)).unwrap();
                let placements: Vec<_> = appended.iter().map(|one| one.placements().to_vec()).collect();
                assert_eq!(placements, lists.placements);
            }
            Step::CatchUp { space, base, limit } => {
                under.catch_up = under.runtime.block_on(next_page(
                    &store,
                    lists,
                    under.catch_up.take(),
                    (space, base, limit),
                ));
            }
            Step::Reopen => {
                under.store = None;
                drop(store);
                under.store = Some(under.place.open());
            }
        }
        under
    }

    fn check_invariants(under: &UnderTest<P>, lists: &Lists) {
        under.runtime.block_on(check(under.store.as_ref().unwrap(), lists));
    }
}

/// Reads the next page of a catch-up. It has to give everything after its base by the time it ends, whatever was appended
/// meanwhile.
async fn next_page(
    store: &FeedStore,
    lists: &Lists,
    going_on: Option<CatchUp>,
    (space, base, limit): (SpaceId, u64, PageLimit),
) -> Option<CatchUp> {
    let (space, base, began, cursor, mut seen) = match going_on {
        Some(on) => (on.space, on.base, on.began, Some(on.cursor), on.seen),
        None => {
            let len = lists.spaces.get(&space).map_or(0, |list| list.rows.len() as u64);
            (space, base.min(len), len, None, BTreeSet::new())
        }
    };
    let Some(list) = lists.spaces.get(&space) else {
        let page = store.read_by_entity(space, Seq::new(base), None, limit).await;
        assert!(matches!(page, Err(ReadError::NoSuchSpace { .. })));
        return None;
    };
    let page = store.read_by_entity(space, Seq::new(base), cursor.as_deref(), limit).await.unwrap();
    assert!(page.rows.len() <= limit.entries_max);
    for row in page.rows {
        assert!(row.seq.get() > base, "a change from before the base");
        assert_eq!(row, list.rows[row.seq.get() as usize - 1]);
        let moved = list.of(row.record.entity).any(|other| other.seq.get() > began);
        assert!(
            seen.insert(row.seq.get()) || moved,
            "given twice, though its entity had no change meanwhile"
        );
    }
    let Some(cursor) = page.cursor else {
        assert_eq!(page.end, Some(page.head));
        assert_eq!(page.head, list.watermark(space, list.rows.len()));
        assert!(
            seen.into_iter().eq(base + 1..=page.head.seq.get()),
            "a finished catch-up left something out"
        );
        return None;
    };
    assert_eq!(page.end, None);
    Some(CatchUp { space, base, began, cursor, seen })
}

async fn check(store: &FeedStore, lists: &Lists) {
    assert!(store.spaces().await.unwrap().into_iter().eq(lists.spaces.keys().copied()));
    for (space, list) in &lists.spaces {
        let head = list.watermark(*space, list.rows.len());
        assert_eq!(store.head(*space).await.unwrap(), Some(head));
        let half = list.rows.len() / 2;
        let mut known = list.watermark(*space, half);
        assert_eq!(store.check(*space, &known).await.unwrap(), Standing::Known);
        if half > 0 {
            let forked = Watermark { chain: list.watermark(*space, 0).chain, ..known };
            assert_eq!(store.check(*space, &forked).await.unwrap(), Standing::Diverged);
        }
        known.epoch = FeedEpoch::from_bytes([0xee; 16]);
        assert_eq!(store.check(*space, &known).await.unwrap(), Standing::Diverged);

        let limit = PageLimit { entries_max: 4, bytes_max: 60 };
        let (mut after, mut rows) = (Seq::new(half as u64), Vec::new());
        loop {
            let page = store.read_by_seq(*space, after, limit).await.unwrap();
            assert_eq!(page.head, head);
            rows.extend(page.rows);
            after = page.end.seq;
            assert_eq!(page.end, list.watermark(*space, after.get() as usize));
            if page.end == page.head {
                break;
            }
        }
        assert_eq!(rows, list.rows[half..]);

        let entities: BTreeSet<_> = list.rows.iter().map(|row| row.record.entity).collect();
        let found = store.heads(*space, None, 1000).await.unwrap();
        assert!(found.iter().map(|known| known.entity).eq(entities));
        for known in found {
            assert_eq!(known.heads, list.heads(known.entity));
            assert_eq!(
                Some(&known.collection),
                list.of(known.entity).last().map(|row| &row.record.collection)
            );
            let wide = PageLimit { entries_max: 1000, bytes_max: 1 << 30 };
            let page = store.read_entity(*space, known.entity, Seq::new(half as u64), wide).await.unwrap();
            assert!(page.rows.iter().eq(list.of(known.entity).filter(|row| row.seq.get() > half as u64)));
        }
    }
}

fn appends() -> impl Strategy<Value = Append> {
    (spaces(), 1..4_u8, 1..4_u8, vec(entries(), 0..5)).prop_map(|(space, origin, epoch, entries)| Append {
        space,
        origin: DeviceId::from_bytes([origin; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 1,
        epoch_if_new: FeedEpoch::from_bytes([epoch; 16]),
        entries,
    })
}

fn entries() -> impl Strategy<Value = FeedEntry> {
    let names = prop_oneof![Just("bags"), Just("cups")];
    let hash = || (0..16_u8).prop_map(|byte| ChangeHash::from_bytes([byte; 32]));
    let payload = vec(any::<u8>(), 0..30).prop_map(Bytes::from);
    (0..4_u8, names, hash(), payload, vec(hash(), 0..2)).prop_map(|(entity, name, hash, payload, deps)| {
        let record = ChangeRecord {
            entity: EntityId::from_bytes([entity; 16]),
            collection: CollectionName::new(name).unwrap(),
            kind: PayloadKind::Change,
            hash,
            payload,
        };
        FeedEntry::new(record, deps)
    })
}

fn spaces() -> impl Strategy<Value = SpaceId> {
    (1..4_u8).prop_map(|byte| SpaceId::from_bytes([byte; 16]))
}

fn limits() -> impl Strategy<Value = PageLimit> {
    (1..6_usize, 1..80_usize).prop_map(|(entries_max, bytes_max)| PageLimit { entries_max, bytes_max })
}
