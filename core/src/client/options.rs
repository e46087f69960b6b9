use std::sync::Arc;
use std::time::Duration;

use headwater_storage::SpaceId;

use super::{ConnectError, Tcp, Transport};
use crate::sync::Backoff;
use crate::sync::client::Direction;
use crate::wire::Limits;

/// The shortest time in which silence may end a connection: below it, one delayed packet would.
const SILENCE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// The usual time in which silence ends a connection.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How to stay connected.
///
/// ```
/// use headwater::{ConnectOptions, SpaceId};
/// use std::time::Duration;
///
/// let mut options = ConnectOptions::new([SpaceId::from_name("home")]);
/// options.silence_timeout = Duration::from_secs(10); // a badge that people trust
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "options do nothing by themselves: pass them to `Replica::connect`"]
pub struct ConnectOptions {
    /// The spaces to keep in sync.
    pub spaces: Vec<SpaceId>,
    /// Which way changes go.
    pub direction: Direction,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long one attempt to connect may take. Above zero.
    pub connect_timeout: Duration,
    /// How long nothing may come from the relay before the connection counts as lost: the status says so then, and a new attempt
    /// begins. At least one second; 30 seconds unless set. After half of it in silence the client asks the relay for a sign of life,
    /// so a shorter time costs an idle device more packets, and a slow network needs a longer one: a frame, of up to 1 MiB, has to get
    /// through within it. A relay can ask for less, never for more (its `dead_after_ms`, a minute unless configured).
    pub silence_timeout: Duration,
    /// What this side accepts from the relay. Its `dead_after_ms` is the `silence_timeout`, whatever it says.
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
            silence_timeout: SILENCE_TIMEOUT,
            limits: Limits::default(),
            transport: Arc::new(Tcp),
        }
    }

    /// The limits to connect with, once all options have a value that can work.
    pub(super) fn checked_limits(&self) -> Result<Limits, ConnectError> {
        checked_limits(self.limits, self.connect_timeout, self.silence_timeout)
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
#[must_use = "options do nothing by themselves: pass them to `Replica::sync`"]
pub struct SyncOptions {
    /// The spaces to sync.
    pub spaces: Vec<SpaceId>,
    /// Which way changes go.
    pub direction: Direction,
    /// The most changes to push in each space, oldest first. `None`: all.
    pub push_changes_max: Option<u64>,
    /// How long the whole round may take. What was synced by then stays synced.
    pub timeout: Duration,
    /// How long the attempt to connect may take. Above zero.
    pub connect_timeout: Duration,
    /// How long nothing may come from the relay before the round fails; see [`ConnectOptions::silence_timeout`].
    pub silence_timeout: Duration,
    /// What this side accepts from the relay. Its `dead_after_ms` is the `silence_timeout`, whatever it says.
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
            silence_timeout: SILENCE_TIMEOUT,
            limits: Limits::default(),
            transport: Arc::new(Tcp),
        }
    }
    /// The limits to connect with, once all options have a value that can work.
    pub(super) fn checked_limits(&self) -> Result<Limits, ConnectError> {
        checked_limits(self.limits, self.connect_timeout, self.silence_timeout)
    }
}

fn checked_limits(
    mut limits: Limits,
    connect_timeout: Duration,
    silence_timeout: Duration,
) -> Result<Limits, ConnectError> {
    if connect_timeout.is_zero() {
        let reason = "is zero: no attempt could work".to_owned();
        return Err(ConnectError::BadOption { option: "connect_timeout", reason });
    }
    if silence_timeout < SILENCE_TIMEOUT_MIN {
        let reason = format!("is {silence_timeout:?}, and must be at least {SILENCE_TIMEOUT_MIN:?}");
        return Err(ConnectError::BadOption { option: "silence_timeout", reason });
    }
    limits.dead_after_ms = u64::try_from(silence_timeout.as_millis()).unwrap_or(u64::MAX);
    // The answer to a ping has as long as the silence before it.
    limits.ping_interval_ms = limits.ping_interval_ms.min(limits.dead_after_ms / 2);
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        // Would reconnect without an end, each time before the relay could have answered.
        let options = |change: fn(&mut ConnectOptions)| {
            let mut options = ConnectOptions::new([SpaceId::from_name("home")]);
            change(&mut options);
            options.checked_limits()
        };
        let refused = |limits| match limits {
            Err(ConnectError::BadOption { option, .. }) => option,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(options(|o| o.silence_timeout = Duration::from_millis(999))), "silence_timeout");
        assert_eq!(refused(options(|o| o.silence_timeout = Duration::ZERO)), "silence_timeout");
        assert_eq!(refused(options(|o| o.connect_timeout = Duration::ZERO)), "connect_timeout");
        let limits = options(|o| o.silence_timeout = Duration::MAX).unwrap();
        assert!(limits.ping_interval_ms < limits.dead_after_ms);
        let limits = options(|o| o.silence_timeout = Duration::from_secs(1)).unwrap();
        assert_eq!((limits.ping_interval_ms, limits.dead_after_ms), (500, 1_000));
    }
}
