//! Frames to bytes. The layout is in `docs/protocol.md`; `decode` is the way back.

use bytes::Bytes;
use headwater_storage::{ChangeRecord, Seq, SpaceId, Watermark};

use super::cbor::{FrameWriter, written};
use super::decode::MESSAGE_BYTES_MAX;
use super::{AckResult, Frame, Limits, Part, batch, schema};

const NAME_BYTES_MAX: usize = 128;
const VERSION_BYTES_MAX: usize = 64;

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = FrameWriter::new(self.frame_type(), 64);
        match self {
            Self::Hello(hello) => {
                out.uint(0, hello.version_min.into());
                out.uint(1, hello.version_max.into());
                out.value(2, hello.device);
                out.text(3, shortened(&hello.client_name, NAME_BYTES_MAX));
                out.text(4, shortened(&hello.client_version, VERSION_BYTES_MAX));
                if let Some(token) = &hello.token {
                    out.bytes(5, token);
                }
                encode_limits(&mut out, 6, &hello.limits);
            }
            Self::Welcome(welcome) => {
                out.uint(0, welcome.version.into());
                out.text(1, shortened(&welcome.relay_name, NAME_BYTES_MAX));
                out.text(2, shortened(&welcome.relay_version, VERSION_BYTES_MAX));
                encode_limits(&mut out, 3, &welcome.limits);
                out.uint(4, welcome.limits.ping_interval_ms);
                out.uint(5, welcome.limits.dead_after_ms);
            }
            Self::Open(open) => {
                out.value(0, open.space);
                out.optional(1, open.position.watermark);
                if let Some(cursor) = &open.position.cursor {
                    out.bytes(2, cursor);
                }
                out.uint(3, open.mode as u64);
            }
            Self::Opened(opened) => {
                out.value(0, opened.space);
                out.uint(1, opened.standing as u64);
                out.optional(2, opened.head);
            }
            Self::Changes(changes) => {
                let head = ChangesHead {
                    space: changes.space,
                    part: changes.part,
                    watermark: changes.watermark,
                    cursor: changes.cursor.as_deref(),
                    first: changes.first,
                    head: changes.head,
                    remaining: changes.remaining,
                };
                return encode_changes(&head, changes.entries.iter());
            }
            Self::Seen(seen) => {
                out.value(0, seen.space);
                out.uint(1, seen.frames);
                out.value(2, seen.seq);
            }
            Self::Push(push) => {
                let batch = batch::encode(push.entries.iter());
                out = FrameWriter::new(self.frame_type(), batch.bytes.len() + 64);
                out.value(0, push.space);
                out.uint(1, push.push_id);
                out.bytes(2, &batch.bytes);
                out.optional(3, batch.inflated_bytes);
            }
            Self::Ack(ack) => {
                out.value(0, ack.space);
                out.uint(1, ack.push_id);
                let results = out.field(2);
                written(results.array(ack.results.len() as u64));
                for result in &ack.results {
                    encode_result(results, result);
                }
                out.optional(3, ack.watermark);
                if let Some(cursor) = &ack.cursor {
                    out.bytes(4, cursor);
                }
            }
            Self::Heads(heads) => {
                out.value(0, heads.space);
                let entities = out.field(1);
                written(entities.array(heads.entities.len() as u64));
                for entry in &heads.entities {
                    written(entities.array(3));
                    written(entities.encode(entry.entity));
                    written(entities.str(entry.collection.as_str()));
                    written(entities.array(entry.heads.len() as u64));
                    for hash in &entry.heads {
                        written(entities.encode(hash));
                    }
                }
                out.uint(2, heads.more as u64);
            }
            Self::Fetch(fetch) => {
                out.value(0, fetch.space);
                let entities = out.field(1);
                written(entities.array(fetch.entities.len() as u64));
                for entity in &fetch.entities {
                    written(entities.encode(entity));
                }
            }
            Self::SyncMessage(sync) => {
                out.value(0, sync.space);
                out.value(1, sync.entity);
                out.text(2, sync.collection.as_str());
                out.bytes(3, &sync.message);
            }
            Self::ListHeads(list) => {
                out.value(0, list.space);
                out.optional(1, list.after);
            }
            Self::Probe(probe) => {
                out.value(0, probe.space);
                out.uint(1, probe.nonce);
            }
            Self::Head(head) => {
                out.value(0, head.space);
                out.uint(1, head.nonce);
                out.optional(2, head.watermark);
            }
            Self::Ping(ping) => out.uint(0, ping.nonce),
            Self::Pong(pong) => out.uint(0, pong.nonce),
            Self::Error(error) => {
                out.uint(0, error.code.number().into());
                out.text(1, shortened(&error.message, MESSAGE_BYTES_MAX));
                out.optional(2, error.space);
                out.uint(3, error.severity as u64);
                out.optional(4, error.retry_after_ms);
            }
            Self::Bye(bye) => {
                out.uint(0, bye.reason as u64);
                out.uint(1, bye.reconnect_after_ms);
            }
        }
        Bytes::from(out.finish())
    }

    /// The number of the frame's type.
    pub fn frame_type(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Welcome(_) => 2,
            Self::Open(_) => 3,
            Self::Opened(_) => 4,
            Self::Changes(_) => CHANGES,
            Self::Seen(_) => 6,
            Self::Push(_) => 7,
            Self::Ack(_) => 8,
            Self::Heads(_) => 9,
            Self::Fetch(_) => 10,
            Self::SyncMessage(_) => 11,
            Self::ListHeads(_) => 12,
            Self::Probe(_) => 13,
            Self::Head(_) => 14,
            Self::Ping(_) => 15,
            Self::Pong(_) => 16,
            Self::Error(_) => 17,
            Self::Bye(_) => 18,
        }
    }

    /// The name of the frame's type in `docs/protocol.md`.
    pub fn name(&self) -> &'static str {
        schema::frame(self.frame_type().into()).map_or("", |schema| schema.name)
    }
}

