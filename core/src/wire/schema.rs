//! Every frame with its fields, as a table: what the decoder accepts, and what `docs/protocol.md` must say.

/// Who sends a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Only the client.
    Client,
    /// Only the relay.
    Relay,
    /// Both.
    Both,
}

/// How a field is written in CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned integer.
    Uint,
    /// A byte string of at most so many bytes.
    Bytes(u64),
    /// A text of at most so many bytes.
    Text(u64),
    /// The 16 bytes of a space.
    Space,
    /// A watermark: `[epoch, seq, chain]`.
    Watermark,
    /// A map of limits.
    Limits,
    /// The results of an ack.
    Results,
    /// Entities with their heads.
    HeadsEntries,
    /// Entities.
    EntityIds,
}

/// Whether a field is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A frame without it is malformed.
    Required,
    /// It may be left out.
    Optional,
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSchema {
    /// Its key in the frame's map.
    pub number: u8,
    /// Its name in the document.
    pub name: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// Whether it is always there.
    pub presence: Presence,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSchema {
    /// The number of its type.
    pub number: u8,
    /// Its name in the document.
    pub name: &'static str,
    /// Who sends it.
    pub sender: Sender,
    /// Its fields.
    pub fields: &'static [FieldSchema],
}

/// Every frame of this version, in the order of their numbers.
///
/// ```
/// use headwater::wire::schema::FRAMES;
/// assert_eq!(FRAMES[0].name, "Hello");
/// assert_eq!(FRAMES[0].fields[2].name, "device");
/// ```
pub const FRAMES: &[FrameSchema] = &[
    frame_schema(
        1,
        "Hello",
        Sender::Client,
        &[
            required(0, "version_min", Kind::Uint),
            required(1, "version_max", Kind::Uint),
            required(2, "device", Kind::Bytes(16)),
            required(3, "client_name", Kind::Text(128)),
            required(4, "client_version", Kind::Text(64)),
            optional(5, "token", Kind::Bytes(4096)),
            required(6, "limits", Kind::Limits),
        ],
    ),
    frame_schema(
        2,
        "Welcome",
        Sender::Relay,
        &[
            required(0, "version", Kind::Uint),
            required(1, "relay_name", Kind::Text(128)),
            required(2, "relay_version", Kind::Text(64)),
            required(3, "limits", Kind::Limits),
            required(4, "ping_interval_ms", Kind::Uint),
            required(5, "dead_after_ms", Kind::Uint),
        ],
    ),
    frame_schema(
        3,
        "Open",
        Sender::Client,
        &[
            required(0, "space", Kind::Space),
            optional(1, "watermark", Kind::Watermark),
            optional(2, "cursor", Kind::Bytes(64)),
            required(3, "mode", Kind::Uint),
        ],
    ),
    frame_schema(
        4,
        "Opened",
        Sender::Relay,
        &[
            required(0, "space", Kind::Space),
            required(1, "standing", Kind::Uint),
            optional(2, "head", Kind::Watermark),
        ],
    ),
    frame_schema(
        5,
        "Changes",
        Sender::Relay,
        &[
            required(0, "space", Kind::Space),
            required(1, "part", Kind::Uint),
            optional(2, "watermark", Kind::Watermark),
            optional(3, "cursor", Kind::Bytes(64)),
            optional(4, "first", Kind::Uint),
            required(5, "head", Kind::Uint),
            required(6, "remaining", Kind::Uint),
            required(7, "entries", Kind::Bytes(u64::MAX)),
            optional(8, "inflated_bytes", Kind::Uint),
        ],
    ),
    frame_schema(
        6,
        "Seen",
        Sender::Client,
        &[
            required(0, "space", Kind::Space),
            required(1, "frames", Kind::Uint),
            required(2, "seq", Kind::Uint),
        ],
    ),
    frame_schema(
        7,
        "Push",
        Sender::Client,
        &[
            required(0, "space", Kind::Space),
            required(1, "push_id", Kind::Uint),
            required(2, "entries", Kind::Bytes(u64::MAX)),
            optional(3, "inflated_bytes", Kind::Uint),
        ],
    ),
    frame_schema(
        8,
        "Ack",
        Sender::Relay,
        &[
            required(0, "space", Kind::Space),
            required(1, "push_id", Kind::Uint),
            required(2, "results", Kind::Results),
            optional(3, "watermark", Kind::Watermark),
            optional(4, "cursor", Kind::Bytes(64)),
        ],
    ),
    frame_schema(
        9,
        "Heads",
        Sender::Relay,
        &[
            required(0, "space", Kind::Space),
            required(1, "entities", Kind::HeadsEntries),
            required(2, "more", Kind::Uint),
        ],
    ),
    frame_schema(
        10,
        "Fetch",
        Sender::Client,
        &[required(0, "space", Kind::Space), required(1, "entities", Kind::EntityIds)],
    ),
    frame_schema(
        11,
        "SyncMessage",
        Sender::Both,
        &[
            required(0, "space", Kind::Space),
            required(1, "entity", Kind::Bytes(16)),
            required(2, "collection", Kind::Text(128)),
            required(3, "message", Kind::Bytes(u64::MAX)),
        ],
    ),
    frame_schema(
        12,
        "ListHeads",
        Sender::Client,
        &[required(0, "space", Kind::Space), optional(1, "after", Kind::Bytes(16))],
    ),
    frame_schema(
        13,
        "Probe",
        Sender::Client,
        &[required(0, "space", Kind::Space), required(1, "nonce", Kind::Uint)],
    ),
    frame_schema(
        14,
        "Head",
        Sender::Relay,
        &[
            required(0, "space", Kind::Space),
            required(1, "nonce", Kind::Uint),
            optional(2, "watermark", Kind::Watermark),
        ],
    ),
    frame_schema(15, "Ping", Sender::Both, &[required(0, "nonce", Kind::Uint)]),
    frame_schema(16, "Pong", Sender::Both, &[required(0, "nonce", Kind::Uint)]),
    frame_schema(
        17,
        "Error",
        Sender::Both,
        &[
            required(0, "code", Kind::Uint),
            required(1, "message", Kind::Text(1024)),
            optional(2, "space", Kind::Space),
            required(3, "severity", Kind::Uint),
            optional(4, "retry_after_ms", Kind::Uint),
        ],
    ),
    frame_schema(
        18,
        "Bye",
        Sender::Both,
        &[required(0, "reason", Kind::Uint), required(1, "reconnect_after_ms", Kind::Uint)],
    ),
];

/// The limits that travel, by their key in the map of limits.
pub const LIMITS: [(u8, &str); 16] = [
    (0, "frame_bytes_max"),
    (1, "change_bytes_max"),
    (2, "push_changes_max"),
    (3, "in_flight_bytes_max"),
    (4, "in_flight_pushes_max"),
    (5, "spaces_max"),
    (6, "reconcile_entities_max"),
    (7, "heads_page_max"),
    (8, "fetch_entities_max"),
    (9, "batch_inflated_bytes_max"),
    (10, "change_inflated_bytes_max"),
    (11, "change_operations_max"),
    (12, "change_deps_max"),
    (13, "operation_number_max"),
    (14, "operation_ahead_max"),
    (15, "key_bytes_max"),
];

/// The frame with this number.
pub(crate) fn frame(number: u64) -> Option<&'static FrameSchema> {
    FRAMES.iter().find(|frame| u64::from(frame.number) == number)
}

const fn frame_schema(
    number: u8,
    name: &'static str,
    sender: Sender,
    fields: &'static [FieldSchema],
) -> FrameSchema {
    FrameSchema { number, name, sender, fields }
}

const fn required(number: u8, name: &'static str, kind: Kind) -> FieldSchema {
    FieldSchema { number, name, kind, presence: Presence::Required }
}

const fn optional(number: u8, name: &'static str, kind: Kind) -> FieldSchema {
    FieldSchema { number, name, kind, presence: Presence::Optional }
}
