//! A TCP proxy that forwards bytes, counts them, and cuts the connection after exactly so many.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const BUFFER_BYTES: usize = 16 << 10;

/// A proxy in front of a relay. It ends, with its connections, when this is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    upstream: Arc<Mutex<SocketAddr>>,
    passed: Arc<Passed>,
    task: JoinHandle<()>,
}

/// The bytes that were forwarded, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) from_client: AtomicUsize,
    pub(crate) from_relay: AtomicUsize,
}

/// Where a connection is cut.
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
    pub(crate) async fn start(upstream: SocketAddr, cut: Option<Cut>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let upstream = Arc::new(Mutex::new(upstream));
        let passed = Arc::new(Passed::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&upstream), cut, Arc::clone(&passed)));
        Proxy { url, upstream, passed, task }
    }

    /// Where the next connections go.
    pub(crate) fn lead_to(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap() = upstream;
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
    cut: Option<Cut>,
    passed: Arc<Passed>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let (upstream, passed) = (*upstream.lock().unwrap(), Arc::clone(&passed));
        // What the sockets answer is the business of their two ends: they see the same.
        connections.spawn(async move { forward(client, upstream, cut, &passed).await.is_ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    mut client: TcpStream,
    upstream: SocketAddr,
    cut: Option<Cut>,
    passed: &Passed,
) -> io::Result<()> {
    let mut relay = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    relay.set_nodelay(true)?;
    let allowed = |from| cut.filter(|cut| cut.from == from).map(|cut| cut.after);
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_relay, to_relay) = relay.split();
        tokio::select! {
            up = pump(from_client, to_relay, allowed(From::Client), &passed.from_client) => up?,
            down = pump(from_relay, to_client, allowed(From::Relay), &passed.from_relay) => down?,
        }
    };
    match cut.filter(|_| is_cut).map(|cut| cut.how) {
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

/// Forwards to the end of the stream, or exactly `allowed` bytes. Says whether it is these that are over.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut allowed: Option<usize>,
    passed: &AtomicUsize,
) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while allowed != Some(0) {
        let room = allowed.unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let read = from.read(&mut buffer[..room]).await?;
        if read == 0 {
            return Ok(false);
        }
        to.write_all(&buffer[..read]).await?;
        passed.fetch_add(read, Ordering::Relaxed);
        allowed = allowed.map(|allowed| allowed - read);
    }
    Ok(true)
}
