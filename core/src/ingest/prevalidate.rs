//! The checks of a chunk that need neither a document nor the merge engine.

use bytes::Bytes;
use headwater_storage::ChangeHash;

use super::chunk::{Chunk, ChunkKind};
use super::columns::{ColumnLimits, Columns, Walked};
use super::reader::Reader;
use super::{ChangeLimits, IngestError};

/// What a change says of itself, read without the merge engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeHeader {
    /// Its hash, computed from the bytes.
    pub hash: ChangeHash,
    /// The changes that must be applied before it, each once.
    pub deps: Vec<ChangeHash>,
    /// Who made it: for Headwater's own changes the device id and 8 bytes that are new in each opening.
    pub actor: Bytes,
    /// Its number among its actor's changes, from 1 up without gaps.
    pub seq: u64,
    /// The number of its first operation.
    pub start_op: u64,
    /// How many operations it has.
    pub operations: u64,
    /// No counter moves further than this by the change, in either direction. An upper bound, by the sizes of its numbers.
    pub(crate) counted_max: u64,
    /// The change as one chunk that is not deflated.
    pub(super) chunk: Bytes,
}

impl ChangeHeader {
    /// The number of its last operation. One less than the first if it has none.
    pub fn max_op(&self) -> u64 {
        self.start_op.saturating_add(self.operations).saturating_sub(1)
    }
}

const ACTOR_BYTES_MAX: usize = 1 << 10;
const HASH_BYTES: usize = 32;

/// Checks a change as far as its bytes alone tell: size, layout, checksum, plausible numbers, and what its columns would unfold to.
///
/// Nothing of the change is unfolded. Memory: what it has when inflated, which is within the limit.
///
/// # Errors
/// See [`IngestError`].
///
/// ```
/// use headwater::ingest::{ChangeLimits, IngestError, prevalidate_change};
/// let bomb = bytes::Bytes::from(vec![0; 300 * 1024]);
/// assert!(matches!(prevalidate_change(&bomb, &ChangeLimits::default()), Err(IngestError::TooLarge { .. })));
/// ```
pub fn prevalidate_change(payload: &Bytes, limits: &ChangeLimits) -> Result<ChangeHeader, IngestError> {
    let change_bytes_max = as_size(limits.change_bytes_max);
    if payload.len() > change_bytes_max {
        return Err(IngestError::TooLarge { size_bytes: payload.len(), limit_bytes: change_bytes_max });
    }
    let chunk = Chunk::single(payload)?;
    if chunk.kind == ChunkKind::Document {
        return Err(malformed("it is a whole document"));
    }
    let chunk = chunk.inflated(as_size(limits.inflated_bytes_max))?;
    let hash = chunk.hash();
    // Whoever pushed a copy with a wrong checksum first would have it stored in place of the author's.
    if chunk.checksum() != &hash.as_bytes()[..chunk.checksum().len()] {
        return Err(malformed("its checksum is not that of its contents"));
    }
    let mut reader = Reader::new(chunk.body());
    let deps = read_hashes(&mut reader, as_size(limits.deps_max))?;
    let actor = read_actor(&mut reader)?;
    if actor.is_empty() {
        // The relay numbers changes by actor, and needs a name for each.
        return Err(malformed("its actor has no name"));
    }
    let seq = reader.unsigned()?;
    let start_op = reader.unsigned()?;
    let _time = reader.signed()?;
    let message = reader.prefixed()?;
    if std::str::from_utf8(message).is_err() {
        return Err(malformed("its message is not UTF-8"));
    }
    for _ in 0..reader.count(1)? {
        read_actor(&mut reader)?;
    }
    let columns = Columns::read(&mut reader)?;
    let Walked { operations, counted_max } = columns.walk(
        &mut reader,
        &ColumnLimits {
            rows_max: limits.operations_max,
            key_bytes_max: as_size(limits.key_bytes_max),
            inflated_bytes_max: 0,
        },
    )?;
    if seq == 0 || start_op == 0 {
        return Err(malformed("it is numbered 0"));
    }
    let actor = Bytes::copy_from_slice(actor);
    let header =
        ChangeHeader { hash, deps, actor, seq, start_op, operations, counted_max, chunk: chunk.bytes };
    // An actor's changes are numbered no further than operations are.
    let highest = header.max_op().max(seq);
    if highest > limits.operation_number_max {
        return Err(IngestError::TooMany {
            what: "as its highest number",
            count: highest,
            limit: limits.operation_number_max,
        });
    }
    Ok(header)
}

/// What a document chunk says of itself, read without the merge engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentHeader {
    /// Its heads, as it claims them.
    pub heads: Vec<ChangeHash>,
    /// No counter in it is further from 0 than this. An upper bound, by the sizes of its numbers.
    pub(crate) counted_max: u64,
}

/// What a whole document may come to. Far above what apps make, and below what would bring a device down.
const DOCUMENT_ROWS_MAX: u64 = 16 << 20;
const DOCUMENT_INFLATED_BYTES_MAX: usize = 256 << 20;
const DOCUMENT_HEADS_MAX: usize = 100_000;

/// Checks a document chunk, a snapshot, as far as its bytes alone tell: layout, checksum, and what its columns would unfold to.
///
/// # Errors
/// See [`IngestError`].
///
/// ```
/// use headwater::ingest::prevalidate_document;
/// assert!(prevalidate_document(&bytes::Bytes::from_static(b"no document")).is_err());
/// ```
pub fn prevalidate_document(bytes: &Bytes) -> Result<DocumentHeader, IngestError> {
    let chunk = Chunk::single(bytes)?;
    if chunk.kind != ChunkKind::Document {
        return Err(malformed("it is no document"));
    }
    if !chunk.is_intact() {
        return Err(malformed("its checksum is not that of its contents"));
    }
    let mut reader = Reader::new(chunk.body());
    for _ in 0..reader.count(1)? {
        read_actor(&mut reader)?;
    }
    let heads = read_hashes(&mut reader, DOCUMENT_HEADS_MAX)?;
    let (changes, operations) = (Columns::read(&mut reader)?, Columns::read(&mut reader)?);
    let limits = ColumnLimits {
        rows_max: DOCUMENT_ROWS_MAX,
        key_bytes_max: usize::MAX,
        inflated_bytes_max: DOCUMENT_INFLATED_BYTES_MAX,
    };
    changes.walk(&mut reader, &limits)?;
    let Walked { counted_max, .. } = operations.walk(&mut reader, &limits)?;
    Ok(DocumentHeader { heads, counted_max })
}

/// On a machine with small addresses, a larger limit is no limit.
fn as_size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn read_actor<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], IngestError> {
    let actor = reader.prefixed()?;
    if actor.len() > ACTOR_BYTES_MAX {
        return Err(IngestError::TooMany {
            what: "bytes in the name of an actor",
            count: actor.len() as u64,
            limit: ACTOR_BYTES_MAX as u64,
        });
    }
    Ok(actor)
}

fn read_hashes(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<ChangeHash>, IngestError> {
    let count = reader.count(HASH_BYTES)?;
    if count > count_max {
        let (count, limit) = (count as u64, count_max as u64);
        return Err(IngestError::TooMany { what: "dependencies", count, limit });
    }
    let mut hashes: Vec<ChangeHash> = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = ChangeHash::from_bytes(reader.array()?);
        if hashes.last().is_some_and(|before| *before >= hash) {
            return Err(malformed("its dependencies are out of order"));
        }
        hashes.push(hash);
    }
    Ok(hashes)
}

fn malformed(why: &str) -> IngestError {
    IngestError::Malformed(why.to_owned())
}
