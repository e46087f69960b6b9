//! Bytes to frames, under limits. The layout is in `docs/protocol.md`; `encode` is the way back.

use bytes::Bytes;
use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, NameError, Position, Seq, SpaceId,
    UnknownPayloadKind, Watermark,
};
use thiserror::Error;

use super::cbor::{Reader, Taken, at_most};
use super::schema::{self, FrameSchema};
use super::*;

/// Bytes were not taken as a frame. Close the connection, and tell the other side [`DecodeError::code`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame with its seal is larger than the limit. The other side must split it.
    #[error("a frame of {bytes} bytes is larger than the {bytes_max} allowed")]
    FrameTooLarge {
        /// Its size, with the seal.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The message is not the one that the other side sealed next. Connect again: nothing of it was used.
    #[error("message {number} was damaged, lost, doubled or out of order: connect again")]
    Damaged {
        /// The number of the message that should have come, from 0.
        number: u64,
    },
    /// The frame's type is not known to this version. Update this side.
    #[error("frame type {0} is not known to this version")]
    UnknownFrame(u64),
    /// The bytes are not CBOR of the expected shape. A defect of the other side.
    #[error("not a frame: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// A length is not given up front. A defect of the other side.
    #[error("a value of indefinite length at byte {at}")]
    IndefiniteLength {
        /// Where in the frame or batch.
        at: usize,
    },
    /// The keys of a map do not ascend. A defect of the other side.
    #[error("key {key} at byte {at} is not above the one before it")]
    KeyOrder {
        /// The key.
        key: u64,
        /// Where in the frame.
        at: usize,
    },
    /// A field that every frame of this type has is not there. A defect of the other side.
    #[error("{frame} without {field}")]
    MissingField {
        /// The type of the frame.
        frame: &'static str,
        /// The name of the field.
        field: &'static str,
    },
    /// A number stands for nothing in this version. Update this side.
    #[error("{value} is not a {field} that this version knows")]
    UnknownValue {
        /// The name of the field.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// Something is longer than its limit. The other side must send less at a time.
    #[error("{count} {what} where at most {count_max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: u64,
        /// The limit.
        count_max: u64,
    },
    /// A compressed batch is damaged, or not of the size it claims. A defect of the other side, or an attack.
    #[error("a compressed batch does not inflate to the size it claims")]
    Inflate,
    /// A collection's name is not allowed. A defect of the other side.
    #[error(transparent)]
    Collection(#[from] NameError),
    /// A payload of a kind that this version does not know. Update this side.
    #[error(transparent)]
    Kind(#[from] UnknownPayloadKind),
    /// There is more after the end. A defect of the other side.
    #[error("{bytes} bytes after the end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

impl DecodeError {
    /// The code that tells the other side.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::FrameTooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::Damaged { .. } => ErrorCode::FrameDamaged,
            Self::UnknownFrame(_) => ErrorCode::UnknownFrame,
            Self::Kind(_) => ErrorCode::UnknownKind,
            _ => ErrorCode::MalformedFrame,
        }
    }
}

pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 10;
const HEADS_MAX: u64 = 4096;

impl Frame {
    /// Reads the frame in the next message that came in under `limits`.
    ///
    /// The size is looked at first: nothing is spent on a message that is too large.
    pub(crate) fn open(message: &[u8], seal: &mut Seal, limits: &Limits) -> Result<Self, DecodeError> {
        check_size(message.len() as u64, limits)?;
        Self::decode(seal.open(message)?, limits)
    }

    /// Reads a frame that came in under `limits`, without its seal. Its size is limited together with the seal's.
    ///
    /// What it allocates is bounded by the limits, whatever the bytes are. Fields that this version does not know are
    /// passed over.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        check_size(bytes.len() as u64 + SEAL_BYTES, limits)?;
        let mut reader = Reader::new(bytes);
        let items = reader.array("items of a frame", 2)?;
        if items != 2 {
            return Err(DecodeError::MissingField { frame: "frame", field: "body" });
        }
        let frame_type = reader.u64()?;
        let schema = schema::frame(frame_type).ok_or(DecodeError::UnknownFrame(frame_type))?;
        let frame = decode_body(&mut reader, schema, limits)?;
        reader.end()?;
        Ok(frame)
    }
}

