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

    run("UPDATE headwater.meta SET value = '2' WHERE name = 'oldest_code'");
    drop(RelayProcess::start_on(&database, &[]));
}

/// Would read a feed of the build before as one of this build, or change it so that the build before cannot export it either.
#[test]
fn a_relay_refuses_the_feed_of_the_build_before_and_leaves_it_as_it_is() {
    let server = Postgres::shared().unwrap();
    let database = server.database().unwrap();
    drop(RelayProcess::start_on(&database, &[]));
    let run = |sql: &str| server.psql(&database, sql).unwrap();
    run("DELETE FROM headwater.feed_schema WHERE version > 1");
    run("DELETE FROM headwater.meta WHERE name = 'document_format'");
    run("UPDATE headwater.meta SET value = '1' WHERE name = 'oldest_code'");
    let held = || {
        ["meta", "feed_schema", "sql_schema", "spaces", "feed"].map(|table| {
            run(&format!("SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM headwater.{table} AS t"))
        })
    };
    let before = held();
    let log = RelayProcess::try_start_on(&database, &[]).map(|_| ()).unwrap_err();
    assert!(log.contains("the database has schema 1") && log.contains("export the entities"), "{log}");
    assert_eq!(held(), before);
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
        assert_eq!(server.psql(&database, "SELECT count(*) FROM headwater.feed_schema").unwrap(), "2");
    }
}
