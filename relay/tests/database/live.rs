//! What is pushed to one relay comes to those who are connected to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater::Replica;
use headwater_storage::testing::Postgres;

use crate::devices::{COLLECTION, DEADLINE, SPACE, assert_everywhere, connect, numbered, until, until_even};
use crate::kills::varied;
use crate::process::RelayProcess;
use crate::table;

const CHANGES: u64 = 20;
/// Longer than any test: nothing is found by looking.
const NEVER: &[&str] = &["--database-poll-ms", "3600000"];
const OFTEN: &[&str] = &["--database-poll-ms", "100"];

/// Two relays, a replica at each, and something that happens to the database all the while.
struct Pair {
    server: &'static Postgres,
    database: String,
    relays: [RelayProcess; 2],
    _directory: tempfile::TempDir,
    replicas: [Replica; 2],
}

/// Would show what others write only after as long as relays poll, or never.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_comes_through_another_relay_by_notification() {
    let pair = Pair::start(NEVER);
    let (connections, times) = pair.exchange().await;
    report("by notification", times);
    pair.finish(connections).await;
}

/// Would show nothing of what others write on a database without notifications, or whenever one is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_comes_through_another_relay_by_polling_alone() {
    let pair = Pair::start(OFTEN);
    let trouble = Trouble::start(&pair, "query LIKE 'LISTEN%'", 30);
    let (connections, times) = pair.exchange().await;
    report(&format!("by polling, {} listeners ended", trouble.end().await), times);
    pair.finish(connections).await;
}

/// Would leave a replica behind until somebody writes again, because what failed once is not looked at a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_comes_through_a_relay_whose_reads_fail_now_and_then() {
    let pair = Pair::start(OFTEN);
    let connections = pair.connect();
    let lists = pair.replicas[0].space(SPACE).dynamic(COLLECTION).unwrap();
    let mut ended = 0;
    for round in 0..CHANGES {
        // Only the relay that reads has it; it may fail at the first look, or at the one at what it found.
        let trouble = Trouble::start(&pair, "application_name = 'b'", 10);
        lists.insert(numbered(round)).unwrap();
        tokio::time::sleep(Duration::from_micros(varied(round, 300_000))).await;
        ended += trouble.end().await;
        // From here on nothing fails, and nobody writes.
        until_even(&pair.replicas.iter().collect::<Vec<_>>()).await;
    }
    println!("{ended} connections ended, {CHANGES} changes came nevertheless");
    pair.finish(connections).await;
}

impl Pair {
    fn start(options: &[&str]) -> Pair {
        tokio::task::block_in_place(|| {
            let server = Postgres::shared().unwrap();
            let database = server.database().unwrap();
            // By this name the database knows whose connections are whose.
            let url = |name| format!("{database}?application_name={name}");
            let relays = ["a", "b"].map(|name| RelayProcess::start_on(&url(name), options));
            let directory = tempfile::tempdir().unwrap();
            let replicas = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
            Pair { server, database, relays, _directory: directory, replicas }
        })
    }

    fn connect(&self) -> Vec<headwater::Connection> {
        self.replicas.iter().zip(&self.relays).map(|(replica, relay)| connect(replica, &relay.url)).collect()
    }

    /// Writes at one and waits at the other, in both directions. Gives how long each change took.
    async fn exchange(&self) -> (Vec<headwater::Connection>, Vec<Duration>) {
        let connections = self.connect();
        let lists = self.replicas.each_ref().map(|one| one.space(SPACE).dynamic(COLLECTION).unwrap());
        let mut times = Vec::new();
        for number in 0..CHANGES {
            let [from, to] = [number % 2, 1 - number % 2].map(|at| &lists[at as usize]);
            let written = Instant::now();
            let id = from.insert(numbered(number)).unwrap().id;
            while to.get(id).unwrap().is_none() {
                assert!(written.elapsed() < DEADLINE, "change {number} does not come");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(written.elapsed());
        }
        (connections, times)
    }

    async fn finish(self, connections: Vec<headwater::Connection>) {
        let replicas: Vec<_> = self.replicas.iter().collect();
        until("all is acknowledged", Duration::from_millis(10), || {
            replicas.iter().all(|replica| replica.space(SPACE).pending().unwrap() == 0)
        })
        .await;
        for connection in connections {
            connection.disconnect().await;
        }
        let changes = assert_everywhere(self.server, &self.database, &self.relays[0].url, &replicas).await;
        assert_eq!(changes as u64, CHANGES);
    }
}

/// Ends connections of the relays, again and again.
struct Trouble {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Trouble {
    fn start(pair: &Pair, of_which: &'static str, pause_ms: u64) -> Trouble {
        let (server, database, stop) = (pair.server, pair.database.clone(), Arc::<AtomicBool>::default());
        let task = tokio::task::spawn_blocking({
            let stop = Arc::clone(&stop);
            move || {
                let mut ended = 0;
                while !stop.load(Ordering::Relaxed) {
                    ended += table::terminate(server, &database, of_which);
                    std::thread::sleep(Duration::from_millis(pause_ms));
                }
                ended
            }
        });
        Trouble { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

fn report(how: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("through another relay {how}: {median:.1?} (median), {longest:.1?} (longest)");
}
