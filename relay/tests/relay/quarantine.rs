//! Changes that pass every check and yet would keep their entity from ever loading again.

use std::num::NonZeroU64;
use std::path::Path;

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Change, ROOT};
use bytes::Bytes;
use headwater::document::{ACTOR_BYTES, Cause, Content, examine};
use headwater::ingest::{ChangeLimits, check_change};
use headwater::wire::{AckResult, ErrorCode};
use headwater::{ChangeHash, ConnectOptions, EntityId, Map, Notice, Replica, Value};
use headwater_relay::admin::{self, Reply, Request};
use headwater_storage::{
    ChangeRecord, CollectionName, Commit, Direction, EntityWrite, NewChange, NewReplica, Outbox, PayloadKind,
    ReplicaStore, Step,
};

use crate::raw::Raw;
use crate::running::{PATIENCE, Relay, SPACE, assert_equal, open_feed, space, sync};

/// The entity as an attacker has it.
fn copy(replica: &Replica, id: EntityId) -> AutoCommit {
    let changes = replica.entity_changes(space(), id).unwrap();
    let changes = changes.into_iter().map(|(_, payload)| Change::from_bytes(payload.to_vec()).unwrap());
    let mut copy = AutoCommit::new().with_actor(ActorId::from(&[9; 16][..]));
    copy.apply_changes(changes).unwrap();
    copy
}

/// An edit whose operations are numbered as if nothing had been there before.
fn poison(copy: &mut AutoCommit) -> Change {
    copy.put(ROOT, "name", "poison").unwrap();
    let mut change = copy.get_last_local_change().unwrap().decode();
    change.start_op = NonZeroU64::MIN;
    change.hash = None;
    Change::from(change)
}

fn record(entity: EntityId, change: &Change) -> ChangeRecord {
    ChangeRecord {
        entity,
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: headwater::ChangeHash::from_bytes(change.hash().0),
        payload: Bytes::copy_from_slice(change.raw_bytes()),
    }
}

async fn ask(folder: &Path, request: Request) -> Reply {
    admin::ask(folder, &request, async || Err("the relay runs".into())).await.unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what} never happens"));
}

fn rated(name: &str, rating: i64) -> Map {
    Map::from([("name".into(), Value::from(name)), ("rating".into(), Value::Int(rating))])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmful_change_is_left_out_by_everybody_and_the_entity_lives_on() {
    // Would let one client make an entity unloadable for all others, for good.
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join(admin::SOCKET);
    let relay = Relay::start_with(directory.path(), |config| config.admin_socket = Some(socket)).await;
    let [a, b, c] = ["a", "b", "c"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let [on_a, on_b] = [&a, &b].map(|replica| replica.space(SPACE).dynamic("bags").unwrap());
    let connections =
        [&a, &b].map(|replica| replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap());
    let bag = on_a.insert(rated("Guji", 4)).unwrap();
    until("the bag's arrival", || on_b.get(bag.id).unwrap().is_some()).await;

    let mut attacker = copy(&a, bag.id);
    let harmful = poison(&mut attacker);
    let harmless_by_itself =
        check_change(&Bytes::copy_from_slice(harmful.raw_bytes()), &ChangeLimits::default());
    assert!(harmless_by_itself.is_ok(), "{harmless_by_itself:?}");
    let mut all = a.entity_changes(space(), bag.id).unwrap();
    all.push((record(bag.id, &harmful).hash, Bytes::copy_from_slice(harmful.raw_bytes())));
    let culprits = examine(all).culprits;
    assert_eq!(culprits.len(), 1, "it does harm");
    assert_eq!(culprits[0].cause(), Cause::OutOfOrder);

    let mut raw = Raw::pushing(&relay).await;
    let taken = raw.push(1, vec![record(bag.id, &harmful)]).await;
    assert!(matches!(taken[..], [AckResult::Accepted(_)]), "{taken:?}");
    let hash = record(bag.id, &harmful).hash;
    for replica in [&a, &b] {
        until("the verdict", || {
            let aside = replica.space(SPACE).set_aside().unwrap();
            aside.iter().any(|aside| aside.record.hash == hash && aside.direction == Direction::Quarantined)
        })
        .await;
    }
    // The name is that of the honest author, and edits still go both ways.
    on_a.set(bag.id, Map::from([("rating".into(), Value::Int(5))])).unwrap();
    until("the later edit", || {
        on_b.get(bag.id).unwrap().unwrap().fields.get("rating") == Some(&Value::Int(5))
    })
    .await;
    on_b.set(bag.id, Map::from([("name".into(), Value::from("Guji natural"))])).unwrap();
    until("the answer", || {
        on_a.get(bag.id).unwrap().unwrap().fields.get("name") == Some(&Value::from("Guji natural"))
    })
    .await;

    // Neither it nor what builds on it gets in again.
    let again = raw.push(2, vec![record(bag.id, &harmful)]).await;
    let refused =
        |results: &[AckResult]| matches!(results, [AckResult::Refused { code: ErrorCode::Quarantined, .. }]);
    assert!(refused(&again), "{again:?}");

    let Reply::Listed(listed) = ask(directory.path(), Request::List).await else { panic!() };
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].hash, &listed[0].entity), (&hash.to_string(), &bag.id.to_string()));
    let short = listed[0].hash[..8].to_owned();
    let shown = ask(directory.path(), Request::Show { hash: short.clone() }).await;
    let Reply::Shown { number, pushed_by, .. } = &shown else { panic!("{shown:?}") };
    assert_eq!((*number, pushed_by), (1, &headwater::DeviceId::from_bytes([6; 16]).to_string()));
    let released = ask(directory.path(), Request::Release { hash: short }).await;
    assert!(matches!(&released, Reply::Refused(reason) if reason.contains("does not load")), "{released:?}");

    // Who comes later leaves it out as well, and everybody survives a restart.
    sync(&c, &relay).await;
    assert_equal(&a, &c);
    for connection in connections {
        connection.disconnect().await;
    }
    drop((on_a, on_b, bag, a, b));
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    sync(&a, &relay).await;
    assert_equal(&a, &b);
    assert_equal(&a, &c);
    relay.stop().await;
    // The list is in the files.
    let feed = open_feed(directory.path()).await;
    let store = headwater_storage::FeedStore::redb(feed, headwater_storage::WriterLimits::default()).unwrap();
    let offline = async || Ok(headwater_relay::Config::new(store.clone()));
    let offline = admin::ask(directory.path(), &Request::List, offline).await.unwrap();
    assert_eq!(offline, Reply::Listed(listed));
}

