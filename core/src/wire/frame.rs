//! The frames, one struct each, in the order of their numbers. `docs/protocol.md` has the fields with their bounds.

use bytes::Bytes;
use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, Position, Seq, SpaceId, Watermark,
};

use super::{ErrorCode, Limits, Retry};

/// One message on the wire, without its [`Seal`](super::Seal).
///
/// ```
/// use headwater::wire::{Frame, Limits, Ping};
/// let frame = Frame::Ping(Ping { nonce: 7 });
/// assert_eq!(&frame.encode()[..], [0x82, 0x0f, 0xa1, 0x00, 0x07]);
/// assert_eq!(Frame::decode(&frame.encode(), &Limits::default())?, frame);
/// # Ok::<(), headwater::wire::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// 1: who the client is and what it accepts.
    Hello(Hello),
    /// 2: what the two sides agreed on.
    Welcome(Welcome),
    /// 3: a space to sync, and how far the client is in it.
    Open(Open),
    /// 4: whether the client can go on from there.
    Opened(Opened),
    /// 5: changes for the client.
    Changes(Changes),
    /// 6: the client has made durable what it was sent.
    Seen(Seen),
    /// 7: changes from the client.
    Push(Push),
    /// 8: what became of a push.
    Ack(Ack),
    /// 9: entities of the relay with their heads.
    Heads(Heads),
    /// 10: entities whose changes the client wants in full.
    Fetch(Fetch),
    /// 11: one message of Automerge's sync protocol, without changes.
    SyncMessage(SyncMessage),
    /// 12: asks for a page of heads.
    ListHeads(ListHeads),
    /// 13: asks where the feed stands.
    Probe(Probe),
    /// 14: where the feed stands.
    Head(Head),
    /// 15: asks for a sign of life.
    Ping(Ping),
    /// 16: a sign of life.
    Pong(Pong),
    /// 17: something went wrong.
    Error(ErrorFrame),
    /// 18: this side is about to close the connection.
    Bye(Bye),
}

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The lowest protocol version the client speaks.
    pub version_min: u16,
    /// The highest protocol version the client speaks.
    pub version_max: u16,
    /// The client's device.
    pub device: DeviceId,
    /// The program, at most 128 bytes.
    pub client_name: String,
    /// The program's version, at most 64 bytes.
    pub client_version: String,
    /// Proof of who the user is, at most 4 KiB. Opaque here.
    pub token: Option<Bytes>,
    /// What the client accepts.
    pub limits: Limits,
}

/// The relay's answer to a `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version that holds from here on.
    pub version: u16,
    /// The relay program, at most 128 bytes.
    pub relay_name: String,
    /// The relay program's version, at most 64 bytes.
    pub relay_version: String,
    /// The limits that hold, heartbeats included.
    pub limits: Limits,
}

/// What an `Open` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// What is there, then whatever comes.
    Live,
    /// What is there.
    Once,
    /// Nothing: the client only pushes.
    PushOnly,
}

/// A space to sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The space.
    pub space: SpaceId,
    /// How far the client is in its feed.
    pub position: Position,
    /// What the client wants of it.
    pub mode: OpenMode,
}

/// Whether a client can go on from its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenedStanding {
    /// Yes: what comes after it follows.
    Resume,
    /// No: the position does not belong to this feed. The two sides compare heads.
    Reconcile,
    /// The space has no changes yet.
    Empty,
    /// The space may not be opened, or not now. An `Error` frame right before this one says why.
    Refused,
}

/// The relay's answer to an `Open`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The space.
    pub space: SpaceId,
    /// Whether the client can go on from its position.
    pub standing: OpenedStanding,
    /// Where the feed stands. `None` if it has no changes.
    pub head: Option<Watermark>,
}

/// What a `Changes` frame is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A catch-up, with more to come.
    Page,
    /// The end of a catch-up.
    LastPage,
    /// What happens now.
    Live,
    /// A comparison of heads, with more to come. Carries no position.
    Reconcile,
    /// The end of the answer to a `Fetch`. Carries no position.
    FetchEnd,
}

