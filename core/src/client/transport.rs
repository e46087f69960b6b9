use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What a [`Transport`] makes: bytes both ways, in order. Every type that can do it is one.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// An attempt of a [`Transport`] that is under way. Dropping it gives the attempt up.
pub type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'a>>;

/// Makes the byte stream that a connection runs over. The WebSocket and all that is in it goes over that stream, so this is the place
/// for a proxy, a tunnel, a Unix socket or a simulated network.
///
/// ```
/// use headwater::client::{ByteStream, Opening, Transport};
/// use headwater::{ConnectOptions, SpaceId};
/// use std::sync::Arc;
/// use tokio::net::TcpStream;
///
/// /// A tunnel on this machine: whatever relay is asked for, it is on the tunnel's other end.
/// #[derive(Debug)]
/// struct Tunnel { port: u16 }
///
/// impl Transport for Tunnel {
///     fn open<'a>(&'a self, _host: &'a str, _port: u16) -> Opening<'a> {
///         Box::pin(async move {
///             let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
///             stream.set_nodelay(true)?;
///             Ok(Box::new(stream) as Box<dyn ByteStream>)
///         })
///     }
/// }
///
/// let mut options = ConnectOptions::new([SpaceId::from_name("home")]);
/// options.transport = Arc::new(Tunnel { port: 2222 });
/// ```
pub trait Transport: Debug + Send + Sync + 'static {
    /// Opens a stream to the host and port of the relay's URL. An IPv6 address comes without its brackets.
    ///
    /// The attempt counts against the connect timeout, and is dropped when that is over. An error is one to try again after.
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Opening<'a>;
}

/// The usual transport: TCP, without waiting to fill packets.
///
/// ```
/// use headwater::client::{Tcp, Transport};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let port = listener.local_addr()?.port();
/// assert!(Tcp.open("127.0.0.1", port).await.is_ok());
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Opening<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            // Frames are whole messages already: waiting to fill a packet would only delay them.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}
