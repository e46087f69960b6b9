//! The wire format: what the two sides of a connection say to each other, as bytes.
//!
//! One WebSocket binary message is one [`Frame`] and its [`Seal`], by which a session notices a frame that did not come, or not
//! as it was sent. [`Frame::encode`] makes the frame's bytes, [`Frame::decode`] checks and reads them under the [`Limits`] that
//! both sides agreed on. The changes in a frame travel as a batch of their own, compressed when that pays. `docs/protocol.md`
//! describes every frame and field; [`schema`] is the same table for a machine, and a test compares the two with what the codec
//! does.

mod batch;
mod cbor;
mod decode;
mod encode;
mod error_code;
mod frame;
mod limits;
pub mod schema;
mod seal;

pub use batch::{BATCH_PLAIN_BYTES_MAX, ENTRY_OVERHEAD_BYTES_MAX, encoded_entry_bytes};
pub use decode::DecodeError;
pub(crate) use encode::{ChangesHead, encode_changes};
pub use error_code::{ErrorCode, Retry};
pub use frame::{
    Ack, AckResult, Bye, ByeReason, Changes, ErrorFrame, Fetch, Frame, Head, Heads, HeadsEntry, Hello,
    ListHeads, MorePages, Open, OpenMode, Opened, OpenedStanding, Part, Ping, Pong, Probe, Push, Seen,
    Severity, SyncMessage, Welcome,
};
pub use limits::{FRAME_OVERHEAD_BYTES, Limits, UnusableLimits};
pub use seal::{SEAL_BYTES, Seal};

/// The protocol versions that this crate speaks, lowest first.
pub const VERSIONS: std::ops::RangeInclusive<u16> = 2..=2;
