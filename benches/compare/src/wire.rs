//! A proxy that counts what passes: the same for all systems, whatever they say of themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::Result;

/// Runs until it is dropped.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    bytes: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Wire {
    /// Passes on to `server` and back.
    pub(crate) fn to(server: SocketAddr) -> Result<Wire> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let (address, bytes) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&bytes);
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    // A connection that fails here fails for both, and they see it.
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let _no_delay = near.set_nodelay(true).and(far.set_nodelay(true));
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near_in, far_out, &counted), pass(far_in, near_out, &counted));
                });
            }
        });
        Ok(Wire { address, bytes, _runtime: runtime })
    }

    /// Bytes that have passed both ways since the last call, of TCP's content: frames, HTTP's heads and all.
    pub(crate) fn take_bytes(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, counted: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        counted.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _closed = to.shutdown().await;
}
