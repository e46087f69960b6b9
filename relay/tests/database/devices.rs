//! Replicas that write all the time, and a journal of what the relay acknowledged to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater::sync::Backoff;
use headwater::{ConnectOptions, Connection, EntityId, Map, Receipt, Replica, SpaceId, SyncOptions, Value};
use headwater_storage::testing::Postgres;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{held, table};

pub(crate) const SPACE: &str = "home";
pub(crate) const COLLECTION: &str = "lists";
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// Written by every device.
const SHARED: u128 = 1;

/// entity -> how many of its changes were acknowledged
type Acknowledged = BTreeMap<EntityId, usize>;

/// A replica that stays connected, and writes until it is told to stop.
pub(crate) struct Device {
    pub(crate) replica: Replica,
    connection: Connection,
    stop: Arc<AtomicBool>,
    journal: Arc<Mutex<Acknowledged>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Device {
    /// Connects, and writes with about so much time between two writes.
    pub(crate) fn start(folder: &Path, url: &str, number: u64, pause: Duration) -> Device {
        let replica = Replica::open(folder.join(format!("device {number}"))).unwrap();
        let connection = connect(&replica, url);
        let (stop, journal) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Acknowledged>>::default());
        let (writes, written) = mpsc::unbounded_channel();
        let writer = tokio::task::spawn_blocking({
            let (replica, stop) = (replica.clone(), Arc::clone(&stop));
            move || keep_writing(&replica, number, pause, &stop, &writes)
        });
        let listener = tokio::spawn(note(written, Arc::clone(&journal)));
        Device { replica, connection, stop, journal, tasks: vec![writer, listener] }
    }

    /// What was acknowledged by now.
    pub(crate) fn acknowledged(&self) -> Acknowledged {
        self.journal.lock().unwrap().clone()
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    async fn end(self) -> (Replica, Acknowledged) {
        for task in self.tasks {
            tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
        }
        self.connection.disconnect().await;
        let acknowledged = self.journal.lock().unwrap().clone();
        (self.replica, acknowledged)
    }
}

/// How many changes were acknowledged to all of them.
pub(crate) fn acknowledged(devices: &[Device]) -> usize {
    devices.iter().map(|device| device.journal.lock().unwrap().values().sum::<usize>()).sum()
}

/// Everything that was acknowledged by now is in the database.
pub(crate) fn assert_holds(server: &Postgres, database: &str, acknowledged: &[Acknowledged]) {
    let changes = table::read(server, database, space()).changes;
    for (entity, count) in acknowledged.iter().flatten() {
        let found = changes.get(entity).map_or(0, BTreeMap::len);
        assert!(found >= *count, "{entity}: {count} changes acknowledged, {found} in the database");
    }
}

/// Stops the devices, waits until all of them are even without any help, and compares them with the database and a new device.
/// Says what there was, for a person.
pub(crate) async fn finish(server: &Postgres, database: &str, url: &str, devices: Vec<Device>) -> String {
    let began = Instant::now();
    devices.iter().for_each(Device::stop);
    let replicas: Vec<&Replica> = devices.iter().map(|device| &device.replica).collect();
    until_even(&replicas).await;
    let took = began.elapsed();
    let (mut replicas, mut journals) = (Vec::new(), Vec::new());
    for device in devices {
        let (replica, acknowledged) = device.end().await;
        replicas.push(replica);
        journals.push(acknowledged);
    }
    assert_holds(server, database, &journals);
    let changes = assert_everywhere(server, database, url, &replicas.iter().collect::<Vec<_>>()).await;
    let count: usize = journals.iter().flat_map(BTreeMap::values).sum();
    format!("{count} changes acknowledged, {changes} in the feed; even by themselves after {took:.1?}")
}

/// Waits until nothing waits to be pushed and all replicas have the same. Nobody is asked to sync.
pub(crate) async fn until_even(replicas: &[&Replica]) {
    let positions = |replica: &Replica| replica.entity_positions(space(), None, usize::MAX).unwrap();
    let even = || {
        let (first, others) = replicas.split_first().unwrap();
        let pushed = replicas.iter().all(|replica| replica.space(SPACE).pending().unwrap() == 0);
        pushed && others.iter().all(|other| positions(other) == positions(first))
    };
    until("the replicas are even", Duration::from_millis(50), even).await;
}

/// The replicas, a new one and the database hold the same changes, each once. Says how many.
pub(crate) async fn assert_everywhere(
    server: &Postgres,
    database: &str,
    url: &str,
    replicas: &[&Replica],
) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let fresh = Replica::open(directory.path().join("fresh")).unwrap();
    sync(&fresh, url).await;
    let all = held::changes(&fresh, space());
    for replica in replicas {
        assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
        assert!(held::changes(replica, space()) == all, "a fresh replica has other changes");
        let [ours, theirs] = [*replica, &fresh].map(|one| held::records(one, space(), COLLECTION));
        assert!(ours == theirs, "a fresh replica shows something else");
    }
    let table = table::read(server, database, space());
    assert!(table.changes == all, "other changes in the database");
    for position in fresh.entity_positions(space(), None, usize::MAX).unwrap() {
        assert_eq!(position.heads.into_iter().collect::<std::collections::BTreeSet<_>>(), {
            table.heads[&position.entity].clone()
        });
    }
    held::count(&all)
}

