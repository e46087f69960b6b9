//! A relay in this process, on a free port.

use std::net::SocketAddr;
use std::path::Path;

use headwater_relay::{Config, ServeError, serve};
use headwater_storage::{FeedStore, NewFeed, PostgresFeed, PostgresOptions, RedbFeed, WriterLimits};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::OrExit;

/// A relay that runs until it is stopped.
pub struct RunningRelay {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl RunningRelay {
    /// Starts a relay that keeps its feed in `directory`. Starting there again goes on with that feed.
    pub async fn start(directory: &Path) -> RunningRelay {
        let feed = RedbFeed::open(directory.join("feed.redb"), NewFeed { created_ms: 0 })
            .or_exit("opening the feed");
        let store = FeedStore::redb(feed, WriterLimits::default()).or_exit("starting the feed's writer");
        RunningRelay::serve(store).await
    }

    /// Starts a relay on a database, beside others.
    pub async fn on_database(url: &str) -> RunningRelay {
        let feed = PostgresFeed::open(PostgresOptions::new(url)).await.or_exit("opening the database");
        RunningRelay::serve(FeedStore::postgres(feed, WriterLimits::default())).await
    }

    async fn serve(store: FeedStore) -> RunningRelay {
        let config = Config::new(store);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.or_exit("binding a port");
        let address = listener.local_addr().or_exit("reading the port");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, config, async move { drop(stopped.await) }));
        RunningRelay { address, stop, task }
    }

    /// Where replicas find it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Stops it, and waits until its file is closed.
    pub async fn stop(self) {
        drop(self.stop);
        self.task.await.or_exit("joining the relay").or_exit("serving");
    }
}
