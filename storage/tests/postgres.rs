//! The feed on a real Postgres.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_storage::testing::Postgres;
use headwater_storage::{FeedStore, PostgresFeed, PostgresOptions, WriterLimits, conformance};

async fn store() -> FeedStore {
    let url = Postgres::shared().unwrap().database().unwrap();
    let feed = PostgresFeed::open(PostgresOptions::new(url)).await.unwrap();
    FeedStore::postgres(feed, WriterLimits::default())
}

/// Would let relays behave in another way on a database than on a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_on_postgres_conforms() {
    conformance::run_all(store).await.unwrap();
}

/// Would let every test that kills a server test nothing.
#[test]
fn a_private_server_starts_again_after_a_kill() {
    let server = Postgres::private(&["fsync=off"]).unwrap();
    let url = server.database().unwrap();
    server.psql(&url, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").unwrap();
    server.kill().unwrap();
    assert!(server.psql(&url, "SELECT 1").is_err());
    server.start().unwrap();
    assert_eq!(server.psql(&url, "SELECT n FROM kept").unwrap(), "7");
    server.stop_immediately().unwrap();
    server.start().unwrap();
    assert_eq!(server.psql(&url, "SELECT n FROM kept").unwrap(), "7");
    let folder = server.folder().unwrap().to_owned();
    drop(server);
    assert!(!folder.exists());
}
