//! The database server dies, or hangs up on the relay, while replicas push. The relay is never started again.

use std::time::{Duration, Instant};

use headwater_storage::testing::Postgres;
use tempfile::TempDir;

use crate::devices::{Device, acknowledged, assert_holds, finish, until};
use crate::kills::varied;
use crate::process::RelayProcess;
use crate::{size, table};

const DEVICES: u64 = 3;
const PAUSE: Duration = Duration::from_millis(15);
/// How often the relay is hung up on, for each time that a server dies in the other tests.
const HANG_UPS: u64 = 20;

/// A server, a relay on it, and devices that write.
struct Scene {
    server: Postgres,
    database: String,
    relay: RelayProcess,
    devices: Vec<Device>,
    _directory: TempDir,
}

/// Would lose or double what an app was told is safe when the database's machine kills the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_server_loses_and_doubles_nothing() {
    crash("kill -9 of the server", Postgres::kill).await;
}

/// Would need a person, or lose data, when a database is stopped in a hurry under a relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_stops_at_once_loses_and_doubles_nothing() {
    crash("pg_ctl stop -m immediate", Postgres::stop_immediately).await;
}

/// Would lose or double changes, or leave devices behind for good, when a pooler or a person ends the relay's connections.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_database_ends_lose_and_double_nothing() {
    let scene = Scene::start().await;
    let (mut ended, hang_ups) = (0, crashes() * HANG_UPS);
    for round in 0..hang_ups {
        ended += table::terminate(&scene.server, &scene.database, "true");
        // From right in the beginning of a new connection to well after.
        tokio::time::sleep(Duration::from_micros(varied(round, 150_000))).await;
    }
    println!("{ended} connections ended in {hang_ups} goes: {}", scene.finish().await);
}

/// Lets the server die by `die` while devices push, and starts it again, a few times.
async fn crash(what: &str, die: fn(&Postgres) -> std::io::Result<()>) {
    let scene = Scene::start().await;
    let mut waits = Vec::new();
    for round in 0..crashes() {
        scene.until_acknowledged(20 + varied(round, 40)).await;
        tokio::task::block_in_place(|| die(&scene.server).unwrap());
        if round % 2 == 0 {
            // While the relay stands still it cannot put back what the database might have lost.
            scene.relay.pause();
            let safe: Vec<_> = scene.devices.iter().map(Device::acknowledged).collect();
            tokio::task::block_in_place(|| {
                scene.server.start().unwrap();
                assert_holds(&scene.server, &scene.database, &safe);
            });
            scene.relay.resume();
        } else {
            // And here it knocks all the time while the server starts.
            tokio::time::sleep(Duration::from_millis(varied(round, 600))).await;
            tokio::task::block_in_place(|| scene.server.start().unwrap());
        }
        let back = Instant::now();
        scene.until_acknowledged(1).await;
        waits.push(back.elapsed());
    }
    println!("{} times {what}, acknowledged again after {waits:.1?}: {}", crashes(), scene.finish().await);
}

impl Scene {
    async fn start() -> Scene {
        let server = tokio::task::block_in_place(|| Postgres::private(&["fsync=off"]).unwrap());
        let database = server.database().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let relay = RelayProcess::start_on(&database, &[]);
        let device = |number| Device::start(directory.path(), &relay.url, number, PAUSE);
        let devices: Vec<_> = (0..DEVICES).map(device).collect();
        let scene = Scene { server, database, relay, devices, _directory: directory };
        scene.until_acknowledged(10).await;
        scene
    }

    /// Waits for so many more acknowledgements.
    async fn until_acknowledged(&self, more: u64) {
        let least = acknowledged(&self.devices) + more as usize;
        let is_there = || acknowledged(&self.devices) >= least;
        until("more is acknowledged", Duration::from_millis(10), is_there).await;
    }

    async fn finish(self) -> String {
        finish(&self.server, &self.database, &self.relay.url, self.devices).await
    }
}

fn crashes() -> u64 {
    size("HEADWATER_DATABASE_CRASHES", 3)
}
