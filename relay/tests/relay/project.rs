//! Entities as rows, from a relay whose feeds are in a file.

use headwater::{Map, Replica, Value};
use headwater_relay::admin::{self, Reply, Request};

use crate::running::{Relay, SPACE, sync};

/// Would leave whoever runs a relay on one file without a way to see what is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_relay_shows_its_entities_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join(admin::SOCKET);
    let relay = Relay::start_with(directory.path(), |config| config.admin_socket = Some(socket)).await;
    let replica = Replica::open(directory.path().join("a")).unwrap();
    let bags = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    for n in 0..250 {
        bags.insert(Map::from([("n".into(), Value::Int(n))])).unwrap();
    }
    let cup = replica.space(SPACE).dynamic("cups").unwrap().insert(Map::new()).unwrap().id;
    sync(&replica, &relay).await;
    let (mut after, mut sum, mut pages) = (None, 0, 0);
    loop {
        let collection = Some("coffee_bags".to_owned());
        let request = Request::Entities { space: SPACE.to_owned(), collection, after };
        let Reply::Entities { rows, next } = ask(directory.path(), &request).await else {
            panic!("no entities")
        };
        sum += rows.iter().map(|row| row["data"]["n"].as_i64().unwrap()).sum::<i64>();
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((sum, pages), (249 * 250 / 2, 3));
    let request =
        Request::Entities { space: SPACE.to_owned(), collection: Some("cups".to_owned()), after: None };
    let Reply::Entities { rows, .. } = ask(directory.path(), &request).await else { panic!("no entities") };
    // It may be on a later page than the first.
    assert!(rows.iter().all(|row| row["id"] == cup.to_string()));
    let unknown = Request::Entities { space: "nowhere".to_owned(), collection: None, after: None };
    assert!(matches!(ask(directory.path(), &unknown).await, Reply::Refused(_)));
    relay.stop().await;
}

async fn ask(folder: &std::path::Path, request: &Request) -> Reply {
    admin::ask(folder, request, async || Err("the relay runs".into())).await.unwrap()
}
