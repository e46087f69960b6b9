//! What the relay keeps of an entity beside its rows, for those who come later.

use std::path::Path;
use std::time::Instant;

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Automerge, Change, ChangeHash as Hash, ROOT, ReadDoc};
use bytes::Bytes;
use headwater::ingest::{Chunk, Verdict};
use headwater::wire::{AckResult, Frame};
use headwater::{ChangeHash, DynamicCollection, EntityId, Map, Replica, SyncOptions, Value};
use headwater_relay::Config;
use headwater_relay::admin::{self, Reply, Request};
use headwater_storage::{
    Append, ChangeRecord, CollectionName, DeviceId, FeedEntry, FeedEpoch, FeedSnapshot, FeedStore, Judgement,
    PageLimit, PayloadKind, Refusal, Seq, WriterLimits,
};
use redb::{Database, ReadableTable, TableDefinition};

use crate::raw::Raw;
use crate::running::{PATIENCE, Relay, SPACE, assert_equal, open_feed, space, sync};
use crate::sniffer::{From, Sniffer};

/// As in `storage/src/feed/redb/tables.rs`: the payload comes last.
const SNAPSHOTS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("snapshots_v1");
/// From there on an entity has a snapshot, in bytes of its changes.
const SNAPSHOT_BYTES_MIN: u64 = 16 << 10;

/// A relay with its socket for whoever runs it, and the store that it works on.
async fn start(folder: &Path) -> (Relay, FeedStore) {
    let mut store = None;
    let relay = Relay::start_with(folder, |config| {
        config.admin_socket = Some(folder.join(admin::SOCKET));
        store = Some(config.store.clone());
    })
    .await;
    (relay, store.unwrap())
}

