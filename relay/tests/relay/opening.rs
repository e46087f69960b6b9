//! Opening a space while something else happens in it.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use headwater::{ConnectOptions, Replica};
use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, RedbFeed, StorageBackend, WriterLimits};

use crate::running::{Relay, SPACE, numbered, space, until};

/// Storage in memory that makes nothing durable while it is shut.
#[derive(Clone, Debug)]
struct Gated {
    inner: Arc<InMemoryBackend>,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug, Default)]
struct Gate {
    is_shut: bool,
    waiting: usize,
}

impl Gated {
    fn set_shut(&self, is_shut: bool) {
        self.gate.0.lock().unwrap().is_shut = is_shut;
        self.gate.1.notify_all();
    }

    fn has_waiting(&self) -> bool {
        self.gate.0.lock().unwrap().waiting > 0
    }
}

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut gate = self.gate.0.lock().unwrap();
        gate.waiting += 1;
        while gate.is_shut {
            gate = self.gate.1.wait(gate).unwrap();
        }
        gate.waiting -= 1;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_durable_while_a_client_opens_the_space_reaches_it() {
    // Would leave a client that opened in just that moment up to date by its own account, and without the change until the next.
    let disk = Gated { inner: Arc::new(InMemoryBackend::new()), gate: Arc::default() };
    let feed = RedbFeed::open_backend(disk.clone(), NewFeed { created_ms: 0 }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start_with(directory.path(), |config| {
        config.store = FeedStore::redb(feed, WriterLimits::default()).unwrap();
    })
    .await;
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let connection = a.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    let lists = a.space(SPACE).dynamic("lists").unwrap();
    lists.insert(numbered(1)).unwrap();
    connection.sync_now().await.unwrap();

    disk.set_shut(true);
    lists.insert(numbered(2)).unwrap();
    until("the append waits for the disk", || disk.has_waiting()).await;
    let opened = b.connect(&relay.url(), ConnectOptions::new([space()])).unwrap();
    opened.sync_now().await.unwrap();
    let count = || b.entity_positions(space(), None, usize::MAX).unwrap().len();
    assert_eq!(count(), 1, "the second one is not durable yet");

    disk.set_shut(false);
    until("the second one arrives", || count() == 2).await;
    relay.stop().await;
}
