//! What every connection of a running relay shares.

use tokio::sync::{mpsc, watch};

use crate::alarms::Alarms;
use crate::config::Config;
use crate::hub::Hub;

/// A running relay.
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) hub: Hub,
    pub(crate) alarms: Alarms,
    /// True once the relay is to stop.
    pub(crate) draining: watch::Receiver<bool>,
    /// The zero of the sessions' clock.
    pub(crate) started: tokio::time::Instant,
    /// Held by every connection; `serve` returns when the last one is gone.
    pub(crate) alive: mpsc::Sender<()>,
}

/// Does not hold the watch's lock across an await, so that the caller's future can move between threads.
pub(crate) async fn until_draining(draining: &mut watch::Receiver<bool>) {
    // A sender that is gone means that the relay is gone, which is draining too.
    let _gone = draining.wait_for(|draining| *draining).await.is_err();
}