/// Waits until the relay has examined everything that its feed has.
async fn examined(store: &FeedStore) {
    let deadline = Instant::now() + PATIENCE;
    while store.progress(space(), "examiner").await.unwrap() < store.head(space()).await.unwrap().unwrap().seq
    {
        assert!(Instant::now() < deadline, "never examined");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Edits until the changes of the entity have grown by as many bytes.
fn grow(replica: &Replica, bags: &DynamicCollection, id: EntityId, bytes: u64) {
    let until = bytes_of(replica, id) + bytes;
    let mut rating = 0;
    while bytes_of(replica, id) < until {
        for _ in 0..20 {
            rating += 1;
            bags.set(id, Map::from([("rating".into(), Value::Int(rating))])).unwrap();
        }
    }
}

fn bytes_of(replica: &Replica, id: EntityId) -> u64 {
    replica.entity_changes(space(), id).unwrap().iter().map(|(_, payload)| payload.len() as u64).sum()
}

/// The snapshot, which has to be all that the feed has of the entity up to some change.
async fn checked(store: &FeedStore, id: EntityId) -> FeedSnapshot {
    let snapshot = store.snapshot(space(), id).await.unwrap().unwrap();
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let rows = store.read_entity(space(), id, Seq::ZERO, limit).await.unwrap().rows;
    let covered: Vec<&ChangeRecord> = rows
        .iter()
        .filter(|row| row.seq <= snapshot.covers && row.record.kind == PayloadKind::Change)
        .map(|row| &row.record)
        .collect();
    assert_eq!(snapshot.changes, covered.len() as u64);
    assert_eq!(snapshot.changes_bytes, covered.iter().map(|record| record.payload.len() as u64).sum::<u64>());
    assert_eq!(snapshot.hash, Chunk::single(&snapshot.payload).unwrap().hash());
    let loaded = Automerge::load(&snapshot.payload).unwrap();
    assert_eq!(loaded.get_changes(&[]).len(), covered.len());
    for record in covered {
        assert!(loaded.get_change_by_hash(&Hash(*record.hash.as_bytes())).is_some(), "{}", record.hash);
    }
    snapshot
}

/// A change of an author whom no replica knows.
fn stranger(replica: &Replica, id: EntityId, name: &str) -> Change {
    let changes = replica.entity_changes(space(), id).unwrap();
    let changes = changes.into_iter().map(|(_, payload)| Change::from_bytes(payload.to_vec()).unwrap());
    let mut copy = AutoCommit::new().with_actor(ActorId::from(&[9; 16][..]));
    copy.apply_changes(changes).unwrap();
    copy.put(ROOT, "name", name).unwrap();
    copy.get_last_local_change().unwrap()
}

fn record(entity: EntityId, change: &Change) -> ChangeRecord {
    ChangeRecord {
        entity,
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes(change.hash().0),
        payload: Bytes::copy_from_slice(change.raw_bytes()),
    }
}

async fn push(relay: &Relay, record: ChangeRecord) {
    let taken = Raw::pushing(relay).await.push(1, vec![record]).await;
    assert!(matches!(taken[..], [AckResult::Accepted(_)]), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_gets_a_snapshot_whenever_it_has_grown_enough() {
    // Would make every new device load all changes that there ever were; or write the whole entity for each of them.
    let directory = tempfile::tempdir().unwrap();
    let (relay, store) = start(directory.path()).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let [large, small] =
        ["Guji", "Kochere"].map(|name| bags.insert(Map::from([("name".into(), name.into())])).unwrap().id);
    grow(&a, &bags, large, SNAPSHOT_BYTES_MIN);
    grow(&a, &bags, small, SNAPSHOT_BYTES_MIN / 2);
    sync(&a, &relay).await;
    examined(&store).await;
    let first = checked(&store, large).await;
    assert_eq!(first.covers, store.entity(space(), large).await.unwrap().unwrap().0);
    assert_eq!(first.changes_bytes, bytes_of(&a, large));
    assert!((first.payload.len() as u64) < first.changes_bytes);
    assert_eq!(store.snapshot(space(), small).await.unwrap(), None);

    grow(&a, &bags, large, SNAPSHOT_BYTES_MIN / 2);
    sync(&a, &relay).await;
    examined(&store).await;
    assert_eq!(checked(&store, large).await, first, "it has not grown enough");
    grow(&a, &bags, large, SNAPSHOT_BYTES_MIN / 2);
    grow(&a, &bags, small, SNAPSHOT_BYTES_MIN / 2);
    sync(&a, &relay).await;
    examined(&store).await;
    assert_eq!(checked(&store, large).await.changes_bytes, bytes_of(&a, large));
    assert_eq!(checked(&store, small).await.changes_bytes, bytes_of(&a, small));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_snapshot_is_written_again_only_after_as_much_growth() {
    // Would write the whole entity again and again where it is large, many times what came in.
    let directory = tempfile::tempdir().unwrap();
    let (relay, store) = start(directory.path()).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let bag = bags.insert(Map::from([("name".into(), "Guji".into())])).unwrap().id;
    // Text that cannot be made shorter, so that the snapshot is as large as the changes.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut notes = || -> String {
        std::iter::repeat_with(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            char::from(b'!' + (random >> 40) as u8 % 90)
        })
        .take(1_800)
        .collect()
    };
    for number in 0..40 {
        bags.set(bag, Map::from([(format!("notes{number}"), notes().into())])).unwrap();
    }
    sync(&a, &relay).await;
    examined(&store).await;
    let first = checked(&store, bag).await;
    assert!(first.payload.len() as u64 > 3 * SNAPSHOT_BYTES_MIN);
    grow(&a, &bags, bag, SNAPSHOT_BYTES_MIN + SNAPSHOT_BYTES_MIN / 2);
    sync(&a, &relay).await;
    examined(&store).await;
    assert_eq!(checked(&store, bag).await, first);
    grow(&a, &bags, bag, first.payload.len() as u64);
    sync(&a, &relay).await;
    examined(&store).await;
    assert_eq!(checked(&store, bag).await.changes_bytes, bytes_of(&a, bag));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_with_a_harmful_change_has_no_snapshot() {
    // Would give a change that everybody leaves out to new devices, which could not tell it from the others.
    let directory = tempfile::tempdir().unwrap();
    let (relay, store) = start(directory.path()).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let bag = bags.insert(Map::from([("name".into(), "Guji".into())])).unwrap().id;
    grow(&a, &bags, bag, SNAPSHOT_BYTES_MIN);
    sync(&a, &relay).await;
    examined(&store).await;
    checked(&store, bag).await;
    // Its operations are numbered as if nothing had been there before.
    let mut poison = stranger(&a, bag, "poison").decode();
    poison.start_op = std::num::NonZeroU64::MIN;
    poison.hash = None;
    push(&relay, record(bag, &Change::from(poison))).await;
    examined(&store).await;
    assert_eq!(store.quarantined_of(space(), bag).await.unwrap().len(), 1);
    assert_eq!(store.snapshot(space(), bag).await.unwrap(), None, "the verdict removes it");
    grow(&a, &bags, bag, 2 * SNAPSHOT_BYTES_MIN);
    sync(&a, &relay).await;
    examined(&store).await;
    assert_eq!(store.snapshot(space(), bag).await.unwrap(), None);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_gets_a_snapshot_again_once_nothing_of_it_is_in_quarantine() {
    // Would make new devices load all changes for ever, because of one that was in quarantine once.
    let directory = tempfile::tempdir().unwrap();
    let (relay, store) = start(directory.path()).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let bag = bags.insert(Map::from([("name".into(), "Guji".into())])).unwrap().id;
    sync(&a, &relay).await;
    let sound = record(bag, &stranger(&a, bag, "Kochere"));
    push(&relay, sound.clone()).await;
    relay.stop().await;
    drop(store);
    quarantine(directory.path(), &sound).await;

    let (relay, store) = start(directory.path()).await;
    grow(&a, &bags, bag, SNAPSHOT_BYTES_MIN);
    sync(&a, &relay).await;
    examined(&store).await;
    assert_eq!(store.snapshot(space(), bag).await.unwrap(), None);
    let request = Request::Release { hash: sound.hash.to_string() };
    let released =
        admin::ask(directory.path(), &request, async || Err("the relay runs".into())).await.unwrap();
    assert_eq!(released, Reply::Released(vec![sound.hash.to_string()]));
    grow(&a, &bags, bag, 1);
    sync(&a, &relay).await;
    examined(&store).await;
    // With the one that was released.
    let snapshot = checked(&store, bag).await;
    let loaded = Automerge::load(&snapshot.payload).unwrap();
    assert!(loaded.get_change_by_hash(&Hash(*sound.hash.as_bytes())).is_some());
    relay.stop().await;
}

/// Puts a sound change into quarantine, as an older version of the relay may have done.
async fn quarantine(folder: &Path, change: &ChangeRecord) {
    let store = FeedStore::redb(open_feed(folder).await, WriterLimits::default()).unwrap();
    let (last, state) = store.entity(space(), change.entity).await.unwrap().unwrap();
    let reason = Refusal { code: 31, message: "it did not load".to_owned() };
    let quarantined = vec![(change.hash, reason)];
    let verdict = Verdict { at_ms: 1, quarantined: quarantined.clone(), released: Vec::new() };
    let deps = Change::from_bytes(change.payload.to_vec()).unwrap();
    let heads = deps.deps().iter().map(|dep| ChangeHash::from_bytes(dep.0)).collect();
    let judgement = Judgement { last, quarantined, released: Vec::new(), heads, damaged: Vec::new() };
    let entry = FeedEntry {
        judgement: Some(judgement),
        ..FeedEntry::new(verdict.record(state.entity, state.collection), Vec::new())
    };
    let append = Append {
        space: space(),
        origin: DeviceId::from_bytes([0; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 1,
        epoch_if_new: FeedEpoch::from_bytes([1; 16]),
        entries: vec![entry],
    };
    store.append(append).await.unwrap();
    assert_eq!(store.quarantined(space(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_drops_a_damaged_snapshot_and_the_entity_gets_another() {
    // Would keep damaged bytes for good, and hide from whoever runs the relay that its disk is failing.
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let (relay, store) = start(folder).await;
    let a = Replica::open(folder.join("a")).unwrap();
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let bag = bags.insert(Map::from([("name".into(), "Guji".into())])).unwrap().id;
    grow(&a, &bags, bag, SNAPSHOT_BYTES_MIN);
    sync(&a, &relay).await;
    examined(&store).await;
    checked(&store, bag).await;
    relay.stop().await;
    drop(store);
    drop(open_feed(folder).await);
    flip_last_byte(&folder.join("feed.redb"));

    let store = FeedStore::redb(open_feed(folder).await, WriterLimits::default()).unwrap();
    assert_eq!(store.snapshot(space(), bag).await.unwrap(), None);
    for expected in [1, 0] {
        let offline = async || Ok(Config::new(store.clone()));
        let reply = admin::ask(folder, &Request::Verify, offline).await.unwrap();
        let Reply::Verified { damaged, broken, snapshots_dropped, .. } = reply else { panic!("{reply:?}") };
        assert_eq!((damaged.len(), broken.len(), snapshots_dropped), (0, 0, expected));
    }
    drop(store);

    let (relay, store) = start(folder).await;
    grow(&a, &bags, bag, 1);
    sync(&a, &relay).await;
    examined(&store).await;
    checked(&store, bag).await;
    relay.stop().await;
}

fn flip_last_byte(path: &Path) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(SNAPSHOTS).unwrap();
        let (key, mut value) = {
            let (key, value) = table.first().unwrap().unwrap();
            (*key.value(), value.value().to_vec())
        };
        *value.last_mut().unwrap() ^= 1;
        table.insert(&key, value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_gets_the_snapshot_and_what_came_after_it() {
    // Would make it fetch and apply every change that there ever was.
    let directory = tempfile::tempdir().unwrap();
    let (relay, store) = start(directory.path()).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let id = bags.insert(Map::from([("name".into(), "Guji".into())])).unwrap().id;
    grow(&a, &bags, id, 8 * SNAPSHOT_BYTES_MIN);
    sync(&a, &relay).await;
    examined(&store).await;
    let snapshot = checked(&store, id).await;
    bags.set(id, Map::from([("note".into(), "after the snapshot".into())])).unwrap();
    sync(&a, &relay).await;

    let sniffer = Sniffer::start(relay.address).await;
    let b = Replica::open(directory.path().join("b")).unwrap();
    let report = b.sync(&sniffer.url(), SyncOptions::new([space()])).await.unwrap();
    let total = a.entity_changes(space(), id).unwrap().len() as u64;
    assert_eq!(report.pulled, total, "each change counts, however it came");
    let received: Vec<ChangeRecord> = sniffer
        .take()
        .into_iter()
        .filter_map(|passed| match (passed.frame, passed.from) {
            (Frame::Changes(changes), From::Relay) => Some(changes.entries),
            _ => None,
        })
        .flatten()
        .collect();
    let kinds: Vec<PayloadKind> = received.iter().map(|record| record.kind).collect();
    assert_eq!(kinds.first(), Some(&PayloadKind::Snapshot));
    assert_eq!(kinds.len() as u64, 1 + total - snapshot.changes);
    let bytes: usize = received.iter().map(|record| record.payload.len()).sum();
    assert!((bytes as u64) < bytes_of(&a, id) / 4, "{bytes} bytes");
    assert_equal(&a, &b);
    println!("{total} changes of {} bytes came in {bytes} bytes", bytes_of(&a, id));
    // It is a full member: what it edits arrives, and its own history is the same.
    let on_b = b.space(SPACE).dynamic("bags").unwrap();
    on_b.set(id, Map::from([("rating".into(), Value::Int(-1))])).unwrap();
    sync(&b, &relay).await;
    sync(&a, &relay).await;
    assert_equal(&a, &b);
    let hashes = |replica: &Replica| -> std::collections::BTreeSet<ChangeHash> {
        replica.entity_changes(space(), id).unwrap().into_iter().map(|(hash, _)| hash).collect()
    };
    assert_eq!(hashes(&a), hashes(&b));
}
