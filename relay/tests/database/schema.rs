//! Who makes the tables, and who may use them.

use headwater_storage::testing::Postgres;

use crate::process::RelayProcess;

/// Would let an old relay write to tables that mean something else by now.
#[test]
fn a_relay_refuses_a_schema_that_is_too_new_for_it() {
    let server = Postgres::shared().unwrap();
    let database = server.database().unwrap();
    drop(RelayProcess::start_on(&database, &[]));
    let run = |sql: &str| server.psql(&database, sql).unwrap();
    run("INSERT INTO headwater.feed_schema (version, name, applied_on, checksum)
         SELECT 999, 'from the future', applied_on, checksum FROM headwater.feed_schema LIMIT 1");
    run("UPDATE headwater.meta SET value = '999' WHERE name = 'oldest_code'");
    let log = RelayProcess::try_start_on(&database, &[]).map(|_| ()).unwrap_err();
    assert!(log.contains("the database has schema 999") && log.contains("run a newer one"), "{log}");

    run("UPDATE headwater.meta SET value = '1' WHERE name = 'oldest_code'");
    drop(RelayProcess::start_on(&database, &[]));
}

/// Would let a new installation fail, or need a person, when several relays start on it at the same time.
#[test]
fn six_relays_that_start_at_once_on_an_empty_database_all_come_up() {
    let server = Postgres::shared().unwrap();
    for _ in 0..3 {
        let database = server.database().unwrap();
        let start = || RelayProcess::try_start_on(&database, &[]).map(|_| ());
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
            for started in starts {
                started.join().unwrap().unwrap();
            }
        });
        assert_eq!(server.psql(&database, "SELECT count(*) FROM headwater.feed_schema").unwrap(), "1");
    }
}
