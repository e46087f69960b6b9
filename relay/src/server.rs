use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::admission::{Admission, Admitted};
use crate::alarms::Alarms;
use crate::config::{Config, Exposure};
use crate::examiner;
use crate::follow;
use crate::http;
use crate::hub::Hub;
use crate::listener::Listener;
use crate::sql;
use crate::state::{Relay, until_draining};
use crate::watchdog;

/// The relay could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address can be reached from other machines, and there is no access control. Listen on 127.0.0.1, or allow it with
    /// [`Exposure::Insecure`] where the network itself is trusted.
    #[error(
        "{0} can be reached from other machines, and there is no access control yet; listen on 127.0.0.1, or give --insecure \
         where the network itself is trusted"
    )]
    NotLoopback(SocketAddr),
    /// The listener is of no use.
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// Serves `listener` until `shutdown` resolves, then lets the connections finish: pushes that were taken are still
/// acknowledged, and clients are told to come back.
///
/// The caller owns the socket and the stop signal, so a test binds port 0 and a binary listens to SIGTERM. The socket is mostly a
/// tokio `TcpListener`; anything else that accepts byte streams will do, see [`Listener`].
///
/// # Errors
/// When the address is not allowed. Errors of single connections end those connections only.
///
/// ```no_run
/// # async fn run(store: headwater_storage::FeedStore) -> Result<(), Box<dyn std::error::Error>> {
/// use headwater_relay::{Config, serve};
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// serve(listener, Config::new(store), async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
/// # Ok(())
/// # }
/// ```
pub async fn serve(
    listener: impl Listener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    may_serve(address, config.exposure)?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "NO ACCESS CONTROL: everybody who can reach this address can read and write every space");
    }
    let drain_ms_max = config.drain_ms_max;
    let (stop, draining) = watch::channel(false);
    let (alive, mut gone) = mpsc::channel(1);
    let admission = Admission::new(config.connections_max, config.connections_per_address_max);
    let hub = Hub::new(&config);
    let relay = Arc::new(Relay {
        config,
        hub,
        alarms: Alarms::default(),
        draining,
        started: tokio::time::Instant::now(),
        alive,
    });
    tokio::spawn(examiner::run(Arc::clone(&relay)));
    tokio::spawn(follow::run(Arc::clone(&relay)));
    tokio::spawn(watchdog::run(Arc::clone(&relay)));
    tokio::spawn(sql::run(Arc::clone(&relay)));
    #[cfg(unix)]
    if let Some(path) = relay.config.admin_socket.clone() {
        let relay = Arc::clone(&relay);
        tokio::spawn(async move {
            if let Err(error) = crate::admin::serve(relay, path).await {
                tracing::error!(%error, "the admin socket cannot be served");
            }
        });
    }
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match admission.admit(peer.ip()) {
                Some(admitted) => {
                    let relay = Arc::clone(&relay);
                    tokio::spawn(async move {
                        answer(stream, peer, relay, admitted).await;
                    });
                }
                None => tracing::warn!(%peer, "a connection limit is reached"),
            },
            Err(error) => {
                // Out of file descriptors, most often: wait until some are free instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    tracing::info!("draining");
    stop.send_replace(true);
    drop(relay);
    // Resolves to `None` once every connection has dropped its sender.
    if tokio::time::timeout(Duration::from_millis(drain_ms_max), gone.recv()).await.is_err() {
        tracing::warn!(drain_ms_max, "some connections did not finish in time");
    }
    Ok(())
}

/// Whether [`serve`] will serve this address: to be asked before anybody is told that it listens there.
///
/// # Errors
/// [`ServeError::NotLoopback`].
///
/// ```
/// use headwater_relay::{Exposure, may_serve};
/// let everywhere = "0.0.0.0:8787".parse().unwrap();
/// assert!(may_serve(everywhere, Exposure::LoopbackOnly).is_err());
/// assert!(may_serve(everywhere, Exposure::Insecure).is_ok());
/// ```
pub fn may_serve(address: SocketAddr, exposure: Exposure) -> Result<(), ServeError> {
    match exposure {
        Exposure::LoopbackOnly if !address.ip().is_loopback() => Err(ServeError::NotLoopback(address)),
        Exposure::LoopbackOnly | Exposure::Insecure => Ok(()),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    relay: Arc<Relay>,
    admitted: Admitted,
) {
    let head_ms_max = relay.config.request_head_ms_max;
    let mut draining = relay.draining.clone();
    let service = TowerToHyperService::new(http::router(relay, peer, Arc::new(admitted)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(head_ms_max))
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_draining(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
    }
}
