//! A relay in this process on a free port, and replicas in files beside it.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater::{Map, Replica, SpaceId, SyncOptions, SyncReport, Value};
use headwater_relay::{Config, ServeError, serve};
use headwater_storage::{ChangeRecord, FeedStore, NewFeed, PageLimit, RedbFeed, Seq, WriterLimits};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const SPACE: &str = "home";

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Relay {
    pub(crate) async fn start(directory: &Path) -> Relay {
        Relay::start_with(directory, |_| ()).await
    }

    pub(crate) async fn start_with(directory: &Path, change: impl FnOnce(&mut Config)) -> Relay {
        Relay::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), directory, change).await
    }

    /// On an address that clients know already.
    pub(crate) async fn start_at(
        address: SocketAddr,
        directory: &Path,
        change: impl FnOnce(&mut Config),
    ) -> Relay {
        let feed = open_feed(directory).await;
        let mut config = Config::new(FeedStore::redb(feed, WriterLimits::default()).unwrap());
        change(&mut config);
        let listener = listen(address).await;
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, config, async move { drop(stopped.await) }));
        Relay { address, stop: Some(stop), task }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }
}

/// Listens on an address. A connection that another test makes may hold the port for a moment.
async fn listen(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            bound => return bound.unwrap(),
        }
    }
}

/// Opens a relay's feed. A relay that has just stopped may hold the file for a moment longer than it serves.
pub(crate) async fn open_feed(directory: &Path) -> RedbFeed {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match RedbFeed::open(directory.join("feed.redb"), NewFeed { created_ms: 0 }) {
            Ok(feed) => return feed,
            Err(error) => assert!(Instant::now() < deadline, "the feed does not open: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the feed of a stopped relay holds, in its order. Fails if a seq is missing, a change is there twice, or the chain of hashes
/// does not hold.
pub(crate) async fn read_feed(directory: &Path) -> Vec<ChangeRecord> {
    let feed = open_feed(directory).await;
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let rows = feed.read_by_seq(space(), Seq::ZERO, limit).unwrap().rows;
    assert_eq!(feed.verify_chain(space(), Seq::ZERO, usize::MAX).unwrap(), None, "the chain breaks");
    let seqs: Vec<u64> = rows.iter().map(|row| row.seq.get()).collect();
    assert_eq!(seqs, (1..=rows.len() as u64).collect::<Vec<_>>(), "the feed is not dense");
    let changes: HashSet<_> = rows.iter().map(|row| (row.record.entity, row.record.hash)).collect();
    assert_eq!(changes.len(), rows.len(), "a change is there twice");
    rows.into_iter().map(|row| row.record).collect()
}

/// Waits until `is_so` holds.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The fields of an entity with a number in it.
pub(crate) fn numbered(number: i64) -> Map {
    Map::from([("number".into(), Value::Int(number))])
}

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

pub(crate) async fn sync(replica: &Replica, relay: &Relay) -> SyncReport {
    replica.sync(&relay.url(), SyncOptions::new([space()])).await.unwrap()
}

/// Whether two replicas hold the same, down to the heads of every entity.
pub(crate) fn assert_equal(a: &Replica, b: &Replica) {
    let positions = |replica: &Replica| replica.entity_positions(space(), None, usize::MAX).unwrap();
    assert_eq!(positions(a), positions(b));
    for collection in a.space(SPACE).collections() {
        let records = |replica: &Replica| {
            let collection = replica.space(SPACE).dynamic(collection.as_str()).unwrap();
            collection.iter().map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(records(a), records(b));
    }
}
