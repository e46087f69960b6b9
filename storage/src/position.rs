//! Positions in a feed: how far someone has come, in a form that another feed cannot satisfy by accident.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::id::{ChangeHash, EntityId, FeedEpoch, ParseIdError, SpaceId, exact_bytes, parse_hex, write_hex};

/// A position in a space's feed. The first change has seq 1; 0 is before the first.
///
/// ```
/// use headwater_storage::Seq;
/// assert_eq!(Seq::ZERO.next(), Seq::new(1));
/// assert_eq!("17".parse::<Seq>(), Ok(Seq::new(17)));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Before the first change.
    pub const ZERO: Self = Self(0);
    /// After every change there will ever be.
    pub const MAX: Self = Self(u64::MAX);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one. Stays at the end of the range instead of wrapping round.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seq {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl<C> minicbor::Encode<C> for Seq {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Seq {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.u64().map(Self)
    }
}

/// The hash over everything in a feed up to one seq, so that equal positions mean equal contents.
///
/// chain_0 = SHA-256("headwater feed v1" || space || epoch);
/// chain_n = SHA-256(chain_{n-1} || seq as 8 bytes big-endian || entity || change hash).
///
/// ```
/// use headwater_storage::{ChainHash, ChangeHash, EntityId, FeedEpoch, Seq, SpaceId};
/// let start = ChainHash::start(SpaceId::from_name("team"), FeedEpoch::from_bytes([1; 16]));
/// let next = start.extended(Seq::new(1), EntityId::from_bytes([2; 16]), ChangeHash::from_bytes([3; 32]));
/// assert_ne!(start, next);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The hash whose bytes are these.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, as they are stored and sent.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The chain of a feed that has no changes yet.
    pub fn start(space: SpaceId, epoch: FeedEpoch) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"headwater feed v1");
        hasher.update(space.as_bytes());
        hasher.update(epoch.as_bytes());
        Self(hasher.finalize().into())
    }

    /// The chain after the change `hash` of `entity` took the position `seq`.
    #[must_use]
    pub fn extended(&self, seq: Seq, entity: EntityId, hash: ChangeHash) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(seq.get().to_be_bytes());
        hasher.update(entity.as_bytes());
        hasher.update(hash.as_bytes());
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

impl FromStr for ChainHash {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

impl<C> minicbor::Encode<C> for ChainHash {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for ChainHash {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        exact_bytes(d).map(Self)
    }
}

/// A position together with what identifies the feed and its contents up to there. On the wire: a CBOR array of the three.
///
/// ```
/// use headwater_storage::{FeedEpoch, SpaceId, Watermark};
/// let start = Watermark::start(SpaceId::from_name("team"), FeedEpoch::from_bytes([1; 16]));
/// assert_eq!(start.seq.get(), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// Which life of the feed.
    pub epoch: FeedEpoch,
    /// How far in it.
    pub seq: Seq,
    /// The hash over everything up to `seq`.
    pub chain: ChainHash,
}

impl Watermark {
    /// The beginning of a feed.
    pub fn start(space: SpaceId, epoch: FeedEpoch) -> Self {
        Self { epoch, seq: Seq::ZERO, chain: ChainHash::start(space, epoch) }
    }

    /// This position after one more change.
    #[must_use]
    pub fn extended(&self, entity: EntityId, hash: ChangeHash) -> Self {
        let seq = self.seq.next();
        Self { epoch: self.epoch, seq, chain: self.chain.extended(seq, entity, hash) }
    }
}

impl<C> minicbor::Encode<C> for Watermark {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(3)?
            .encode_with(self.epoch, ctx)?
            .encode_with(self.seq, ctx)?
            .encode_with(self.chain, ctx)?
            .ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Watermark {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        if d.array()? != Some(3) {
            return Err(minicbor::decode::Error::message("a watermark is an array of three").at(at));
        }
        Ok(Self { epoch: d.decode_with(ctx)?, seq: d.decode_with(ctx)?, chain: d.decode_with(ctx)? })
    }
}

/// What a replica knows of a space's feed.
///
/// ```
/// use headwater_storage::Position;
/// let new = Position::default();
/// assert!(new.watermark.is_none() && new.cursor.is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Position {
    /// Everything up to here has been stored. `None`: this replica has not met the feed yet.
    #[n(0)]
    pub watermark: Option<Watermark>,
    /// Where an unfinished catch-up by entity, that began at `watermark`, goes on. Opaque, at most
    /// [`Position::CURSOR_LEN_MAX`] bytes.
    #[n(1)]
    #[cbor(with = "crate::octets::optional")]
    pub cursor: Option<Bytes>,
}

impl Position {
    /// A position that no feed knows. A replica that is there compares heads with whatever feed it meets.
    ///
    /// ```
    /// use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, Position, RedbFeed, SpaceId, Standing};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// let standing = feed.check_position(SpaceId::from_name("home"), &Position::nowhere())?;
    /// assert_ne!(standing, Standing::Known);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nowhere() -> Self {
        // Not a version of a cursor.
        Self { watermark: None, cursor: Some(Bytes::from_static(&[0])) }
    }
}

impl Position {
    /// The longest cursor, in bytes.
    pub const CURSOR_LEN_MAX: usize = 64;
}
