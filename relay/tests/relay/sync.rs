//! The main job: two devices edit offline, the relay merges them field by field.

use std::time::Duration;

use headwater::{ConnectOptions, Map, Phase, Replica, Value};

use crate::running::{Relay, SPACE, assert_equal, space, sync};

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_edit_offline_and_both_edits_survive() {
    // Would lose one of two edits of one entity: what this project exists to prevent.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let [on_a, on_b] = [&a, &b].map(|replica| replica.space(SPACE).dynamic("coffee_bags").unwrap());
    let id = on_a
        .insert(Map::from([("name".into(), "Guji".into()), ("notes".into(), Value::Text("juicy".into()))]))
        .unwrap()
        .id;
    // The text, which nobody made, and the rest.
    assert_eq!(sync(&a, &relay).await.pushed, 2);
    assert_eq!(sync(&b, &relay).await.pulled, 2);
    on_a.set(id, Map::from([("rating".into(), 5.into()), ("notes".into(), "very juicy".into())])).unwrap();
    on_b.set(id, Map::from([("name".into(), "Guji 2".into()), ("notes".into(), "juicy and sweet".into())]))
        .unwrap();
    for replica in [&a, &b, &a] {
        sync(replica, &relay).await;
    }
    assert_equal(&a, &b);
    let fields = on_a.get(id).unwrap().unwrap().fields;
    assert_eq!(fields["name"].as_str(), Some("Guji 2"));
    assert_eq!(fields["notes"].as_str(), Some("very juicy and sweet"));
    assert_eq!(fields["rating"], Value::Int(5));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_shows_up_on_a_connected_device_by_itself() {
    // Would make an app poll.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let mut patches = b.patches();
    let connections =
        [&a, &b].map(|replica| replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap());
    for connection in &connections {
        connection.sync_now().await.unwrap();
        assert_eq!(connection.status().phase, Phase::UpToDate);
    }
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    for n in 0..20 {
        let written = lists.insert(Map::from([("n".into(), Value::Int(n))])).unwrap();
        tokio::time::timeout(Duration::from_secs(5), written.receipt.on_relay()).await.unwrap().unwrap();
        let patch =
            tokio::time::timeout(Duration::from_secs(5), patches.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(patch.entity, written.id);
    }
    assert_eq!(connections[0].status().pending, 0);
    assert_equal(&a, &b);
    for connection in connections {
        connection.disconnect().await;
    }
    relay.stop().await;
}
