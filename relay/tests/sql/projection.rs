//! Rows that follow the feed.

use headwater::{Map, Value};
use headwater_relay::admin::{Reply, Request, ask_store};

use crate::bed::{Bed, SPACE, sync};

/// Would show SQL something else than devices have, or forget what had been deleted.
#[tokio::test(flavor = "multi_thread")]
async fn every_entity_has_a_row_with_its_conflicts_and_times() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let [a, b] = ["a", "b"].map(|name| bed.replica(name));
    let [on_a, on_b] = [&a, &b].map(|replica| replica.space(SPACE).dynamic("coffee_bags").unwrap());
    let id =
        on_a.insert(Map::from([("name".into(), "Guji".into()), ("rating".into(), 4.into())])).unwrap().id;
    let gone = on_a.insert(Map::from([("name".into(), "gone".into())])).unwrap().id;
    on_a.delete(gone).unwrap();
    sync(&a, &relay).await;
    sync(&b, &relay).await;
    on_a.set(id, Map::from([("rating".into(), 5.into())])).unwrap();
    on_b.set(id, Map::from([("rating".into(), 6.into())])).unwrap();
    sync(&a, &relay).await;
    sync(&b, &relay).await;
    bed.settled().await;
    assert_eq!(
        bed.psql("SELECT count(*), count(deleted_at), count(created_at) FROM headwater.entities"),
        "2|1|2"
    );
    let row = bed.psql(&format!(
        "SELECT version, array_length(heads, 1), jsonb_array_length(conflicts->'/rating'), updated_device = ANY(ARRAY['{}'::uuid, '{}'::uuid])
         FROM headwater.entities WHERE id = '{id}'",
        a.device_id(),
        b.device_id()
    ));
    assert_eq!(row, "3|2|2|t");
    // The same from the terminal, computed from the feed.
    let request = Request::Entities {
        space: SPACE.to_owned(),
        collection: Some("coffee_bags".to_owned()),
        after: None,
    };
    let Reply::Entities { rows, next } = ask_store(bed.config().await, request).await else {
        panic!("no entities")
    };
    assert_eq!((rows.len(), next), (2, None));
    let data = rows.iter().find(|row| row["id"] == id.to_string()).unwrap();
    let stored: serde_json::Value =
        serde_json::from_str(&bed.psql(&format!("SELECT data FROM headwater.entities WHERE id = '{id}'")))
            .unwrap();
    assert_eq!(data["data"], stored);
    relay.stop().await;
}

/// Would leave rows out, or write them twice, when the projection is made again beside a running relay.
#[tokio::test(flavor = "multi_thread")]
async fn the_projection_can_be_made_again() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let bags = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    for n in 0..600 {
        bags.insert(Map::from([("n".into(), Value::Int(n))])).unwrap();
    }
    sync(&replica, &relay).await;
    bed.settled().await;
    let sum = "SELECT count(*), sum((data->>'n')::int), sum(version) FROM headwater.entities";
    assert_eq!(bed.psql(sum), "600|179700|600");
    bed.psql("UPDATE headwater.projection SET data = '{}'");
    headwater_relay::sql::rebuild(bed.config().await).await.unwrap();
    bed.settled().await;
    assert_eq!(bed.psql(sum), "600|179700|600");
    relay.stop().await;
}

/// Would stop the projection for good when the relay that keeps it ends.
#[tokio::test(flavor = "multi_thread")]
async fn another_relay_takes_over() {
    let bed = Bed::new();
    let first = bed.relay().await;
    let replica = bed.replica("a");
    let bags = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    bags.insert(Map::new()).unwrap();
    sync(&replica, &first).await;
    bed.settled().await;
    let second = bed.relay().await;
    first.stop().await;
    let id = bags.insert(Map::from([("name".into(), "later".into())])).unwrap().id;
    sync(&replica, &second).await;
    bed.psql_says(&format!("SELECT data->>'name' FROM headwater.entities WHERE id = '{id}'"), "later").await;
    second.stop().await;
}
