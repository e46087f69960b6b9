//! The session: what one connection says and when, on either side, without sockets, clocks, randomness or stores.
//!
//! [`client::ClientSession`] and [`relay::RelaySession`] work alike: `handle` takes in what happened, `poll` gives out what is
//! to be done, in order, until it gives nothing, and `timeout` says when to come back at the latest. The drivers around them
//! decide nothing.
//!
//! A space goes through them like this: `Open` with the client's position, catch-up in pages, then whatever comes; pushes
//! beside it, each with its acknowledgement. When the position does not belong to the relay's feed, both sides compare heads.

pub mod client;
mod heartbeat;
mod message_check;
mod reconcile;
pub mod relay;
mod time;

pub use message_check::{SyncMessageError, check_sync_message};
pub use time::{Backoff, Time};

/// The number of a request to the driver, which comes back with the answer. A late answer to a request that no longer
/// matters is passed over.
///
/// ```
/// use headwater::sync::Ticket;
/// assert!(Ticket::new(1) < Ticket::new(2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}
