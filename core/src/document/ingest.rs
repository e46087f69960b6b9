//! The one door through which changes from outside enter, on the relay and in every replica.
//!
//! In order: size, chunk layout, inflation through a capped reader, parsing under `catch_unwind`, and the counts and hash that
//! the sender claimed. What applies to one document only (dependencies, duplicates) is checked by whoever holds that document
//! or the feed's index. The reasons for each step are measured in the project's notes on hostile input.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::Change;
use bytes::Bytes;
use headwater_storage::{ChangeHash, ChangeRecord, PayloadKind};

/// What one change may cost. The relay advertises its own in the handshake.
///
/// ```
/// use headwater::document::ingest::ChangeLimits;
/// assert_eq!(ChangeLimits::default().change_bytes_max, 256 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeLimits {
    /// The change as it travels.
    pub change_bytes_max: usize,
    /// The change when its columns are inflated.
    pub inflated_bytes_max: usize,
    /// Operations in one change.
    pub operations_max: usize,
    /// Dependencies of one change.
    pub deps_max: usize,
    /// The highest operation number. Near the end of the range no one could edit the entity any more.
    pub start_op_max: u64,
}

impl Default for ChangeLimits {
    fn default() -> ChangeLimits {
        ChangeLimits {
            change_bytes_max: 256 * 1024,
            inflated_bytes_max: 4 * 1024 * 1024,
            operations_max: 100_000,
            deps_max: 1_000,
            start_op_max: 1 << 31,
        }
    }
}

impl ChangeLimits {
    /// For changes that are already ours: what was accepted once stays readable when the limits shrink.
    pub(crate) fn stored() -> ChangeLimits {
        ChangeLimits {
            change_bytes_max: usize::MAX,
            inflated_bytes_max: 64 * 1024 * 1024,
            operations_max: usize::MAX,
            deps_max: usize::MAX,
            start_op_max: u64::MAX,
        }
    }
}

/// A change that does not get in. Nothing was applied; the change is set aside with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Larger than the limit; the sender must split the edit.
    #[error("the change has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// The change's size, inflated where that is what is too large.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// More operations or dependencies than the limit, or numbers beyond the plausible range.
    #[error("the change has {count} {what}, the limit is {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are no Automerge change.
    #[error("not an Automerge change: {0}")]
    Malformed(String),
    /// The change is another one than its header says.
    #[error("the change hashes to {actual}, its header says {claimed}")]
    WrongHash {
        /// What the header says.
        claimed: ChangeHash,
        /// What the bytes hash to.
        actual: ChangeHash,
    },
    /// A payload of a kind that this version does not take from a peer.
    #[error("a payload of this kind is not accepted here")]
    UnsupportedKind,
    /// Parsed, but contradicts the entity's other changes.
    #[error("the change does not apply: {0}")]
    DoesNotApply(String),
    /// The merge engine panicked over it. The in-memory document is gone, the stored changes are untouched.
    #[error("the merge engine panicked over the change")]
    EnginePanicked,
}

/// A change that passed every check that needs no document.
#[derive(Clone, Debug)]
pub struct CheckedChange {
    /// Its hash, computed from the bytes.
    pub hash: ChangeHash,
    /// The changes that must be applied before it.
    pub deps: Vec<ChangeHash>,
    /// When it was made, by its author's clock, in milliseconds since 1970-01-01 UTC; 0 for none.
    pub time_ms: i64,
    /// Who made it: for Headwater's own changes the device id and 8 bytes that are new in each opening.
    pub actor: Vec<u8>,
    /// The bytes as they came.
    pub payload: Bytes,
    parsed: Change,
}

impl CheckedChange {
    pub(crate) fn into_parsed(self) -> Change {
        self.parsed
    }
}

