use crate::model::Timestamp;

/// How a connection is doing, for a status badge.
///
/// ```
/// let status = headwater::Status::default();
/// assert_eq!(status.phase, headwater::Phase::Offline);
/// ```
///
/// The first attempt shows as [`Phase::Connecting`]. Once one has failed, or a connection was lost, the phase stays
/// [`Phase::Offline`] through all further attempts, with the error of the last one, until a relay answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is about.
    pub phase: Phase,
    /// Local changes that the relay has not acknowledged, over all spaces of the connection.
    pub pending: u64,
    /// When both sides were last even.
    pub last_synced: Option<Timestamp>,
    /// How far a running catch-up is.
    pub progress: Option<Progress>,
    /// What went wrong last. Gone when both sides are even again.
    pub error: Option<String>,
    /// When the next attempt to connect comes. `None` while there is a connection, or an attempt is under way.
    pub next_attempt: Option<Timestamp>,
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Not connected; the next attempt comes by itself.
    #[default]
    Offline,
    /// The first attempt to connect is under way.
    Connecting,
    /// Changes are on their way.
    Syncing,
    /// Both sides have the same.
    UpToDate,
    /// It will not work without help: the relay refuses, or the store failed. [`Status::error`] says why.
    Error,
}

/// How far a catch-up is, in changes.
///
/// ```
/// assert_eq!(headwater::Progress { done: 1, total: 4 }.fraction(), 0.25);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Changes that came.
    pub done: u64,
    /// Changes that came and that are still expected.
    pub total: u64,
}

impl Progress {
    /// From 0.0 to 1.0.
    #[must_use]
    pub fn fraction(self) -> f64 {
        if self.total == 0 { 1.0 } else { (self.done as f64 / self.total as f64).min(1.0) }
    }
}

/// What was done, as [`Connection::sync_now`](crate::Connection::sync_now) and [`Replica::sync`](crate::Replica::sync) tell it.
///
/// ```
/// let report = headwater::SyncReport::default();
/// assert_eq!((report.pushed, report.pulled), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// Changes that went to the relay and that it has now. Each counts once, also when a reconnect pushes it again.
    pub pushed: u64,
    /// Changes that were new here.
    pub pulled: u64,
    /// Changes that one of the two sides did not take; see [`Space::set_aside`](crate::Space::set_aside).
    pub rejected: u64,
    /// Bytes of frames sent since the connection began, over all reconnects. Other than the changes, they are never reset.
    pub bytes_sent: u64,
    /// Bytes of frames received since the connection began, in the same way.
    pub bytes_received: u64,
}
