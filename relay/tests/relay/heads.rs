//! An entity with heads without end: the relay makes them one, and everybody goes on editing.

use headwater::document::HEADS_MAX;
use headwater::replica::MergeRequest;
use headwater::{ConnectOptions, EntityId, Map, Replica, Value};
use headwater_storage::{ChangeRecord, CollectionName, PayloadKind};

use crate::running::{Relay, SPACE, assert_equal, numbered, space, sync, until};

const COLLECTION: &str = "bags";

/// What travels of an entity.
fn records(replica: &Replica, id: EntityId) -> Vec<ChangeRecord> {
    let record = |(hash, payload)| {
        let collection = CollectionName::new(COLLECTION).unwrap();
        ChangeRecord { entity: id, collection, kind: PayloadKind::Change, hash, payload }
    };
    replica.entity_changes(space(), id).unwrap().into_iter().map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_makes_too_many_heads_one_and_nobody_is_kept_from_editing() {
    // Would let one client freeze any entity for all others, and end every comparison with a frame that is too large.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b, c] = ["a", "b", "c"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let bags = |replica: &Replica| replica.space(SPACE).dynamic(COLLECTION).unwrap();
    let heads = |replica: &Replica| replica.entity_positions(space(), None, 1).unwrap().remove(0).heads.len();
    let id = bags(&a).insert(numbered(0)).unwrap().id;
    let base = records(&a, id);
    let connection = b.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    let devices = HEADS_MAX + 20;
    let mut synced = Vec::new();
    for number in 0..devices {
        // Each has edited it offline.
        let device = Replica::open(directory.path().join(format!("device {number}"))).unwrap();
        device.merge(space(), MergeRequest { records: base.clone(), position: None }).unwrap();
        let own = Map::from([(format!("of {number}"), Value::Bool(true))]);
        bags(&device).set(id, own).unwrap();
        synced.push(device);
    }
    sync(&a, &relay).await;
    for device in &synced {
        assert_eq!(sync(device, &relay).await.rejected, 0);
    }
    let have_all = || bags(&b).get(id).unwrap().is_some_and(|bag| bag.fields.len() == devices + 1);
    until("the other device has all edits, and few heads", || have_all() && heads(&b) <= HEADS_MAX).await;
    drop(connection);

    bags(&a).set(id, numbered(1)).unwrap();
    bags(&b).set(id, Map::from([("rating".to_owned(), Value::Int(4))])).unwrap();
    for replica in [&b, &a, &b, &c] {
        assert_eq!(sync(replica, &relay).await.rejected, 0);
    }
    for replica in [&a, &b, &c] {
        let fields = bags(replica).get(id).unwrap().unwrap().fields;
        assert_eq!((fields["rating"].as_i64(), fields["number"].as_i64()), (Some(4), Some(1)));
        assert_eq!(fields.len(), devices + 2);
        assert!(replica.space(SPACE).set_aside().unwrap().is_empty());
    }
    assert_equal(&a, &b);
    assert_equal(&a, &c);
    relay.stop().await;
}
