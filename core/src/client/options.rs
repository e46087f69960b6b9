use std::sync::Arc;
use std::time::Duration;

use headwater_storage::SpaceId;

use super::{Tcp, Transport};
use crate::sync::Backoff;
use crate::sync::client::Direction;
use crate::wire::Limits;

/// How to stay connected.
///
/// ```
/// use headwater::{ConnectOptions, SpaceId};
/// let options = ConnectOptions::new([SpaceId::from_name("home")]);
/// assert_eq!(options.spaces.len(), 1);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The spaces to keep in sync.
    pub spaces: Vec<SpaceId>,
    /// Which way changes go.
    pub direction: Direction,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// What this side accepts from the relay.
    pub limits: Limits,
    /// What makes the byte stream to the relay: [`Tcp`], unless there is a proxy or a tunnel.
    pub transport: Arc<dyn Transport>,
}

impl ConnectOptions {
    /// Both ways, with the usual limits.
    pub fn new(spaces: impl IntoIterator<Item = SpaceId>) -> ConnectOptions {
        ConnectOptions {
            spaces: spaces.into_iter().collect(),
            direction: Direction::Both,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            transport: Arc::new(Tcp),
        }
    }
}

/// How to sync once.
///
/// ```
/// use headwater::{Direction, SpaceId, SyncOptions};
/// let mut options = SyncOptions::new([SpaceId::from_name("home")]);
/// options.direction = Direction::Push;
/// options.push_changes_max = Some(100); // a metered network
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SyncOptions {
    /// The spaces to sync.
    pub spaces: Vec<SpaceId>,
    /// Which way changes go.
    pub direction: Direction,
    /// The most changes to push in each space, oldest first. `None`: all.
    pub push_changes_max: Option<u64>,
    /// How long the whole round may take. What was synced by then stays synced.
    pub timeout: Duration,
    /// How long the attempt to connect may take.
    pub connect_timeout: Duration,
    /// What this side accepts from the relay.
    pub limits: Limits,
    /// What makes the byte stream to the relay: [`Tcp`], unless there is a proxy or a tunnel.
    pub transport: Arc<dyn Transport>,
}

impl SyncOptions {
    /// Everything, both ways, within an hour.
    pub fn new(spaces: impl IntoIterator<Item = SpaceId>) -> SyncOptions {
        SyncOptions {
            spaces: spaces.into_iter().collect(),
            direction: Direction::Both,
            push_changes_max: None,
            timeout: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            transport: Arc::new(Tcp),
        }
    }
}
