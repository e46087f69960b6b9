//! A relay in this process on a free port, and replicas in files beside it.

use std::net::SocketAddr;
use std::path::Path;

use headwater::{Replica, SpaceId, SyncOptions, SyncReport};
use headwater_relay::{Config, ServeError, serve};
use headwater_storage::{FeedStore, NewFeed, RedbFeed, WriterLimits};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const SPACE: &str = "home";

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
        let feed = RedbFeed::open(directory.join("feed.redb"), NewFeed { created_ms: 0 }).unwrap();
        let mut config = Config::new(FeedStore::redb(feed, WriterLimits::default()).unwrap());
        change(&mut config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
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
