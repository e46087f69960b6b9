//! A TCP proxy that forwards bytes, counts them, and cuts a connection after exactly so many.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const BUFFER_BYTES: usize = 16 << 10;

/// A proxy in front of a relay. It ends, with its connections, when this is dropped.
///
/// In front of a relay's database, the relay is what it calls the client, and the database what it calls the relay.
pub(crate) struct Proxy {
    pub(crate) url: String,
    upstream: Arc<Mutex<SocketAddr>>,
    passed: Arc<Passed>,
    armed: Arc<Armed>,
    hang_up: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// A cut that waits for its byte.
type Armed = Mutex<Option<Cut>>;

/// The bytes that were forwarded, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) from_client: AtomicUsize,
    pub(crate) from_relay: AtomicUsize,
}

/// Where a connection is cut, counted from its beginning, or over all connections from when the cut is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) from: From,
    /// Bytes that are still forwarded in this direction.
    pub(crate) after: usize,
    pub(crate) how: How,
}

/// Whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Relay,
}

/// What a cut looks like from both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The end of the stream.
    Close,
    /// A reset.
    Reset,
    /// Nothing at all: the sockets stay open, and no byte moves any more.
    Stall,
}

impl Proxy {
    /// Each connection is cut at `cut`.
    pub(crate) async fn start(upstream: SocketAddr, cut: Option<Cut>) -> Proxy {
        Proxy::start_with(upstream, move |_| Arc::new(Mutex::new(cut))).await
    }

    /// Connections are only cut by [`Proxy::arm`].
    pub(crate) async fn start_unarmed(upstream: SocketAddr) -> Proxy {
        Proxy::start_with(upstream, Arc::clone).await
    }

    async fn start_with(
        upstream: SocketAddr,
        of_connection: impl Fn(&Arc<Armed>) -> Arc<Armed> + Send + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let upstream = Arc::new(Mutex::new(upstream));
        let passed = Arc::new(Passed::default());
        let armed = Arc::<Armed>::default();
        let (hang_up, hung_up) = watch::channel(());
        let task = tokio::spawn({
            let (upstream, passed, armed) = (Arc::clone(&upstream), Arc::clone(&passed), Arc::clone(&armed));
            accept(listener, upstream, move || of_connection(&armed), passed, hung_up)
        });
        Proxy { url, upstream, passed, armed, hang_up, task }
    }

    /// Where the next connections go.
    pub(crate) fn lead_to(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap() = upstream;
    }

    /// Cuts the connection that has the byte, once.
    pub(crate) fn arm(&self, cut: Cut) {
        *self.armed.lock().unwrap() = Some(cut);
    }

    /// Takes an armed cut back. Says whether it had been made.
    pub(crate) fn disarm(&self) -> bool {
        self.armed.lock().unwrap().take().is_none()
    }

    /// Resets all connections that there are.
    pub(crate) fn hang_up(&self) {
        self.hang_up.send_replace(());
    }

    /// (from the client, from the relay)
    pub(crate) fn passed(&self) -> (usize, usize) {
        let Passed { from_client, from_relay } = &*self.passed;
        (from_client.load(Ordering::Relaxed), from_relay.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: Arc<Mutex<SocketAddr>>,
    armed: impl Fn() -> Arc<Armed>,
    passed: Arc<Passed>,
    hung_up: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let (upstream, passed) = (*upstream.lock().unwrap(), Arc::clone(&passed));
        let (armed, mut hung_up) = (armed(), hung_up.clone());
        hung_up.mark_unchanged();
        // What the sockets answer is the business of their two ends: they see the same.
        connections
            .spawn(async move { forward(client, upstream, &armed, &passed, &mut hung_up).await.is_ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    mut client: TcpStream,
    upstream: SocketAddr,
    armed: &Armed,
    passed: &Passed,
    hung_up: &mut watch::Receiver<()>,
) -> io::Result<()> {
    let mut relay = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    relay.set_nodelay(true)?;
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_relay, to_relay) = relay.split();
        tokio::select! {
            up = pump(from_client, to_relay, From::Client, armed, &passed.from_client) => up?,
            down = pump(from_relay, to_client, From::Relay, armed, &passed.from_relay) => down?,
            Ok(()) = hung_up.changed() => Some(How::Reset),
        }
    };
    match cut {
        // The connection ended by itself: once one end is gone, the other has nobody to talk to.
        None | Some(How::Close) => {}
        Some(How::Reset) => {
            client.set_zero_linger()?;
            relay.set_zero_linger()?;
        }
        Some(How::Stall) => std::future::pending().await,
    }
    Ok(())
}

/// Forwards to the end of the stream, or up to exactly the byte of a cut: it says then how to cut.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    side: From,
    armed: &Armed,
    passed: &AtomicUsize,
) -> io::Result<Option<How>> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut read = 0;
    loop {
        let (allowed, cut) = meter(armed, side, read);
        to.write_all(&buffer[..allowed]).await?;
        passed.fetch_add(allowed, Ordering::Relaxed);
        if cut.is_some() {
            return Ok(cut);
        }
        read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
    }
}

/// How many of so many bytes are forwarded, and whether the connection is cut behind them.
fn meter(armed: &Armed, side: From, bytes: usize) -> (usize, Option<How>) {
    let mut armed = armed.lock().unwrap();
    let Some(cut) = armed.as_mut().filter(|cut| cut.from == side) else { return (bytes, None) };
    let allowed = bytes.min(cut.after);
    cut.after -= allowed;
    match cut.after {
        0 => (allowed, armed.take().map(|cut| cut.how)),
        _ => (allowed, None),
    }
}
