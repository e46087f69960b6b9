//! Who pushed what.

use headwater::Map;

use crate::bed::{Bed, SPACE, sync};

/// Would leave nobody answerable for a change.
#[tokio::test(flavor = "multi_thread")]
async fn every_push_is_in_the_audit_log() {
    let bed = Bed::new();
    let relay = bed.relay().await;
    let replica = bed.replica("a");
    let bags = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    let id = bags.insert(Map::new()).unwrap().id;
    sync(&replica, &relay).await;
    bed.settled().await;
    bed.psql(&format!("SELECT headwater.patch(SPACE, '{id}', '{{\"n\": 1}}')"));
    bed.settled().await;
    let of_device = format!(
        "SELECT address, \"user\", changes, first_seq = last_seq FROM headwater.audit_log WHERE device = '{}'",
        replica.device_id()
    );
    assert_eq!(bed.psql(&of_device), "127.0.0.1||1|t");
    assert_eq!(
        bed.psql("SELECT address, changes FROM headwater.audit_log WHERE \"user\" = 'postgres'"),
        "|1"
    );
    assert_eq!(
        bed.psql(
            "SELECT sum(changes) = (SELECT max(head_seq) FROM headwater.spaces) FROM headwater.audit_log"
        ),
        "t"
    );
    relay.stop().await;
}