fn check_size(bytes: u64, limits: &Limits) -> Result<(), DecodeError> {
    let bytes_max = limits.frame_bytes_max;
    if bytes > bytes_max { Err(DecodeError::FrameTooLarge { bytes, bytes_max }) } else { Ok(()) }
}

fn decode_limits(reader: &mut Reader<'_>) -> Result<Limits, DecodeError> {
    // A limit that is not there is one that the other side does not know, so that this version's default is as good as any.
    let mut limits = Limits::default();
    let mut known = limits.negotiated_mut();
    reader.map(|key, reader| {
        let Some(limit) = usize::try_from(key).ok().and_then(|key| known.get_mut(key)) else {
            return Ok(Taken::No);
        };
        **limit = reader.u64()?;
        Ok(Taken::Yes)
    })?;
    Ok(limits)
}

/// Every field that any frame has, until the frame's type says which of them it needs.
#[derive(Default)]
struct Fields<'b> {
    uint: [Option<u64>; 9],
    bytes: [Option<&'b [u8]>; 9],
    text: [Option<&'b str>; 9],
    space: Option<SpaceId>,
    watermark: Option<Watermark>,
    limits: Option<Limits>,
    results: Option<Vec<AckResult>>,
    heads: Option<Vec<HeadsEntry>>,
    ids: Option<Vec<EntityId>>,
}

fn decode_body(
    reader: &mut Reader<'_>,
    schema: &'static FrameSchema,
    limits: &Limits,
) -> Result<Frame, DecodeError> {
    use schema::Kind;
    let mut fields = Fields::default();
    reader.map(|key, reader| {
        let Some(field) = schema.fields.iter().find(|field| u64::from(field.number) == key) else {
            return Ok(Taken::No);
        };
        let at = usize::from(field.number);
        match field.kind {
            Kind::Uint => set(&mut fields.uint, at, reader.u64()?),
            Kind::Bytes(len_max) => {
                set(&mut fields.bytes, at, reader.bytes(field.name, len_max.min(limits.frame_bytes_max))?);
            }
            Kind::Text(len_max) => set(&mut fields.text, at, reader.text(field.name, len_max)?),
            Kind::Space => fields.space = Some(reader.value()?),
            Kind::Watermark => fields.watermark = Some(reader.value()?),
            Kind::Limits => fields.limits = Some(decode_limits(reader)?),
            Kind::Results => fields.results = Some(decode_results(reader, limits)?),
            Kind::HeadsEntries => fields.heads = Some(decode_heads(reader, limits)?),
            Kind::EntityIds => {
                let count = reader.array("entities of a fetch", limits.fetch_entities_max)?;
                fields.ids = Some((0..count).map(|_| reader.value()).collect::<Result<_, DecodeError>>()?);
            }
        }
        Ok(Taken::Yes)
    })?;
    Body { schema, fields, limits }.into_frame()
}

fn set<T>(slots: &mut [Option<T>], at: usize, value: T) {
    if let Some(slot) = slots.get_mut(at) {
        *slot = Some(value);
    }
}

/// The fields of one frame, read but not yet known to be complete.
struct Body<'b, 'l> {
    schema: &'static FrameSchema,
    fields: Fields<'b>,
    limits: &'l Limits,
}

impl Body<'_, '_> {
    fn into_frame(mut self) -> Result<Frame, DecodeError> {
        Ok(match self.schema.number {
            1 => Frame::Hello(Hello {
                version_min: self.u16(0)?,
                version_max: self.u16(1)?,
                device: DeviceId::from_bytes(self.id(2)?),
                client_name: self.text(3)?,
                client_version: self.text(4)?,
                token: self.optional_bytes(5),
                limits: self.fields.limits.take().ok_or_else(|| self.missing(6))?,
            }),
            2 => Frame::Welcome(Welcome {
                version: self.u16(0)?,
                relay_name: self.text(1)?,
                relay_version: self.text(2)?,
                limits: Limits {
                    ping_interval_ms: self.uint(4)?,
                    dead_after_ms: self.uint(5)?,
                    ..self.fields.limits.take().ok_or_else(|| self.missing(3))?
                },
            }),
            3 => Frame::Open(Open {
                space: self.space()?,
                position: Position { watermark: self.fields.watermark, cursor: self.optional_bytes(2) },
                mode: match self.uint(3)? {
                    0 => OpenMode::Live,
                    1 => OpenMode::Once,
                    2 => OpenMode::PushOnly,
                    value => return Err(self.unknown(3, value)),
                },
            }),
            4 => Frame::Opened(Opened {
                space: self.space()?,
                standing: match self.uint(1)? {
                    0 => OpenedStanding::Resume,
                    1 => OpenedStanding::Reconcile,
                    2 => OpenedStanding::Empty,
                    3 => OpenedStanding::Refused,
                    value => return Err(self.unknown(1, value)),
                },
                head: self.fields.watermark,
            }),
            5 => Frame::Changes(Changes {
                space: self.space()?,
                part: match self.uint(1)? {
                    0 => Part::Page,
                    1 => Part::LastPage,
                    2 => Part::Live,
                    3 => Part::Reconcile,
                    4 => Part::FetchEnd,
                    value => return Err(self.unknown(1, value)),
                },
                watermark: self.fields.watermark,
                cursor: self.optional_bytes(3),
                first: self.optional_uint(4).map(Seq::new),
                head: Seq::new(self.uint(5)?),
                remaining: self.uint(6)?,
                entries: self.entries(7, 8, u64::MAX)?,
            }),
            6 => Frame::Seen(Seen {
                space: self.space()?,
                frames: self.uint(1)?,
                seq: Seq::new(self.uint(2)?),
            }),
            7 => Frame::Push(Push {
                space: self.space()?,
                push_id: self.uint(1)?,
                entries: self.entries(2, 3, self.limits.push_changes_max)?,
            }),
            8 => Frame::Ack(Ack {
                space: self.space()?,
                push_id: self.uint(1)?,
                results: self.fields.results.take().ok_or_else(|| self.missing(2))?,
                watermark: self.fields.watermark,
                cursor: self.optional_bytes(4),
            }),
            9 => Frame::Heads(Heads {
                space: self.space()?,
                entities: self.fields.heads.take().ok_or_else(|| self.missing(1))?,
                more: match self.uint(2)? {
                    0 => MorePages::No,
                    1 => MorePages::Yes,
                    value => return Err(self.unknown(2, value)),
                },
            }),
            10 => Frame::Fetch(Fetch {
                space: self.space()?,
                entities: self.fields.ids.take().ok_or_else(|| self.missing(1))?,
            }),
            11 => Frame::SyncMessage(SyncMessage {
                space: self.space()?,
                entity: EntityId::from_bytes(self.id(1)?),
                collection: CollectionName::new(&self.text(2)?)?,
                message: self.optional_bytes(3).ok_or_else(|| self.missing(3))?,
            }),
            12 => Frame::ListHeads(ListHeads {
                space: self.space()?,
                after: match self.fields.bytes.get(1).copied().flatten() {
                    Some(_) => Some(EntityId::from_bytes(self.id(1)?)),
                    None => None,
                },
            }),
            13 => Frame::Probe(Probe { space: self.space()?, nonce: self.uint(1)? }),
            14 => Frame::Head(Head {
                space: self.space()?,
                nonce: self.uint(1)?,
                watermark: self.fields.watermark,
            }),
            15 => Frame::Ping(Ping { nonce: self.uint(0)? }),
            16 => Frame::Pong(Pong { nonce: self.uint(0)? }),
            17 => Frame::Error(ErrorFrame {
                code: ErrorCode::from_number(self.u16(0)?),
                message: self.text(1)?,
                space: self.fields.space,
                severity: match self.uint(3)? {
                    0 => Severity::Recoverable,
                    1 => Severity::Fatal,
                    value => return Err(self.unknown(3, value)),
                },
                retry_after_ms: self.optional_uint(4),
            }),
            18 => Frame::Bye(Bye {
                reason: match self.uint(0)? {
                    0 => ByeReason::Draining,
                    1 => ByeReason::Done,
                    value => return Err(self.unknown(0, value)),
                },
                reconnect_after_ms: self.uint(1)?,
            }),
            number => return Err(DecodeError::UnknownFrame(number.into())),
        })
    }

    fn space(&self) -> Result<SpaceId, DecodeError> {
        self.fields.space.ok_or_else(|| self.missing(0))
    }

    fn uint(&self, number: u8) -> Result<u64, DecodeError> {
        self.optional_uint(number).ok_or_else(|| self.missing(number))
    }

    fn optional_uint(&self, number: u8) -> Option<u64> {
        self.fields.uint.get(usize::from(number)).copied().flatten()
    }

    fn u16(&self, number: u8) -> Result<u16, DecodeError> {
        let value = self.uint(number)?;
        u16::try_from(value).map_err(|_| self.unknown(number, value))
    }

    fn text(&self, number: u8) -> Result<String, DecodeError> {
        let text = self.fields.text.get(usize::from(number)).copied().flatten();
        text.map(str::to_owned).ok_or_else(|| self.missing(number))
    }

    fn optional_bytes(&self, number: u8) -> Option<Bytes> {
        self.fields.bytes.get(usize::from(number)).copied().flatten().map(Bytes::copy_from_slice)
    }

    fn id(&self, number: u8) -> Result<[u8; 16], DecodeError> {
        let bytes = self.fields.bytes.get(usize::from(number)).copied().flatten();
        let bytes = bytes.ok_or_else(|| self.missing(number))?;
        bytes.try_into().map_err(|_| DecodeError::UnknownValue {
            field: self.field_name(number),
            value: bytes.len() as u64,
        })
    }

    fn entries(&self, number: u8, inflated: u8, entries_max: u64) -> Result<Vec<ChangeRecord>, DecodeError> {
        let bytes = self.fields.bytes.get(usize::from(number)).copied().flatten();
        let bytes = bytes.ok_or_else(|| self.missing(number))?;
        batch::decode(bytes, self.optional_uint(inflated), self.limits.batch_inflated_bytes_max, entries_max)
    }

    fn missing(&self, number: u8) -> DecodeError {
        DecodeError::MissingField { frame: self.schema.name, field: self.field_name(number) }
    }

    fn unknown(&self, number: u8, value: u64) -> DecodeError {
        DecodeError::UnknownValue { field: self.field_name(number), value }
    }

    fn field_name(&self, number: u8) -> &'static str {
        self.schema.fields.iter().find(|field| field.number == number).map_or("", |field| field.name)
    }
}

