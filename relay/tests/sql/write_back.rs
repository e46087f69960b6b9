//! Edits made with SQL, merged with those of devices.

use headwater::{ConnectOptions, DynamicCollection, EntityId, Map, Replica, Value};

use crate::bed::{Bed, Relay, SPACE, space, sync, until};

/// Would lose one of two edits of one entity, made with SQL and on a device: what write-back exists to prevent.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_with_sql_and_one_on_an_offline_device_both_survive() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let [a, b] = ["a", "b"].map(|name| bed.replica(name));
    let [on_a, on_b] = [&a, &b].map(|replica| replica.space(SPACE).dynamic("coffee_bags").unwrap());
    let fields = [("name", "Guji".into()), ("rating", 4.into()), ("notes", Value::Text("juicy".into()))];
    let id = on_a.insert(fields.map(|(name, value)| (name.to_owned(), value)).into()).unwrap().id;
    sync(&a, &relay).await;
    sync(&b, &relay).await;
    bed.psql_says(&format!("SELECT data->>'name' FROM headwater.entities WHERE id = '{id}'"), "Guji").await;
    // Offline: nobody has seen this when the SQL runs.
    on_a.set(id, Map::from([("rating".into(), 5.into()), ("notes".into(), "very juicy".into())])).unwrap();
    bed.psql(&format!(
        "UPDATE headwater.entities SET data = jsonb_set(jsonb_set(data, '{{name}}', '\"Guji 2\"'), '{{notes}}', '\"juicy and sweet\"')
         WHERE space = SPACE AND id = '{id}'"
    ));
    // Whoever wrote it sees it at once.
    assert_eq!(
        bed.psql(&format!("SELECT data->>'name' FROM headwater.entities WHERE id = '{id}'")),
        "Guji 2"
    );
    bed.settled().await;
    for replica in [&a, &b, &a] {
        sync(replica, &relay).await;
    }
    for on in [&on_a, &on_b] {
        let fields = on.get(id).unwrap().unwrap().fields;
        assert_eq!(fields["name"].as_str(), Some("Guji 2"));
        assert_eq!(fields["rating"], Value::Int(5));
        assert_eq!(fields["notes"].as_str(), Some("very juicy and sweet"));
    }
    bed.settled().await;
    let row = bed.psql(&format!("SELECT data->>'name', data->>'rating', data->>'notes', conflicts FROM headwater.entities WHERE id = '{id}'"));
    assert_eq!(row, "Guji 2|5|very juicy and sweet|{}");
    let positions =
        |replica: &headwater::Replica| replica.entity_positions(space(), None, usize::MAX).unwrap();
    assert_eq!(positions(&a), positions(&b));
    relay.stop().await;
}

/// Would leave what SQL created, deleted or restored unknown to devices, or known only after they reconnect.
#[tokio::test(flavor = "multi_thread")]
async fn inserts_deletes_and_restores_reach_a_connected_device() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let connection = replica.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    let bags = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    bags.insert(Map::from([("name".into(), "first".into())])).unwrap();
    connection.sync_now().await.unwrap();
    let id = bed.psql(
        "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'coffee_bags', '{\"name\": \"from SQL\", \"sold\": {\"$counter\": 1}}') RETURNING id",
    );
    let id = id.parse().unwrap();
    until("the insert arrives", || bags.get(id).unwrap().is_some()).await;
    assert_eq!(bags.get(id).unwrap().unwrap().fields["sold"], Value::Counter(1));
    bags.set(id, Map::from([("sold".into(), Value::Counter(3))])).unwrap();
    bed.psql(&format!("SELECT headwater.patch(SPACE, '{id}', '{{\"grams\": 250}}')"));
    until("the patch arrives", || bags.get(id).unwrap().is_some_and(|bag| bag.fields.contains_key("grams")))
        .await;
    bed.psql(&format!("DELETE FROM headwater.entities WHERE id = '{id}'"));
    until("the deletion arrives", || bags.get(id).unwrap().is_none()).await;
    bed.psql(&format!("SELECT headwater.restore(SPACE, '{id}')"));
    until("it is restored", || bags.get(id).unwrap().is_some()).await;
    bed.settled().await;
    let row = format!(
        "SELECT data->>'name', data->>'grams', data->>'sold', deleted_at IS NULL, updated_by FROM headwater.entities WHERE id = '{id}'"
    );
    assert_eq!(bed.psql(&row), "from SQL|250|3|t|postgres");
    connection.disconnect().await;
    relay.stop().await;
}

/// A bag with `n` 0 that is on a device and in SQL.
async fn one_bag() -> (Bed, Relay, Replica, DynamicCollection, EntityId) {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let bags = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    let id = bags.insert(Map::from([("n".into(), 0.into())])).unwrap().id;
    sync(&replica, &relay).await;
    bed.settled().await;
    (bed, relay, replica, bags, id)
}

/// Would make each of several edits of one transaction start from the same state, and conflict with itself.
#[tokio::test(flavor = "multi_thread")]
async fn edits_of_one_transaction_build_on_each_other() {
    let (bed, relay, replica, bags, id) = one_bag().await;
    let step = format!(
        "UPDATE headwater.entities SET data = jsonb_set(data, '{{n}}', to_jsonb((data->>'n')::int + 1)) WHERE id = '{id}';"
    );
    bed.psql(&format!("BEGIN; {} COMMIT", step.repeat(5)));
    bed.settled().await;
    sync(&replica, &relay).await;
    assert_eq!(bags.get(id).unwrap().unwrap().fields["n"], Value::Int(5));
    assert_eq!(
        bed.psql(&format!("SELECT data, conflicts FROM headwater.entities WHERE id = '{id}'")),
        "{\"n\": 5}|{}"
    );
    relay.stop().await;
}

/// Would take an edit in twice when a relay dies between the feed and the inbox, or when two relays work at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_made_again_is_the_same_change() {
    let (bed, relay, replica, bags, id) = one_bag().await;
    bed.psql(&format!("SELECT headwater.patch(SPACE, '{id}', '{{\"n\": 1}}')"));
    bed.settled().await;
    // As if the relay had died before it could settle the edit; a device has gone on meanwhile.
    sync(&replica, &relay).await;
    bags.set(id, Map::from([("n".into(), 2.into())])).unwrap();
    sync(&replica, &relay).await;
    let changes = "SELECT count(*) FROM headwater.feed";
    let before = bed.psql(changes);
    bed.psql("UPDATE headwater.inbox SET done_at = NULL, change = NULL");
    bed.settled().await;
    assert_eq!(bed.psql(changes), before);
    assert_eq!(bed.psql(&format!("SELECT data->>'n' FROM headwater.entities WHERE id = '{id}'")), "2");
    relay.stop().await;
}

/// Would accept an edit that can never become a change, and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_edit_is_an_error_at_the_statement() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    replica.space(SPACE).dynamic("coffee_bags").unwrap().insert(Map::new()).unwrap();
    sync(&replica, &relay).await;
    for bad in [
        "INSERT INTO headwater.entities (space, collection, data) VALUES (gen_random_uuid(), 'bags', '{}')",
        "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', '{not json')",
        "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', '[1]')",
        "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', '{\"_deleted\": 1}')",
    ] {
        assert!(bed.try_psql(bad).is_err(), "taken: {bad}");
    }
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "0");
    relay.stop().await;
}
