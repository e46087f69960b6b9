use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Where connections come from. tokio's `TcpListener` is one; a simulated network, or a socket behind a proxy that says who really
/// called, can be another.
///
/// ```
/// use headwater_relay::Listener;
/// use std::io;
/// use std::net::SocketAddr;
/// use tokio::io::DuplexStream;
/// use tokio::sync::{Mutex, mpsc};
///
/// /// Connections of the same process.
/// struct Pipes(Mutex<mpsc::Receiver<DuplexStream>>);
///
/// impl Listener for Pipes {
///     type Stream = DuplexStream;
///
///     async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
///         match self.0.lock().await.recv().await {
///             Some(pipe) => Ok((pipe, self.local_addr()?)),
///             None => std::future::pending().await,
///         }
///     }
///
///     fn local_addr(&self) -> io::Result<SocketAddr> {
///         Ok(SocketAddr::from(([127, 0, 0, 1], 0)))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let (callers, pipes) = mpsc::channel(8);
/// let listener = Pipes(Mutex::new(pipes));
/// let (_client, relay) = tokio::io::duplex(4096);
/// callers.send(relay).await?;
/// let (_stream, peer) = listener.accept().await?;
/// assert!(peer.ip().is_loopback());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Listener: Send + Sync {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection, and says where it comes from. Dropping the future must not lose a connection.
    ///
    /// After an error the relay waits a moment and asks again.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where clients reach it: the relay refuses to serve more than it may, see [`Exposure`](crate::Exposure).
    ///
    /// # Errors
    /// When the listener is of no use any more.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Frames are whole messages already: waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
        }
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}