fn decode_results(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<AckResult>, DecodeError> {
    let count = reader.array("results of an ack", limits.push_changes_max)?;
    let mut results = Vec::with_capacity(count);
    for _ in 0..count {
        let items = reader.array("items of a result", 16)?;
        let kind = if items == 0 { u64::MAX } else { reader.u64()? };
        let (result, taken) = match (kind, items) {
            (0, 2..) => (AckResult::Accepted(reader.value()?), 2),
            (1, 2..) => (AckResult::Duplicate(reader.value()?), 2),
            (2, 4..) => {
                let code = ErrorCode::from_number(reader.u16()?);
                let retry = match reader.u64()? {
                    0 => Retry::Never,
                    1 => Retry::Later,
                    value => return Err(DecodeError::UnknownValue { field: "retry", value }),
                };
                let message = reader.text("message", MESSAGE_BYTES_MAX as u64)?.to_owned();
                (AckResult::Refused { code, retry, message }, 4)
            }
            (value, _) => return Err(DecodeError::UnknownValue { field: "result", value }),
        };
        for _ in taken..items {
            reader.skip()?;
        }
        results.push(result);
    }
    Ok(results)
}

fn decode_heads(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<HeadsEntry>, DecodeError> {
    let count = reader.array("entities of a page", limits.heads_page_max)?;
    let mut entities = Vec::with_capacity(count);
    for _ in 0..count {
        let items = reader.array("items of an entity", 16)?;
        at_most("missing items of an entity", 3u64.saturating_sub(items as u64), 0)?;
        let entity = reader.value()?;
        let collection = CollectionName::new(reader.text("collection", CollectionName::LEN_MAX as u64)?)?;
        let heads_count = reader.array("heads", HEADS_MAX)?;
        let heads = (0..heads_count).map(|_| reader.value()).collect::<Result<Vec<ChangeHash>, _>>()?;
        for _ in 3..items {
            reader.skip()?;
        }
        entities.push(HeadsEntry { entity, collection, heads });
    }
    Ok(entities)
}