const CHANGES: u8 = 5;

/// A `Changes` frame without its changes.
pub(crate) struct ChangesHead<'a> {
    pub(crate) space: SpaceId,
    pub(crate) part: Part,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) cursor: Option<&'a [u8]>,
    pub(crate) first: Option<Seq>,
    pub(crate) head: Seq,
    pub(crate) remaining: u64,
}

/// Encodes a `Changes` frame from borrowed changes.
pub(crate) fn encode_changes<'a>(
    head: &ChangesHead<'_>,
    entries: impl ExactSizeIterator<Item = &'a ChangeRecord> + Clone,
) -> Bytes {
    let batch = batch::encode(entries);
    let mut out = FrameWriter::new(CHANGES, batch.bytes.len() + 256);
    out.value(0, head.space);
    out.uint(1, head.part as u64);
    out.optional(2, head.watermark);
    if let Some(cursor) = head.cursor {
        out.bytes(3, cursor);
    }
    out.optional(4, head.first);
    out.value(5, head.head);
    out.uint(6, head.remaining);
    out.bytes(7, &batch.bytes);
    out.optional(8, batch.inflated_bytes);
    Bytes::from(out.finish())
}

fn encode_result(out: &mut minicbor::Encoder<Vec<u8>>, result: &AckResult) {
    match result {
        AckResult::Accepted(seq) => {
            written(out.array(2));
            written(out.u8(0));
            written(out.encode(seq));
        }
        AckResult::Duplicate(seq) => {
            written(out.array(2));
            written(out.u8(1));
            written(out.encode(seq));
        }
        AckResult::Refused { code, retry, message } => {
            written(out.array(4));
            written(out.u8(2));
            written(out.u16(code.number()));
            written(out.u8(*retry as u8));
            written(out.str(shortened(message, MESSAGE_BYTES_MAX)));
        }
    }
}

fn encode_limits(out: &mut FrameWriter, key: u8, limits: &Limits) {
    let values = limits.negotiated();
    let map = out.field(key);
    written(map.map(values.len() as u64));
    for (key, value) in values.into_iter().enumerate() {
        written(map.u64(key as u64));
        written(map.u64(value));
    }
}

/// The beginning of `text` that fits into `len_max` bytes.
fn shortened(text: &str, len_max: usize) -> &str {
    match text.char_indices().find(|(at, char)| at + char.len_utf8() > len_max) {
        Some((at, _)) => text.get(..at).unwrap_or(""),
        None => text,
    }
}
