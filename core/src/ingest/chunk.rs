//! The chunks that Automerge's bytes are made of, found without Automerge.
//!
//! A chunk: magic (4 bytes), checksum (4), type (1), length (LEB128), body. The checksum is the beginning of the SHA-256 of type,
//! length and body, which for a change is its hash. The format is documented at <https://automerge.org/automerge-binary-format-spec/>.

use std::io::Read;

use bytes::Bytes;
use headwater_storage::ChangeHash;
use sha2::{Digest, Sha256};

use super::IngestError;
use super::reader::Reader;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHECKSUM_AT: usize = 4;
const TYPE_AT: usize = 8;
const TYPE_DOCUMENT: u8 = 0;
const TYPE_CHANGE: u8 = 1;
const TYPE_DEFLATED_CHANGE: u8 = 2;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkKind {
    /// A whole document: a snapshot.
    Document,
    /// One change.
    Change,
    /// One change, deflated.
    DeflatedChange,
}

/// One chunk of a byte string. Its checksum was not compared yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What it holds.
    pub kind: ChunkKind,
    /// All of it, from the magic bytes on.
    pub bytes: Bytes,
    body_at: usize,
}

/// A byte string as chunks. Made by [`split_chunks`].
#[derive(Clone, Debug)]
pub struct Chunks {
    rest: Bytes,
}

/// Splits a byte string into its chunks, without reading their bodies.
///
/// After an error there is nothing more: without a readable length nobody knows where the next chunk begins.
///
/// ```
/// use headwater::ingest::split_chunks;
/// let mut chunks = split_chunks(bytes::Bytes::from_static(b"no chunk"));
/// assert!(chunks.next().is_some_and(|chunk| chunk.is_err()));
/// assert!(chunks.next().is_none());
/// ```
pub fn split_chunks(bytes: Bytes) -> Chunks {
    Chunks { rest: bytes }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, IngestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let chunk = first_chunk(&self.rest);
        self.rest = match &chunk {
            Ok(chunk) => self.rest.slice(chunk.bytes.len()..),
            Err(_) => Bytes::new(),
        };
        Some(chunk)
    }
}

fn first_chunk(bytes: &Bytes) -> Result<Chunk, IngestError> {
    let mut reader = Reader::new(bytes);
    if reader.array()? != MAGIC {
        return Err(malformed("the magic bytes are missing"));
    }
    let _checksum: [u8; 4] = reader.array()?;
    let kind = match reader.array()? {
        [TYPE_DOCUMENT] => ChunkKind::Document,
        [TYPE_CHANGE] => ChunkKind::Change,
        [TYPE_DEFLATED_CHANGE] => ChunkKind::DeflatedChange,
        [_] => return Err(malformed("the chunk is of another type")),
    };
    let length = reader.length()?;
    let body_at = bytes.len() - reader.rest().len();
    Ok(Chunk { kind, bytes: bytes.slice(..body_at + length), body_at })
}

/// A chunk of the same kind with another body of the same length.
pub(super) fn resealed(chunk: &Chunk, body: &[u8]) -> Bytes {
    let mut bytes = chunk.bytes[..chunk.body_at].to_vec();
    bytes.extend_from_slice(body);
    let hash = Sha256::digest(&bytes[TYPE_AT..]);
    bytes[CHECKSUM_AT..TYPE_AT].copy_from_slice(&hash[..TYPE_AT - CHECKSUM_AT]);
    Bytes::from(bytes)
}

impl Chunk {
    /// The one chunk of a byte string that has to be a single chunk.
    ///
    /// # Errors
    /// When it is none, or when anything follows it.
    pub fn single(bytes: &Bytes) -> Result<Chunk, IngestError> {
        let chunk = first_chunk(bytes)?;
        if chunk.bytes.len() == bytes.len() { Ok(chunk) } else { Err(malformed("something follows it")) }
    }

    /// What the chunk holds, without its header.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// The beginning of the hash, as the chunk claims it.
    pub fn checksum(&self) -> &[u8] {
        &self.bytes[CHECKSUM_AT..TYPE_AT]
    }

    /// What the chunk hashes to. Of a deflated change this is not the change's hash; [`Chunk::inflated`] has that one.
    pub fn hash(&self) -> ChangeHash {
        ChangeHash::from_bytes(Sha256::digest(&self.bytes[TYPE_AT..]).into())
    }

    /// Whether the checksum is that of the contents. Of a deflated change, ask its inflated form.
    pub fn is_intact(&self) -> bool {
        self.checksum() == &self.hash().as_bytes()[..TYPE_AT - CHECKSUM_AT]
    }

    /// A change as it was before it was deflated. The same chunk if it is not deflated.
    ///
    /// # Errors
    /// When it would be larger than `bytes_max`, found out without holding more than that; or when it does not inflate.
    pub fn inflated(self, bytes_max: usize) -> Result<Chunk, IngestError> {
        if self.kind != ChunkKind::DeflatedChange {
            return if self.body().len() > bytes_max {
                Err(IngestError::TooLarge { size_bytes: self.body().len(), limit_bytes: bytes_max })
            } else {
                Ok(self)
            };
        }
        let body = inflate(self.body(), bytes_max)?;
        let mut bytes = Vec::with_capacity(TYPE_AT + 11 + body.len());
        bytes.extend_from_slice(&self.bytes[..TYPE_AT]);
        bytes.push(TYPE_CHANGE);
        put_unsigned(&mut bytes, body.len() as u64);
        let body_at = bytes.len();
        bytes.extend_from_slice(&body);
        Ok(Chunk { kind: ChunkKind::Change, bytes: bytes.into(), body_at })
    }
}

/// Inflates all of `deflated`, into at most `bytes_max` bytes.
pub(super) fn inflate(deflated: &[u8], bytes_max: usize) -> Result<Vec<u8>, IngestError> {
    let mut decoder = flate2::bufread::DeflateDecoder::new(deflated);
    // A guess that an attacker cannot make large: deflate shrinks at most a thousandfold, text about fourfold.
    let mut inflated = Vec::with_capacity(deflated.len().saturating_mul(4).min(bytes_max));
    let limit = (bytes_max as u64).saturating_add(1);
    decoder.by_ref().take(limit).read_to_end(&mut inflated).map_err(|_| malformed("it does not inflate"))?;
    if inflated.len() > bytes_max {
        return Err(IngestError::TooLarge { size_bytes: inflated.len(), limit_bytes: bytes_max });
    }
    if decoder.total_in() != deflated.len() as u64 {
        return Err(malformed("something follows the deflated part"));
    }
    Ok(inflated)
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn malformed(why: &str) -> IngestError {
    IngestError::Malformed(why.to_owned())
}
