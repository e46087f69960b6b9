//! Lengths and checksums put right, so that a fuzzer gets behind them.

use automerge::Change;
use bytes::Bytes;
use headwater::ingest::{Chunk, ChunkKind};
use sha2::{Digest, Sha256};

use crate::hostile::unsigned;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHECKSUM_AT: usize = 4;
const TYPE_AT: usize = 8;
const LENGTH_AT: usize = 9;
/// What a deflated chunk is inflated to for its checksum. More has no place in a fuzzer's memory.
const INFLATED_BYTES_MAX: usize = 8 << 20;

/// What is put right in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The checksum.
    Checksum,
    /// The magic bytes, the length and the checksum. What has no header at all becomes the body of a chunk of this type.
    Everything {
        /// The number of the type.
        chunk_type: u8,
    },
}

/// The chunk, repaired. What cannot be repaired stays as it is.
///
/// ```
/// use headwater_fuzz::targets::{Repair, repaired};
/// let chunk = repaired(b"a body", Repair::Everything { chunk_type: 1 });
/// assert_eq!(&chunk[..4], [0x85, 0x6f, 0x4a, 0x83]);
/// assert_eq!(&chunk[8..], [&[1, 6][..], b"a body"].concat());
/// assert_eq!(repaired(&chunk, Repair::Checksum), chunk);
/// ```
pub fn repaired(bytes: &[u8], repair: Repair) -> Bytes {
    match repair {
        Repair::Checksum => with_checksum(bytes.to_vec()),
        Repair::Everything { chunk_type } => match header_bytes(bytes) {
            Some(header) => framed(bytes[TYPE_AT], &bytes[header..]),
            None => framed(chunk_type, bytes),
        },
    }
}

/// A chunk with this body.
pub fn framed(chunk_type: u8, body: &[u8]) -> Bytes {
    let mut chunk = MAGIC.to_vec();
    chunk.extend_from_slice(&[0; TYPE_AT - CHECKSUM_AT]);
    chunk.push(chunk_type);
    chunk.extend(unsigned(body.len() as u64));
    chunk.extend_from_slice(body);
    with_checksum(chunk)
}

/// The bytes of a change as it is before it is deflated.
pub(super) fn plain(change: &Bytes) -> Bytes {
    match Chunk::single(change).and_then(|chunk| chunk.inflated(INFLATED_BYTES_MAX)) {
        Ok(chunk) => chunk.bytes,
        Err(_) => change.clone(),
    }
}

/// The hash that a change has, whether or not it is one.
pub(super) fn hash_of(change: &[u8]) -> [u8; 32] {
    Sha256::digest(change.get(TYPE_AT..).unwrap_or_default()).into()
}

/// What the engine makes of a change, with no check before it. Panics with it.
pub(super) fn parsed(change: &[u8]) -> Option<Change> {
    Change::from_bytes(change.to_vec()).ok()
}

/// Where the body begins, if there is a header.
fn header_bytes(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let length_bytes = bytes.get(LENGTH_AT..)?.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    Some(LENGTH_AT + length_bytes + 1)
}

fn with_checksum(mut chunk: Vec<u8>) -> Bytes {
    let single = Chunk::single(&Bytes::copy_from_slice(&chunk)).ok();
    let is_deflated = single.as_ref().is_some_and(|single| single.kind == ChunkKind::DeflatedChange);
    // A deflated change carries the checksum of what it inflates to.
    let inflated = single.filter(|_| is_deflated).and_then(|single| single.inflated(INFLATED_BYTES_MAX).ok());
    let hash = inflated.map_or_else(|| hash_of(&chunk), |inflated| *inflated.hash().as_bytes());
    if let Some(checksum) = chunk.get_mut(CHECKSUM_AT..TYPE_AT) {
        checksum.copy_from_slice(&hash[..TYPE_AT - CHECKSUM_AT]);
    }
    chunk.into()
}
