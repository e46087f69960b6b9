//! A database of its own, relays in this process on it, replicas beside.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use headwater::{Replica, SpaceId, SyncOptions, SyncReport};
use headwater_relay::{Config, ServeError, serve};
use headwater_storage::testing::Postgres;
use headwater_storage::{FeedStore, PostgresFeed, PostgresOptions, WriterLimits};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const SPACE: &str = "home";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bed {
    server: &'static Postgres,
    pub(crate) database: String,
    pub(crate) directory: TempDir,
}

impl Bed {
    pub(crate) fn new() -> Bed {
        let server = Postgres::shared().unwrap();
        let database = server.database().unwrap();
        Bed { server, database, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) async fn config(&self) -> Config {
        let feed = PostgresFeed::open(PostgresOptions::new(&self.database)).await.unwrap();
        Config::new(FeedStore::postgres(feed, WriterLimits::default()))
    }

    pub(crate) async fn relay(&self) -> Relay {
        let config = self.config().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, config, async move { drop(stopped.await) }));
        Relay { address, stop: Some(stop), task }
    }

    pub(crate) fn replica(&self, name: &str) -> Replica {
        Replica::open(self.directory.path().join(name)).unwrap()
    }

    /// Runs SQL as a person would; `SPACE` stands for the space.
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap()
    }

    pub(crate) fn try_psql(&self, sql: &str) -> std::io::Result<String> {
        self.server.psql(&self.database, &sql.replace("SPACE", &format!("'{}'", space())))
    }

    /// As `psql`, for statements that are too long for a command line.
    pub(crate) fn psql_script(&self, sql: &str) -> String {
        let path = self.directory.path().join("script.sql");
        std::fs::write(&path, sql.replace("SPACE", &format!("'{}'", space()))).unwrap();
        let path = path.to_str().unwrap();
        let arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.database, "-f", path];
        String::from_utf8(self.server.tool("psql", &arguments).unwrap()).unwrap().trim_end().to_owned()
    }

    /// Waits until SQL prints `expected`.
    pub(crate) async fn psql_says(&self, sql: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.psql(sql);
            if said == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{sql} says {said:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every row is up to its feed and every edit is settled.
    pub(crate) async fn settled(&self) {
        self.psql_says("SELECT count(*) FROM headwater.inbox WHERE done_at IS NULL", "0").await;
        self.psql_says("SELECT count(*) FROM headwater.lag WHERE lag > 0", "0").await;
        self.psql_says("SELECT count(*) FROM headwater.due", "0").await;
    }
}

pub(crate) struct Relay {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Relay {
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

pub(crate) async fn sync(replica: &Replica, relay: &Relay) -> SyncReport {
    replica.sync(&relay.url(), SyncOptions::new([space()])).await.unwrap()
}

/// Waits until `is_so` holds.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
