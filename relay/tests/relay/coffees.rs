//! Real records, imported on one device and synced to another.

use headwater::model::{JsonStyle, json_from_map, map_from_json};
use headwater::{EntityId, Map, Replica};
use serde_json::Value as Json;

use crate::data::test_data;
use crate::running::{Relay, SPACE, assert_equal, sync};

#[tokio::test(flavor = "multi_thread")]
async fn imported_records_arrive_field_by_field() {
    // Would lose or change a field of someone's data on the way to the second device.
    let Some(lines) = test_data("coffees.jsonl.gz") else { return };
    let coffees: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(coffees.len(), 1339);
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let entities: Vec<(EntityId, Map)> = coffees
        .iter()
        .zip(1_u128..)
        .map(|(coffee, number)| {
            (EntityId::from_bytes(number.to_be_bytes()), map_from_json(coffee.clone()).unwrap())
        })
        .collect();
    a.space(SPACE).dynamic("coffees").unwrap().upsert_all(entities).unwrap();
    let pushed = sync(&a, &relay).await;
    let pulled = sync(&b, &relay).await;
    assert_eq!((pushed.rejected, pulled.rejected, pulled.pulled), (0, 0, pushed.pushed));
    let arrived: Vec<Json> = b
        .space(SPACE)
        .dynamic("coffees")
        .unwrap()
        .iter()
        .map(|record| json_from_map(&record.unwrap().fields, JsonStyle::Plain))
        .collect();
    assert_eq!(arrived.len(), coffees.len());
    for (number, (arrived, coffee)) in arrived.iter().zip(&coffees).enumerate() {
        assert_eq!(arrived, coffee, "record {number}");
    }
    assert_equal(&a, &b);
    relay.stop().await;
}
