//! The check that every received message of Automerge's sync protocol passes before Automerge sees it.
//!
//! Automerge divides by the length of a Bloom filter and allocates by its number of probes, without looking at either.
//!
//! ```text
//! message   = 0x42, hashes heads, hashes need, count, have..., count 0
//! hashes    = count, 32 bytes...
//! have      = hashes last_sync, length, bloom
//! bloom     = nothing, or: entries, bits per entry, probes, ceil(entries * bits per entry / 8) bytes
//! count, length, entries, bits per entry, probes: unsigned LEB128
//! ```
//!
//! Headwater sends only version 1 (0x42), without flags, and never changes inside a message: those travel as frames of their
//! own, through the same checks as every other change.

use thiserror::Error;

const MESSAGE_TYPE_V1: u8 = 0x42;
const HASH_BYTES: usize = 32;
const HASHES_MAX: u64 = 65_536;
const HAVE_MAX: u64 = 8;
const BITS_PER_ENTRY_MAX: u64 = 64;
const PROBES_MAX: u64 = 64;

/// A message of the sync protocol was refused. The entity is exchanged whole instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyncMessageError {
    /// The message ends too early. A defect of the sender.
    #[error("the message ends too early")]
    Truncated,
    /// There is more after the end, such as flags. The sender must leave it out.
    #[error("{bytes} bytes after the end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Another message type or version. The sender must use version 1.
    #[error("message type {0:#04x} where 0x42 was expected")]
    Type(u8),
    /// A number does not fit. A defect of the sender.
    #[error("a number that does not fit")]
    Number,
    /// More of something than is allowed. The sender is broken or hostile.
    #[error("{count} {what} where at most {count_max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: u64,
        /// The limit.
        count_max: u64,
    },
    /// A Bloom filter that would divide by zero, cost too much, or is not of the size it claims. The sender is broken or hostile.
    #[error(
        "a Bloom filter of {entries} entries with {bits_per_entry} bits each, {probes} probes and {bytes} bytes"
    )]
    Bloom {
        /// The entries it claims.
        entries: u64,
        /// The bits per entry it claims.
        bits_per_entry: u64,
        /// The probes it claims.
        probes: u64,
        /// The bytes that are there.
        bytes: usize,
    },
    /// The message carries changes. They must travel in frames of their own.
    #[error("the message carries changes")]
    Changes,
}

/// Checks the layout of a message without allocating anything.
///
/// ```
/// use headwater::sync::{SyncMessageError, check_sync_message};
/// assert_eq!(check_sync_message(&[0x42, 0, 0, 0, 0]), Ok(()));
/// let zero_bits = [0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0];
/// assert!(matches!(check_sync_message(&zero_bits), Err(SyncMessageError::Bloom { bits_per_entry: 0, .. })));
/// ```
pub fn check_sync_message(message: &[u8]) -> Result<(), SyncMessageError> {
    let mut input = Input(message);
    match input.take(1)? {
        [MESSAGE_TYPE_V1] => {}
        other => return Err(SyncMessageError::Type(other.first().copied().unwrap_or(0))),
    }
    input.hashes("heads")?;
    input.hashes("needed changes")?;
    for _ in 0..input.count("summaries", HAVE_MAX)? {
        input.hashes("heads of the last sync")?;
        let bytes = input.uint()?;
        let bytes = usize::try_from(bytes).map_err(|_| SyncMessageError::Number)?;
        check_bloom(input.take(bytes)?)?;
    }
    if input.uint()? != 0 {
        return Err(SyncMessageError::Changes);
    }
    match input.0.len() {
        0 => Ok(()),
        bytes => Err(SyncMessageError::TrailingBytes { bytes }),
    }
}

fn check_bloom(bytes: &[u8]) -> Result<(), SyncMessageError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut input = Input(bytes);
    let (entries, bits_per_entry, probes) = (input.uint()?, input.uint()?, input.uint()?);
    let bytes = input.0.len();
    let bits = entries.checked_mul(bits_per_entry);
    let fits = entries > 0
        && entries <= u64::from(u32::MAX)
        && (1..=BITS_PER_ENTRY_MAX).contains(&bits_per_entry)
        && (1..=PROBES_MAX).contains(&probes)
        && bits.is_some_and(|bits| bits.div_ceil(8) == bytes as u64)
        // Automerge counts the bits in 32 bits.
        && (bytes as u64) < u64::from(u32::MAX) / 16;
    if fits { Ok(()) } else { Err(SyncMessageError::Bloom { entries, bits_per_entry, probes, bytes }) }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], SyncMessageError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(SyncMessageError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn uint(&mut self) -> Result<u64, SyncMessageError> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(SyncMessageError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SyncMessageError::Number)
    }

    fn count(&mut self, what: &'static str, count_max: u64) -> Result<u64, SyncMessageError> {
        let count = self.uint()?;
        if count > count_max { Err(SyncMessageError::TooMany { what, count, count_max }) } else { Ok(count) }
    }

    fn hashes(&mut self, what: &'static str) -> Result<(), SyncMessageError> {
        let count = self.count(what, HASHES_MAX)?;
        let bytes = usize::try_from(count).map_err(|_| SyncMessageError::Number)?.saturating_mul(HASH_BYTES);
        self.take(bytes).map(|_| ())
    }
}
