//! Relays on free ports: in this process, or as a process of their own, whose memory and processor time can be told from the load's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use headwater_relay::{Config, ServeError, serve};
use headwater_storage::{FeedStore, NewFeed, PostgresFeed, PostgresOptions, RedbFeed, WriterLimits};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::OrExit;
use crate::process::Process;

/// The folder of the relay that this process is to be. Set by [`RelayProcess`], read by [`serve_if_asked`].
const SERVE: &str = "HEADWATER_BENCH_SERVE";

/// A relay that runs until it is stopped.
pub struct RunningRelay {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl RunningRelay {
    /// Starts a relay that keeps its feed in `directory`. Starting there again goes on with that feed.
    pub async fn start(directory: &Path) -> RunningRelay {
        RunningRelay::serve(open(directory)).await
    }

    /// Starts a relay on a database, beside others.
    pub async fn on_database(url: &str) -> RunningRelay {
        let feed = PostgresFeed::open(PostgresOptions::new(url)).await.or_exit("opening the database");
        RunningRelay::serve(FeedStore::postgres(feed, WriterLimits::default())).await
    }

    async fn serve(store: FeedStore) -> RunningRelay {
        let config = Config::new(store);
        let listener = TcpListener::bind("127.0.0.1:0").await.or_exit("binding a port");
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

fn open(directory: &Path) -> FeedStore {
    let feed =
        RedbFeed::open(directory.join("feed.redb"), NewFeed { created_ms: 0 }).or_exit("opening the feed");
    FeedStore::redb(feed, WriterLimits::default()).or_exit("starting the feed's writer")
}

/// A relay in a process of its own, with the configuration that `headwater-relay serve` has. Ends when this is dropped, or this
/// process ends.
pub struct RelayProcess {
    child: Child,
    address: SocketAddr,
}

impl RelayProcess {
    /// Starts this same program again, as a relay that keeps its feed in `directory`.
    pub fn start(directory: &Path) -> RelayProcess {
        let program = std::env::current_exe().or_exit("finding this program");
        let mut child = Command::new(program)
            .env(SERVE, directory)
            // Ends the relay when it closes, however this process ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_exit("starting a relay");
        let stdout = child.stdout.take().or_exit("reading from the relay");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).or_exit("reading from the relay");
        let address = line.trim().parse().or_exit("reading the relay's address");
        RelayProcess { child, address }
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where replicas find it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What the system says of it.
    pub fn process(&self) -> Process {
        Process::of(self.child.id())
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().or_exit("waiting for the relay to end");
    }
}

/// Serves, and never returns, if this process was started by [`RelayProcess::start`].
pub fn serve_if_asked() {
    let Some(directory) = std::env::var_os(SERVE) else { return };
    let runtime = tokio::runtime::Runtime::new().or_exit("starting tokio");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.or_exit("binding a port");
        let mut stdout = std::io::stdout();
        let address = listener.local_addr().or_exit("reading the port");
        writeln!(stdout, "{address}").and_then(|()| stdout.flush()).or_exit("telling the address");
        let closed = async {
            let read = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
            read.or_exit("waiting for the end").or_exit("waiting for the end");
        };
        serve(listener, Config::new(open(Path::new(&directory))), closed).await.or_exit("serving");
    });
    std::process::exit(0)
}
