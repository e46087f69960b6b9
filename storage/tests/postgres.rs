//! The test server itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use headwater_storage::testing::Postgres;

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
