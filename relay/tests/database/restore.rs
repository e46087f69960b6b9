//! A database that comes back with less than was acknowledged: restored from a dump, or failed over to a standby that lagged.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use headwater::{EntityId, Replica};
use headwater_storage::testing::Postgres;

use crate::devices::{
    COLLECTION, Device, SPACE, acknowledged, assert_everywhere, connect, finish, numbered, space, until,
    until_even,
};
use crate::kills::varied;
use crate::process::RelayProcess;
use crate::proxy::Proxy;
use crate::{size, table};

/// Would lose everything since the backup, although it is on the devices, or hide new changes behind seqs that are used twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_older_dump_gets_back_what_it_lacks() {
    restored(Relays::Restarted).await;
}

/// Would leave connected devices apart for good, without any of them knowing, after the database failed over.
#[tokio::test(flavor = "multi_thread")]
async fn relays_notice_that_their_database_was_set_back_under_them() {
    restored(Relays::Kept).await;
}

/// Would leave devices apart, or lose what they write, when the database fails over in the middle of their pushes.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_set_back_under_load_leaves_all_replicas_even() {
    let server = tokio::task::block_in_place(|| Postgres::shared().unwrap());
    let database = server.database().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let relays = [(); 2].map(|()| RelayProcess::start_on(&database, &[]));
    let device = |number| {
        Device::start(directory.path(), &relays[number as usize % 2].url, number, Duration::from_millis(40))
    };
    let devices: Vec<_> = (0..4).map(device).collect();
    let mut lost = Vec::new();
    for round in 0..size("HEADWATER_DATABASE_CRASHES", 3) {
        let dump = directory.path().join(format!("dump {round}.sql"));
        let more = |more: u64| {
            let least = acknowledged(&devices) + more as usize;
            let devices = &devices;
            until("more is acknowledged", Duration::from_millis(10), move || acknowledged(devices) >= least)
        };
        more(20 + varied(round, 40)).await;
        tokio::task::block_in_place(|| dump_to(server, &database, &dump));
        let at_dump = acknowledged(&devices);
        more(10 + varied(round + 100, 60)).await;
        tokio::task::block_in_place(|| set_back(server, &database, &dump));
        lost.push(acknowledged(&devices) - at_dump);
    }
    let finished = finish(server, &database, &relays[0].url, devices).await;
    println!("set back by about {lost:?} changes under load: {finished}");
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relays {
    /// Whoever restores the database starts the relays again.
    Restarted,
    /// The database is another one all of a sudden.
    Kept,
}

async fn restored(relays: Relays) {
    let server = tokio::task::block_in_place(|| Postgres::shared().unwrap());
    let database = server.database().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| RelayProcess::start_on(&database, &[]));
    let proxies = [Proxy::start(first.address(), None).await, Proxy::start(second.address(), None).await];
    let open = |name: &str| Replica::open(directory.path().join(name)).unwrap();
    let replicas = ["a", "b", "c"].map(open);
    let all: Vec<&Replica> = replicas.iter().collect();
    let connections: Vec<_> =
        replicas.iter().zip([0, 1, 1]).map(|(replica, at)| connect(replica, &proxies[at].url)).collect();

    let mut ids = Vec::new();
    for (turn, replica) in replicas.iter().enumerate() {
        ids.extend(write(replica, &[], 100 * turn as u64));
    }
    until_even(&all).await;
    let dump = directory.path().join("dump.sql");
    tokio::task::block_in_place(|| dump_to(server, &database, &dump));

    // All of these are acknowledged, and in no dump.
    let mut known: BTreeSet<EntityId> = ids.iter().copied().collect();
    for (turn, replica) in replicas.iter().enumerate() {
        known.extend(write(replica, &ids[5 * turn..], 1_000 + 100 * turn as u64));
    }
    until_even(&all).await;
    let before = table::read(server, &database, space()).changes;
    let count = before.values().map(|changes| changes.len()).sum::<usize>();

    if relays == Relays::Restarted {
        first.kill();
        second.kill();
    }
    tokio::task::block_in_place(|| set_back(server, &database, &dump));
    if relays == Relays::Restarted {
        [first, second] = [(); 2].map(|()| RelayProcess::start_on(&database, &[]));
        for (proxy, relay) in proxies.iter().zip([&first, &second]) {
            proxy.lead_to(relay.address());
        }
    }
    // Somebody new writes what takes the seqs that the others know for something else, and they go on as well.
    let stranger = open("d");
    let connection = connect(&stranger, &proxies[0].url);
    known.extend(write(&stranger, &[], 2_000));
    known.extend(write(&replicas[2], &ids, 3_000));

    let mut all = all;
    all.push(&stranger);
    let everything = || {
        let ids = |replica: &Replica| -> BTreeSet<_> {
            let positions = replica.entity_positions(space(), None, usize::MAX).unwrap();
            positions.into_iter().map(|position| position.entity).collect()
        };
        all.iter().all(|replica| ids(replica) == known)
    };
    until("everything is back", Duration::from_millis(50), everything).await;
    until_even(&all).await;
    for connection in connections.into_iter().chain([connection]) {
        connection.disconnect().await;
    }
    let changes = assert_everywhere(server, &database, &proxies[1].url, &all).await;
    let after = table::read(server, &database, space()).changes;
    assert!(crate::held::contains(&after, &before), "acknowledged before, and not in the database");
    println!("relays {relays:?}: {count} changes before, {changes} after the restore");
}

/// Makes some entities, and changes some that are there. Gives the new ones.
fn write(replica: &Replica, ids: &[EntityId], first: u64) -> Vec<EntityId> {
    let lists = replica.space(SPACE).dynamic(COLLECTION).unwrap();
    for (number, id) in (first..).zip(ids) {
        // Another device may have made it, and not have been heard of yet.
        if lists.get(*id).unwrap().is_some() {
            lists.set(*id, numbered(number)).unwrap();
        }
    }
    (first..first + 10).map(|number| lists.insert(numbered(number)).unwrap().id).collect()
}

fn dump_to(server: &Postgres, database: &str, dump: &Path) {
    server.tool("pg_dump", &["-d", database, "-f", dump.to_str().unwrap()]).unwrap();
}

/// Puts the dump in the place of the database, for whoever knows its name, and ends all connections to it.
fn set_back(server: &Postgres, database: &str, dump: &Path) {
    let restored = server.database().unwrap();
    server
        .tool("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &restored, "-f", dump.to_str().unwrap()])
        .unwrap();
    let [old, new] = [database, &restored].map(|url| url.rsplit_once('/').unwrap().1);
    let maintenance = server.url("postgres");
    let run = |sql: String| server.psql(&maintenance, &sql).unwrap();
    run(format!("ALTER DATABASE {old} ALLOW_CONNECTIONS false"));
    run(format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{old}'"));
    run(format!("ALTER DATABASE {old} RENAME TO {new}_before; ALTER DATABASE {new} RENAME TO {old}"));
}