/// Changes for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The space.
    pub space: SpaceId,
    /// What the frame is part of.
    pub part: Part,
    /// The client's watermark once it has stored these changes. `None`: it stays as it was.
    pub watermark: Option<Watermark>,
    /// Where to go on if the catch-up breaks off here.
    pub cursor: Option<Bytes>,
    /// The seq of the first change. `None` if the changes are not consecutive in the feed.
    pub first: Option<Seq>,
    /// Where the feed stands.
    pub head: Seq,
    /// About how many changes are still to come in this catch-up.
    pub remaining: u64,
    /// The changes.
    pub entries: Vec<ChangeRecord>,
}

/// The client has made durable what it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The space.
    pub space: SpaceId,
    /// `Changes` frames made durable since the space was opened.
    pub frames: u64,
    /// The client's durable position.
    pub seq: Seq,
}

/// Changes from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The space.
    pub space: SpaceId,
    /// The client's number for this push, ascending on a connection.
    pub push_id: u64,
    /// The changes, dependencies first.
    pub entries: Vec<ChangeRecord>,
}

/// What became of one pushed change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckResult {
    /// It is durable, at this position.
    Accepted(Seq),
    /// It was durable before, at this position.
    Duplicate(Seq),
    /// It was not taken.
    Refused {
        /// Why.
        code: ErrorCode,
        /// Whether to push it again later.
        retry: Retry,
        /// Why, for people. At most 1 KiB.
        message: String,
    },
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The space.
    pub space: SpaceId,
    /// The number of the push.
    pub push_id: u64,
    /// One result for each change of the push, in its order.
    pub results: Vec<AckResult>,
    /// The client's watermark after this push. Only if nothing of others lies between its position and there.
    pub watermark: Option<Watermark>,
    /// Where a client that will not pull goes on next time, if there is no watermark: it is of use only in a feed that has this push.
    pub cursor: Option<Bytes>,
}

/// Whether a listing goes on after this page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MorePages {
    /// This was the last page.
    No,
    /// Ask again, after the last entity of this page.
    Yes,
}

/// An entity and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadsEntry {
    /// The entity.
    pub entity: EntityId,
    /// Its collection.
    pub collection: CollectionName,
    /// The hashes of its heads.
    pub heads: Vec<ChangeHash>,
}

/// A page of the relay's entities with their heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// The space.
    pub space: SpaceId,
    /// The entities, by ascending id.
    pub entities: Vec<HeadsEntry>,
    /// Whether there are more.
    pub more: MorePages,
}

/// Entities whose changes the client wants in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The space.
    pub space: SpaceId,
    /// The entities.
    pub entities: Vec<EntityId>,
}

/// One message of Automerge's sync protocol about one entity. Changes never travel in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncMessage {
    /// The space.
    pub space: SpaceId,
    /// The entity.
    pub entity: EntityId,
    /// Its collection.
    pub collection: CollectionName,
    /// The message, version 1, without changes and flags.
    pub message: Bytes,
}

/// Asks for a page of heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListHeads {
    /// The space.
    pub space: SpaceId,
    /// The entity that the page comes after. `None`: the first page.
    pub after: Option<EntityId>,
}

/// Asks where the feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The space.
    pub space: SpaceId,
    /// A number that comes back with the answer.
    pub nonce: u64,
}

/// Where the feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The space.
    pub space: SpaceId,
    /// The number of the `Probe`.
    pub nonce: u64,
    /// The feed's end. `None` if it has no changes.
    pub watermark: Option<Watermark>,
}

/// Asks for a sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// A number that comes back with the answer.
    pub nonce: u64,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// The number of the `Ping`.
    pub nonce: u64,
}

/// What an error means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The connection goes on; only what the error names failed.
    Recoverable,
    /// The side that sends this closes the connection.
    Fatal,
}

/// Something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFrame {
    /// What.
    pub code: ErrorCode,
    /// What, for people. At most 1 KiB.
    pub message: String,
    /// The space it is about. `None`: the connection.
    pub space: Option<SpaceId>,
    /// What it means for the connection.
    pub severity: Severity,
    /// When to try again, in milliseconds from now. `None`: no sooner than backoff says, if at all.
    pub retry_after_ms: Option<u64>,
}

/// Why a side says goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByeReason {
    /// The relay stops, or hands its connections to another.
    Draining,
    /// The client has done what it came for.
    Done,
}

/// This side is about to close the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// When to connect again, in milliseconds from now.
    pub reconnect_after_ms: u64,
}