/// Checks one change on its own.
///
/// # Errors
/// See [`IngestError`]; a panic of the merge engine is one of them.
///
/// ```
/// use headwater::document::ingest::{check_change, ChangeLimits, IngestError};
/// let garbage = bytes::Bytes::from_static(b"garbage");
/// assert!(matches!(check_change(&garbage, &ChangeLimits::default()), Err(IngestError::Malformed(_))));
/// ```
pub fn check_change(payload: &Bytes, limits: &ChangeLimits) -> Result<CheckedChange, IngestError> {
    at_most(payload.len(), limits.change_bytes_max)?;
    check_chunk(payload, limits)?;
    let parsed = match catch_unwind(AssertUnwindSafe(|| Change::from_bytes(payload.to_vec()))) {
        Ok(Ok(change)) => change,
        Ok(Err(error)) => return Err(IngestError::Malformed(error.to_string())),
        Err(_) => return Err(IngestError::EnginePanicked),
    };
    // The engine takes a change whose checksum is wrong. Other programs do not, and whoever pushes such a copy first would have
    // it stored in place of the author's.
    if payload.get(CHUNK_CHECKSUM) != parsed.hash().0.get(..4) {
        return Err(IngestError::Malformed("its checksum is not that of its contents".to_owned()));
    }
    count("operations", parsed.len() as u64, limits.operations_max as u64)?;
    count("dependencies", parsed.deps().len() as u64, limits.deps_max as u64)?;
    count(
        "as its highest operation number",
        parsed.start_op().get().saturating_add(parsed.len() as u64),
        limits.start_op_max,
    )?;
    Ok(CheckedChange {
        hash: ChangeHash::from_bytes(parsed.hash().0),
        deps: parsed.deps().iter().map(|dep| ChangeHash::from_bytes(dep.0)).collect(),
        time_ms: milliseconds(parsed.timestamp()),
        actor: parsed.actor_id().to_bytes().to_vec(),
        payload: payload.clone(),
        parsed,
    })
}

/// Checks one change against the routing header that it came with.
///
/// # Errors
/// As for [`check_change`], and when the header's hash or kind is another.
pub fn check_record(record: &ChangeRecord, limits: &ChangeLimits) -> Result<CheckedChange, IngestError> {
    if record.kind != PayloadKind::Change {
        return Err(IngestError::UnsupportedKind);
    }
    let change = check_change(&record.payload, limits)?;
    if change.hash != record.hash {
        return Err(IngestError::WrongHash { claimed: record.hash, actual: change.hash });
    }
    Ok(change)
}

/// Automerge's convention is seconds; Headwater writes milliseconds, because devices edit faster than once a second. A value
/// below 10^11 can only be seconds (as milliseconds it would lie before March 1973).
fn milliseconds(time: i64) -> i64 {
    if time.abs() < 100_000_000_000 { time.saturating_mul(1000) } else { time }
}

// A chunk: magic (4 bytes), checksum (4), type (1), length (LEB128), body. Type 1 is a change, 2 a change whose body is
// deflated. A change is exactly one chunk, with nothing behind it.
const CHUNK_MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHUNK_CHECKSUM: std::ops::Range<usize> = 4..8;
const CHUNK_TYPE_AT: usize = 8;
const CHUNK_TYPE_CHANGE: u8 = 1;
const CHUNK_TYPE_DEFLATED: u8 = 2;

/// Checks the layout, and inflates into nothing to learn the size before the engine inflates into memory.
fn check_chunk(payload: &[u8], limits: &ChangeLimits) -> Result<(), IngestError> {
    let malformed = |why: &str| IngestError::Malformed(why.to_owned());
    if payload.get(..4) != Some(&CHUNK_MAGIC) {
        return Err(malformed("the magic bytes are missing"));
    }
    let kind = *payload.get(CHUNK_TYPE_AT).ok_or_else(|| malformed("it is cut off"))?;
    let (length, body) =
        leb128(&payload[CHUNK_TYPE_AT + 1..]).ok_or_else(|| malformed("its length is unreadable"))?;
    if length != body.len() as u64 {
        return Err(malformed("its length is not that of its body"));
    }
    match kind {
        CHUNK_TYPE_CHANGE => Ok(()),
        CHUNK_TYPE_DEFLATED => {
            let limit = limits.inflated_bytes_max as u64;
            let mut capped = flate2::read::DeflateDecoder::new(body).take(limit.saturating_add(1));
            let inflated = std::io::copy(&mut capped, &mut std::io::sink())
                .map_err(|_| malformed("it does not inflate"))?;
            at_most(inflated as usize, limits.inflated_bytes_max)
        }
        _ => Err(malformed("the chunk is of another type")),
    }
}

fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn at_most(size_bytes: usize, limit_bytes: usize) -> Result<(), IngestError> {
    if size_bytes > limit_bytes { Err(IngestError::TooLarge { size_bytes, limit_bytes }) } else { Ok(()) }
}

fn count(what: &'static str, count: u64, limit: u64) -> Result<(), IngestError> {
    if count > limit { Err(IngestError::TooMany { what, count, limit }) } else { Ok(()) }
}
