use crate::model::Timestamp;

/// How a connection is doing, for a status badge.
///
/// ```
/// let status = headwater::Status::default();
/// assert_eq!(status.phase, headwater::Phase::Offline);
/// ```
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
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Not connected; the next attempt comes by itself.
    #[default]
    Offline,
    /// Connecting.
    Connecting,
    /// Changes are on their way.
    Syncing,
    /// Both sides have the same.
    UpToDate,
    /// It will not work without help: the relay refuses, or the store failed. [`Status::error`] says why.
    Error,
}

/// How far a catch-up is, in changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Changes that came.
    pub done: u64,
    /// Changes that came and that are still expected.
    pub total: u64,
}

impl Progress {
    /// From 0.0 to 1.0.
    pub fn fraction(self) -> f64 {
        if self.total == 0 { 1.0 } else { (self.done as f64 / self.total as f64).min(1.0) }
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// Changes that the relay has now.
    pub pushed: u64,
    /// Changes that were new here.
    pub pulled: u64,
    /// Changes that one of the two sides did not take; see [`Space::set_aside`](crate::Space::set_aside).
    pub rejected: u64,
    /// Bytes of frames sent on the connection so far.
    pub bytes_sent: u64,
    /// Bytes of frames received on the connection so far.
    pub bytes_received: u64,
}