/// A replica's file with an entity and an edit of it by this device, which waits for the relay and would keep the entity from loading.
fn with_a_harmful_edit_of_its_own(path: &Path) -> (EntityId, ChangeHash) {
    let (id, device, harmful) = {
        let replica = Replica::open(path).unwrap();
        let id = replica.space(SPACE).dynamic("bags").unwrap().insert(rated("Guji", 4)).unwrap().id;
        let mut actor = [7; ACTOR_BYTES];
        actor[..16].copy_from_slice(replica.device_id().as_bytes());
        let mut copy = copy(&replica, id).with_actor(ActorId::from(&actor[..]));
        (id, replica.device_id(), record(id, &poison(&mut copy)))
    };
    // As if the engine had let it happen: no call of the replica makes such a change.
    let store = ReplicaStore::open(path, NewReplica { device, created_ms: 0 }).unwrap();
    let mut commit = Commit::new(space(), 1_700_000_000_000);
    let ChangeRecord { entity, collection, kind, hash, payload } = harmful;
    let changes = vec![NewChange { kind, hash, payload, outbox: Outbox::Queue }];
    commit.steps.push(Step::Write(EntityWrite { entity, collection, changes, row: None }));
    store.commit(commit).unwrap();
    (id, hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_edit_is_quarantined_hears_what_it_wrote_and_writes_it_again_for_everybody() {
    // Would take an acknowledged edit from everybody, its author included, without a word.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let (id, hash) = with_a_harmful_edit_of_its_own(&directory.path().join("a"));
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let mut notices = a.notices();
    let connections =
        [&a, &b].map(|replica| replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap());
    let heard = tokio::time::timeout(PATIENCE, notices.next()).await.unwrap();
    let Some(Ok(Notice::Quarantined(heard))) = heard else { panic!("{heard:?}") };
    assert_eq!((heard.entity, heard.hash, heard.is_own), (id, hash, true));
    let wrote = Map::from([("name".into(), Value::from("poison"))]);
    assert!(matches!(&heard.content, Content::Fields { set, .. } if *set == wrote), "{heard:?}");
    assert!(heard.reason.contains("out of order"), "{heard:?}");

    let again = a.space(SPACE).reapply(id, hash).unwrap();
    tokio::time::timeout(PATIENCE, again.on_relay()).await.unwrap().unwrap();
    let on_b = b.space(SPACE).dynamic("bags").unwrap();
    until("the edit's second arrival", || {
        on_b.get(id).unwrap().is_some_and(|bag| bag.fields.get("name") == Some(&Value::from("poison")))
    })
    .await;
    for connection in connections {
        connection.disconnect().await;
    }
    assert_equal(&a, &b);
    // It can be read after a restart, too.
    drop((a, notices, again));
    let a = Replica::open(directory.path().join("a")).unwrap();
    assert!(matches!(a.space(SPACE).content(id, hash).unwrap(), Content::Fields { set, .. } if set == wrote));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_number_is_refused_and_its_owner_goes_on() {
    // Would lock an author out of an entity: its own next change would contradict the stolen one for ever.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    let bag = bags.insert(rated("Guji", 4)).unwrap();
    bags.set(bag.id, Map::from([("rating".into(), Value::Int(5))])).unwrap();
    sync(&a, &relay).await;
    // Another change with the number of one that is there.
    let (_, last) = a.entity_changes(space(), bag.id).unwrap().pop().unwrap();
    let mut stolen = Change::from_bytes(last.to_vec()).unwrap().decode();
    stolen.time += 1;
    stolen.hash = None;
    let stolen = Change::from(stolen);
    let mut raw = Raw::pushing(&relay).await;
    let refused = raw.push(1, vec![record(bag.id, &stolen)]).await;
    assert!(matches!(refused[..], [AckResult::Refused { code: ErrorCode::NumberTaken, .. }]), "{refused:?}");
    // Numbers from far ahead, which would leave none for the others.
    let mut copy = copy(&a, bag.id);
    copy.put(ROOT, "rating", 1).unwrap();
    let mut ahead = copy.get_last_local_change().unwrap().decode();
    ahead.start_op = NonZeroU64::new(2_000_000).unwrap();
    ahead.hash = None;
    let refused = raw.push(2, vec![record(bag.id, &Change::from(ahead))]).await;
    assert!(
        matches!(refused[..], [AckResult::Refused { code: ErrorCode::ChangeInvalid, .. }]),
        "{refused:?}"
    );
    bags.set(bag.id, Map::from([("rating".into(), Value::Int(3))])).unwrap();
    assert_eq!(sync(&a, &relay).await.rejected, 0);
    sync(&b, &relay).await;
    assert_equal(&a, &b);
    relay.stop().await;
}
