//! A relay in the test's own process.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use headwater_relay::{Config, serve};
use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, RedbFeed, WriterLimits};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Long enough for a loaded machine, short enough to see that something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A relay of this test's own, on a free port. Stops when the test ends.
pub(crate) struct Relay {
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start() -> Relay {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell_address, address) = channel();
        let thread = std::thread::spawn(move || {
            let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 }).unwrap();
            let config = Config::new(FeedStore::redb(feed, WriterLimits::default()).unwrap());
            Runtime::new().unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell_address.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, config, async { stopped.await.unwrap_or(()) }).await.unwrap();
            });
        });
        let url = format!("ws://{}", address.recv_timeout(PATIENCE).unwrap());
        Relay { url, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A relay that panicked has failed its test already, and a second panic would hide why.
        let _ended = self.thread.take().is_some_and(|thread| thread.join().is_ok());
    }
}
