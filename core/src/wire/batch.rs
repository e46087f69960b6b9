//! A batch: the changes of one frame, as one byte string.
//!
//! ```text
//! batch = [entry, ...]                                  a CBOR array of definite length
//! entry = [entity, collection, kind, hash, payload]     the routing header, then the payload; later versions may append
//!         entity: 16 bytes, collection: text of 1 to 128 bytes, kind: uint, hash: 32 bytes, payload: bytes
//! ```
//!
//! A batch of more than [`BATCH_PLAIN_BYTES_MAX`] bytes is one zstd frame of level 1, if that makes it smaller; the frame
//! around it then names the size before compression, which is checked against the limit before anything is allocated.

use bytes::Bytes;
use headwater_storage::{ChangeHash, ChangeRecord, CollectionName, EntityId, PayloadKind};
use minicbor::Encoder;

use super::cbor::{Reader, at_most, written};
use super::decode::DecodeError;

/// The largest batch that always travels as it is, in bytes.
pub const BATCH_PLAIN_BYTES_MAX: usize = 512;
/// What an entry takes besides its collection's name and its payload, in bytes: an upper bound.
pub const ENTRY_OVERHEAD_BYTES_MAX: u64 = 64;

const ENTRY_BYTES_MIN: usize = 55;
const ENTRY_FIELDS: u64 = 5;
const ENTRY_FIELDS_MAX: u64 = 32;
const ZSTD_LEVEL: i32 = 1;

/// An upper bound of what `record` takes in a batch before compression, in bytes.
///
/// ```
/// use headwater_storage::{Bytes, ChangeHash, ChangeRecord, CollectionName, EntityId, PayloadKind};
/// let record = ChangeRecord {
///     entity: EntityId::from_bytes([1; 16]),
///     collection: CollectionName::new("notes")?,
///     kind: PayloadKind::Change,
///     hash: ChangeHash::from_bytes([2; 32]),
///     payload: Bytes::from_static(b"change"),
/// };
/// assert_eq!(headwater::wire::encoded_entry_bytes(&record), 64 + 5 + 6);
/// # Ok::<(), headwater_storage::NameError>(())
/// ```
pub fn encoded_entry_bytes(record: &ChangeRecord) -> u64 {
    ENTRY_OVERHEAD_BYTES_MAX + (record.collection.as_str().len() + record.payload.len()) as u64
}

/// A batch as it travels.
pub(super) struct EncodedBatch {
    pub(super) bytes: Vec<u8>,
    /// The size before compression; `None` if it is not compressed.
    pub(super) inflated_bytes: Option<u64>,
}

pub(super) fn encode<'a>(entries: impl ExactSizeIterator<Item = &'a ChangeRecord> + Clone) -> EncodedBatch {
    let bytes_expected: u64 = entries.clone().map(encoded_entry_bytes).sum();
    let mut out = Encoder::new(Vec::with_capacity(usize::try_from(bytes_expected).unwrap_or(0) + 9));
    written(out.array(entries.len() as u64));
    for entry in entries {
        written(out.array(ENTRY_FIELDS));
        written(out.bytes(entry.entity.as_bytes()));
        written(out.str(entry.collection.as_str()));
        written(out.u8(entry.kind.code()));
        written(out.bytes(entry.hash.as_bytes()));
        written(out.bytes(&entry.payload));
    }
    let plain = out.into_writer();
    if plain.len() > BATCH_PLAIN_BYTES_MAX
        && let Ok(compressed) = zstd::bulk::compress(&plain, ZSTD_LEVEL)
        && compressed.len() < plain.len()
    {
        return EncodedBatch { bytes: compressed, inflated_bytes: Some(plain.len() as u64) };
    }
    EncodedBatch { bytes: plain, inflated_bytes: None }
}

/// Reads a batch. The payloads share one allocation.
pub(super) fn decode(
    bytes: &[u8],
    inflated_bytes: Option<u64>,
    inflated_bytes_max: u64,
    entries_max: u64,
) -> Result<Vec<ChangeRecord>, DecodeError> {
    let batch = match inflated_bytes {
        Some(inflated) => inflate(bytes, inflated, inflated_bytes_max)?,
        None => Bytes::copy_from_slice(bytes),
    };
    let mut reader = Reader::new(&batch);
    let count = reader.array("changes", entries_max.min((batch.len() / ENTRY_BYTES_MIN) as u64))?;
    let mut entries: Vec<ChangeRecord> = Vec::with_capacity(count);
    for _ in 0..count {
        let fields = reader.array("fields of an entry", ENTRY_FIELDS_MAX)?;
        if (fields as u64) < ENTRY_FIELDS {
            return Err(DecodeError::MissingField { frame: "batch entry", field: "payload" });
        }
        let entity: EntityId = reader.value()?;
        let name = reader.text("collection", CollectionName::LEN_MAX as u64)?;
        // Neighbours are mostly of one collection, so they share its name.
        let collection = match entries.last() {
            Some(last) if last.collection.as_str() == name => last.collection.clone(),
            _ => CollectionName::new(name)?,
        };
        let kind = PayloadKind::from_code(reader.u8()?)?;
        let hash: ChangeHash = reader.value()?;
        let payload = batch.slice_ref(reader.bytes("payload", batch.len() as u64)?);
        for _ in ENTRY_FIELDS..fields as u64 {
            reader.skip()?;
        }
        entries.push(ChangeRecord { entity, collection, kind, hash, payload });
    }
    reader.end()?;
    Ok(entries)
}

fn inflate(bytes: &[u8], inflated: u64, inflated_max: u64) -> Result<Bytes, DecodeError> {
    at_most("bytes of an inflated batch", inflated, inflated_max)?;
    let capacity = usize::try_from(inflated).map_err(|_| DecodeError::Inflate)?;
    // The buffer never grows past `capacity`: zstd stops with an error when more would come out.
    let plain = zstd::bulk::decompress(bytes, capacity).map_err(|_| DecodeError::Inflate)?;
    if plain.len() != capacity {
        return Err(DecodeError::Inflate);
    }
    Ok(Bytes::from(plain))
}
