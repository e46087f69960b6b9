//! Several relays on one database come and go, and their clients with them.

use std::time::{Duration, Instant};

use headwater_storage::testing::Postgres;

use crate::devices::{Device, acknowledged, assert_holds, finish, until};
use crate::kills::varied;
use crate::process::RelayProcess;
use crate::proxy::Proxy;
use crate::size;

const RELAYS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(40);
/// From so many seconds on it is a long run.
const LONG_SECONDS: u64 = 30;

/// Where clients find a relay, whichever process that is just now.
struct Station {
    address: Proxy,
    relay: RelayProcess,
}

/// Would lose or double changes, or leave some devices behind others, whenever one of several relays is replaced or dies.
#[tokio::test(flavor = "multi_thread")]
async fn relays_that_come_and_go_leave_all_replicas_even() {
    let seconds = size("HEADWATER_DATABASE_SECONDS", 8);
    let server = tokio::task::block_in_place(|| Postgres::shared().unwrap());
    let database = server.database().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut stations = Vec::new();
    for _ in 0..RELAYS {
        stations.push(Station::open(&database).await);
    }
    let devices: Vec<_> = (0..if seconds < LONG_SECONDS { 6 } else { 20 })
        .map(|number| {
            let url = &stations[(number % RELAYS) as usize].address.url;
            Device::start(directory.path(), url, number, PAUSE)
        })
        .collect();
    let (began, mut kills, mut replacements) = (Instant::now(), 0, 0);
    for round in 0_u64.. {
        if began.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let before = acknowledged(&devices);
        if round % 4 == 3 {
            for station in &mut stations {
                station.replace(&database);
                replacements += 1;
            }
        } else {
            let station = &mut stations[varied(round, RELAYS) as usize];
            station.relay.kill();
            kills += 1;
            let safe: Vec<_> = devices.iter().map(Device::acknowledged).collect();
            // While the others go on.
            tokio::task::block_in_place(|| assert_holds(server, &database, &safe));
            tokio::time::sleep(Duration::from_millis(varied(round, 300))).await;
            station.restart(&database);
        }
        let goes_on = || acknowledged(&devices) > before + devices.len();
        until("changes are acknowledged", Duration::from_millis(10), goes_on).await;
    }
    let (count, url) = (devices.len(), stations[0].address.url.clone());
    let finished = finish(server, &database, &url, devices).await;
    println!(
        "{count} replicas on {RELAYS} relays for {seconds} s, {kills} relays killed, {replacements} replaced: {finished}"
    );
}

impl Station {
    async fn open(database: &str) -> Station {
        let relay = started(database);
        Station { address: Proxy::start(relay.address(), None).await, relay }
    }

    /// Starts a new process in place of one that is gone.
    fn restart(&mut self, database: &str) {
        self.relay = started(database);
        self.address.lead_to(self.relay.address());
    }

    /// Starts a new process, leads new connections to it, and only then stops the old one.
    fn replace(&mut self, database: &str) {
        let new = started(database);
        self.address.lead_to(new.address());
        let mut old = std::mem::replace(&mut self.relay, new);
        let ended = tokio::task::block_in_place(|| old.terminate());
        assert!(ended.success(), "a relay that was asked to stop ended with {ended}");
    }
}

fn started(database: &str) -> RelayProcess {
    tokio::task::block_in_place(|| RelayProcess::start_on(database, &[]))
}