/// Syncs until it succeeds. A database that is away is the only thing that may be in the way of it.
pub(crate) async fn sync(replica: &Replica, url: &str) {
    let began = Instant::now();
    loop {
        match replica.sync(url, SyncOptions::new([space()])).await {
            Ok(report) => return assert_eq!(report.rejected, 0),
            Err(error) if error.is_retryable() && began.elapsed() < DEADLINE => {}
            Err(error) => panic!("not synced: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection that comes back soon.
pub(crate) fn connect(replica: &Replica, url: &str) -> Connection {
    let mut options = ConnectOptions::new([space()]);
    options.backoff = Backoff::new(20, 200);
    replica.connect(url, options).unwrap()
}

/// Waits until something holds, and looks again after each `pause`.
pub(crate) async fn until(what: &str, pause: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(pause).await;
    }
}

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

pub(crate) fn numbered(number: u64) -> Map {
    Map::from([("number".to_owned(), Value::Int(number as i64))])
}

/// New entities, changes of the last one, and now and then one that all devices change.
fn keep_writing(
    replica: &Replica,
    device: u64,
    pause: Duration,
    stop: &AtomicBool,
    writes: &mpsc::UnboundedSender<(EntityId, Receipt)>,
) {
    let lists = replica.space(SPACE).dynamic(COLLECTION).unwrap();
    let shared = EntityId::from_bytes(SHARED.to_be_bytes());
    let mut last = None;
    for turn in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let written = match (turn % 16, last) {
            (7, _) => {
                let fields = Map::from([(format!("device {device}"), Value::Int(turn as i64))]);
                (shared, lists.upsert_all([(shared, fields)]).unwrap())
            }
            (2 | 5 | 8 | 11 | 14, Some(id)) => (id, lists.set(id, numbered(turn)).unwrap()),
            _ => {
                let written = lists.insert(numbered(turn)).unwrap();
                last = Some(written.id);
                (written.id, written.receipt)
            }
        };
        if writes.send(written).is_err() {
            return;
        }
        std::thread::sleep(pause);
    }
}

/// Writes down what is acknowledged, in whatever order that happens, until everything is.
async fn note(mut written: mpsc::UnboundedReceiver<(EntityId, Receipt)>, journal: Arc<Mutex<Acknowledged>>) {
    let mut waiting = Vec::new();
    loop {
        let is_over = loop {
            match written.try_recv() {
                Ok(one) => waiting.push(one),
                Err(error) => break error == mpsc::error::TryRecvError::Disconnected,
            }
        };
        waiting.retain(|(entity, receipt): &(EntityId, Receipt)| {
            let is_safe = receipt.is_on_relay().unwrap();
            if is_safe {
                *journal.lock().unwrap().entry(*entity).or_default() += 1;
            }
            !is_safe
        });
        if is_over && waiting.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
