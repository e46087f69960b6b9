//! What each side accepts. Every limit names its unit; both sides use the smaller of the two values.

use thiserror::Error;

use super::ErrorCode;
use super::schema::LIMITS;
use crate::ingest::ChangeLimits;

/// What a frame needs apart from its changes, in bytes: an upper bound. Its seal is part of it.
pub const FRAME_OVERHEAD_BYTES: u64 = 1024;

/// What a side of the connection accepts.
///
/// ```
/// use headwater::wire::Limits;
/// let relay = Limits::default();
/// let client = Limits { push_changes_max: 10, ..Limits::default() };
/// assert_eq!(relay.agreed_with(&client)?.push_changes_max, 10);
/// # Ok::<(), headwater::wire::UnusableLimits>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The first frame of a client with its seal, in bytes. Not negotiated: it holds before anything could be.
    pub hello_bytes_max: u64,
    /// The time for the first frame, in milliseconds. Not negotiated.
    pub authentication_ms_max: u64,
    /// The time without anything received after which a `Ping` goes out, in milliseconds. A client takes the smaller of its own value
    /// and the relay's.
    pub ping_interval_ms: u64,
    /// The time without anything received after which the connection counts as lost, in milliseconds. A client takes the smaller of
    /// its own value and the relay's.
    pub dead_after_ms: u64,
    /// One frame with its seal, in bytes: one message of the socket.
    pub frame_bytes_max: u64,
    /// What one change may cost.
    pub change: ChangeLimits,
    /// Changes in one push.
    pub push_changes_max: u64,
    /// Bytes of frames with their seals under way in one direction of one connection: pushed and not acknowledged, or sent and not seen.
    pub in_flight_bytes_max: u64,
    /// Pushes under way on one connection.
    pub in_flight_pushes_max: u64,
    /// Spaces open on one connection.
    pub spaces_max: u64,
    /// Entities whose documents are compared at the same time on one connection.
    pub reconcile_entities_max: u64,
    /// Entities in one page of heads.
    pub heads_page_max: u64,
    /// Entities in one fetch.
    pub fetch_entities_max: u64,
    /// A batch after decompression, in bytes.
    pub batch_inflated_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello_bytes_max: 8 << 10,
            authentication_ms_max: 10_000,
            ping_interval_ms: 25_000,
            dead_after_ms: 60_000,
            frame_bytes_max: 1 << 20,
            change: ChangeLimits::default(),
            push_changes_max: 256,
            in_flight_bytes_max: 4 << 20,
            in_flight_pushes_max: 16,
            spaces_max: 64,
            reconcile_entities_max: 16,
            heads_page_max: 1000,
            fetch_entities_max: 256,
            batch_inflated_bytes_max: 4 << 20,
        }
    }
}

/// Two sides cannot work together, because a limit is below what the protocol needs. Change the configuration of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the limit {limit} is {value}, and must be at least {value_min}")]
pub struct UnusableLimits {
    /// The name of the limit.
    pub limit: &'static str,
    /// The value that was agreed.
    pub value: u64,
    /// The smallest value that works.
    pub value_min: u64,
}

impl UnusableLimits {
    /// The code that tells the other side.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::LimitsUnusable
    }
}

impl Limits {
    /// The limits that hold on a connection between this side and `peer`: the smaller value of each.
    ///
    /// What is not negotiated stays this side's own.
    pub fn agreed_with(&self, peer: &Limits) -> Result<Limits, UnusableLimits> {
        let mut agreed = *self;
        for (mine, theirs) in agreed.negotiated_mut().into_iter().zip(peer.negotiated()) {
            *mine = theirs.min(*mine);
        }
        agreed.usable()?;
        Ok(agreed)
    }

    /// The limits that travel, in the order of their keys; see [`LIMITS`](super::schema::LIMITS).
    #[must_use]
    pub fn negotiated(mut self) -> [u64; LIMITS.len()] {
        self.negotiated_mut().map(|limit| *limit)
    }

    pub(super) fn negotiated_mut(&mut self) -> [&mut u64; LIMITS.len()] {
        let change = &mut self.change;
        [
            &mut self.frame_bytes_max,
            &mut change.change_bytes_max,
            &mut self.push_changes_max,
            &mut self.in_flight_bytes_max,
            &mut self.in_flight_pushes_max,
            &mut self.spaces_max,
            &mut self.reconcile_entities_max,
            &mut self.heads_page_max,
            &mut self.fetch_entities_max,
            &mut self.batch_inflated_bytes_max,
            &mut change.inflated_bytes_max,
            &mut change.operations_max,
            &mut change.deps_max,
            &mut change.operation_number_max,
            &mut change.operation_ahead_max,
            &mut change.key_bytes_max,
        ]
    }

    /// The largest payload that fits into a frame of its own.
    #[must_use]
    pub fn payload_bytes_max(&self) -> u64 {
        self.change.change_bytes_max.min(self.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES))
    }

    fn usable(&self) -> Result<(), UnusableLimits> {
        let floors = [
            ("frame_bytes_max", self.frame_bytes_max, self.hello_bytes_max.max(4 << 10)),
            ("change_bytes_max", self.change.change_bytes_max, 1 << 10),
            ("change_inflated_bytes_max", self.change.inflated_bytes_max, self.change.change_bytes_max),
            ("change_operations_max", self.change.operations_max, 100),
            ("change_deps_max", self.change.deps_max, 16),
            ("operation_number_max", self.change.operation_number_max, 1 << 20),
            ("operation_ahead_max", self.change.operation_ahead_max, 1 << 10),
            ("key_bytes_max", self.change.key_bytes_max, 64),
            ("push_changes_max", self.push_changes_max, 1),
            ("in_flight_bytes_max", self.in_flight_bytes_max, self.frame_bytes_max),
            ("in_flight_pushes_max", self.in_flight_pushes_max, 1),
            ("spaces_max", self.spaces_max, 1),
            ("reconcile_entities_max", self.reconcile_entities_max, 1),
            ("heads_page_max", self.heads_page_max, 1),
            ("fetch_entities_max", self.fetch_entities_max, 1),
            ("batch_inflated_bytes_max", self.batch_inflated_bytes_max, self.frame_bytes_max),
        ];
        match floors.into_iter().find(|(_, value, value_min)| value < value_min) {
            Some((limit, value, value_min)) => Err(UnusableLimits { limit, value, value_min }),
            None => Ok(()),
        }
    }
}
