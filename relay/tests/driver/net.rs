//! turmoil's sockets behind the seams of the two drivers, with an eye on each.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use headwater::client::{ByteStream, Opening, Transport};
use headwater_relay::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

pub(crate) const PORT: u16 = 8787;

/// What is seen and steered at one end.
#[derive(Debug, Default)]
pub(crate) struct Eye {
    open: AtomicUsize,
    is_deaf: AtomicBool,
    attempts: Mutex<Vec<Duration>>,
}

impl Eye {
    /// Streams that are open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// When streams were asked for or came in, in the world's time.
    pub(crate) fn attempts(&self) -> Vec<Duration> {
        self.attempts.lock().unwrap().clone()
    }

    /// A deaf end reads nothing, as a process that hangs.
    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    fn attempt(&self) {
        self.attempts.lock().unwrap().push(turmoil::sim_elapsed().unwrap());
    }
}

/// A stream that is counted while it is open.
pub(crate) struct Wire {
    stream: TcpStream,
    eye: Arc<Eye>,
}

impl Wire {
    fn new(stream: TcpStream, eye: &Arc<Eye>) -> Wire {
        eye.open.fetch_add(1, Ordering::Relaxed);
        Wire { stream, eye: Arc::clone(eye) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.eye.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.eye.is_deaf.load(Ordering::Relaxed) {
            // Looked at again whenever the driver's own timers wake it.
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The client's way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    pub(crate) eye: Arc<Eye>,
}

impl Transport for Net {
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Opening<'a> {
        Box::pin(async move {
            self.eye.attempt();
            let stream = TcpStream::connect((host, port)).await?;
            Ok(Box::new(Wire::new(stream, &self.eye)) as Box<dyn ByteStream>)
        })
    }
}

/// The relay's way in.
pub(crate) struct Port {
    listener: TcpListener,
    eye: Arc<Eye>,
}

impl Port {
    pub(crate) async fn bind(eye: &Arc<Eye>) -> io::Result<Port> {
        Ok(Port { listener: TcpListener::bind(("0.0.0.0", PORT)).await?, eye: Arc::clone(eye) })
    }
}

impl Listener for Port {
    type Stream = Wire;

    async fn accept(&self) -> io::Result<(Wire, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        self.eye.attempt();
        Ok((Wire::new(stream, &self.eye), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
