//! Where a catch-up by entity goes on: an opaque value that the client keeps between pages.

use bytes::Bytes;

use super::CursorError;
use crate::layout::Fields;
use crate::position::{ChainHash, Seq, Watermark};

/// Where a catch-up goes on, and in which feed.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    /// The seq that the catch-up began from.
    pub(super) base: u64,
    /// All entities whose last change is up to here have been given.
    pub(super) tail: u64,
    /// A position that the feed had reached, and the beginning of its chain hash. A feed that is shorter, or has other contents up
    /// to there, is not the one that the catch-up began in.
    pub(super) reached: u64,
    chain: [u8; CHAIN_PREFIX_LEN],
    pub(super) partial: Option<Partial>,
}

/// The next entity, if some of it has been given.
#[derive(Clone, Copy)]
pub(super) struct Partial {
    /// Its last seq then. If the next entity has another one, it is not the same and begins at the base.
    pub(super) last: u64,
    /// How far it has been given.
    pub(super) given: u64,
}

// A cursor:
//   version u8 = 2 | base u64 | tail u64 | reached u64 | beginning of the chain hash at reached 16
//   | and if part of the next entity has been given: last u64 | given u64
const CURSOR_VERSION: u8 = 2;
const CHAIN_PREFIX_LEN: usize = 16;
const CURSOR_LEN: usize = 25 + CHAIN_PREFIX_LEN;
const CURSOR_PARTIAL_LEN: usize = CURSOR_LEN + 16;

/// A cursor with the progress of `cursor`, or none if there is none to go on from, that is of use only in a feed that has reached
/// `head`. A replica that pushed up to there without pulling keeps it, so that an older copy of the feed is not taken for the same.
///
/// ```
/// use headwater_storage::{FeedEpoch, Position, Seq, SpaceId, Watermark, cursor_beyond};
/// let head = Watermark::start(SpaceId::from_name("home"), FeedEpoch::from_bytes([1; 16]));
/// assert!(cursor_beyond(Seq::ZERO, None, &head).len() <= Position::CURSOR_LEN_MAX);
/// ```
pub fn cursor_beyond(base: Seq, cursor: Option<&[u8]>, head: &Watermark) -> Bytes {
    Cursor::resume(base, cursor, head).unwrap_or_else(|_| Cursor::begin(base.get(), head)).bytes()
}

fn chain_prefix(chain: &ChainHash) -> [u8; CHAIN_PREFIX_LEN] {
    let mut prefix = [0; CHAIN_PREFIX_LEN];
    prefix.copy_from_slice(&chain.as_bytes()[..CHAIN_PREFIX_LEN]);
    prefix
}

impl Cursor {
    /// Where a catch-up from `base` goes on: with the progress of `cursor`, in the feed that is now at `head`.
    pub(super) fn resume(base: Seq, cursor: Option<&[u8]>, head: &Watermark) -> Result<Self, CursorError> {
        let begin = Self::begin(base.get(), head);
        let Some(bytes) = cursor else { return Ok(begin) };
        Ok(Self { reached: begin.reached, chain: begin.chain, ..Self::parse(bytes, base.get())? })
    }

    /// The position whose chain hash tells whether this belongs to the feed that is at `head`.
    ///
    /// # Errors
    /// When the feed has not come so far.
    pub(super) fn reached_in(&self, head: &Watermark) -> Result<Seq, CursorError> {
        if self.reached == 0 || self.reached > head.seq.get() {
            return Err(CursorError::OtherFeed);
        }
        Ok(Seq::new(self.reached))
    }

    /// Whether it belongs to the feed that has this chain hash where it had reached.
    pub(super) fn belongs_to(&self, chain: &ChainHash) -> Result<(), CursorError> {
        if chain_prefix(chain) == self.chain { Ok(()) } else { Err(CursorError::OtherFeed) }
    }

    pub(super) fn begin(base: u64, head: &Watermark) -> Self {
        Self { base, tail: base, reached: head.seq.get(), chain: chain_prefix(&head.chain), partial: None }
    }

    pub(super) fn bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(CURSOR_PARTIAL_LEN);
        bytes.push(CURSOR_VERSION);
        bytes.extend_from_slice(&self.base.to_be_bytes());
        bytes.extend_from_slice(&self.tail.to_be_bytes());
        bytes.extend_from_slice(&self.reached.to_be_bytes());
        bytes.extend_from_slice(&self.chain);
        if let Some(partial) = self.partial {
            bytes.extend_from_slice(&partial.last.to_be_bytes());
            bytes.extend_from_slice(&partial.given.to_be_bytes());
        }
        bytes.into()
    }

    pub(super) fn parse(bytes: &[u8], base: u64) -> Result<Self, CursorError> {
        if !matches!(bytes.len(), CURSOR_LEN | CURSOR_PARTIAL_LEN) {
            return Err(CursorError::Malformed);
        }
        let malformed = |_| CursorError::Malformed;
        let mut fields = Fields::new("a cursor", bytes);
        if fields.u8().map_err(malformed)? != CURSOR_VERSION {
            return Err(CursorError::Malformed);
        }
        let found = fields.u64().map_err(malformed)?;
        let tail = fields.u64().map_err(malformed)?;
        let reached = fields.u64().map_err(malformed)?;
        let chain = fields.array().map_err(malformed)?;
        let partial = if bytes.len() == CURSOR_PARTIAL_LEN {
            let last = fields.u64().map_err(malformed)?;
            Some(Partial { last, given: fields.u64().map_err(malformed)? })
        } else {
            None
        };
        if found != base {
            return Err(CursorError::OtherBase { found: Seq::new(found), expected: Seq::new(base) });
        }
        // Nothing that this code writes breaks these, and the walk relies on them.
        let ordered = tail >= base
            && partial.is_none_or(|partial| {
                partial.last > tail && partial.given > base && partial.given < partial.last
            });
        if ordered { Ok(Self { base, tail, reached, chain, partial }) } else { Err(CursorError::Malformed) }
    }
}
