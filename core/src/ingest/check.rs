//! The checks of a change that need no document: by its bytes, and by the merge engine's parser.

use automerge::Change;
use bytes::Bytes;
use headwater_storage::{ChangeHash, ChangeRecord, PayloadKind};

use super::certificate::{check_certificate, is_certified_actor};
use super::prevalidate::prevalidate_change;
use super::{ChangeHeader, ChangeLimits, IngestError, Panicked, Verdict, caught};

/// A change that passed every check that needs no document.
#[derive(Clone, Debug)]
pub struct CheckedChange {
    /// What it says of itself.
    pub header: ChangeHeader,
    /// When it was made, by its author's clock, in milliseconds since 1970-01-01 UTC; 0 for none.
    pub time_ms: i64,
    /// The bytes as they came.
    pub payload: Bytes,
    parsed: Change,
}

impl CheckedChange {
    /// Its hash, computed from the bytes.
    pub fn hash(&self) -> ChangeHash {
        self.header.hash
    }

    /// The changes that must be applied before it.
    pub fn deps(&self) -> &[ChangeHash] {
        &self.header.deps
    }

    pub(crate) fn parsed(&self) -> &Change {
        &self.parsed
    }

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
/// use headwater::ingest::{check_change, ChangeLimits, IngestError};
/// let garbage = bytes::Bytes::from_static(b"garbage");
/// assert!(matches!(check_change(&garbage, &ChangeLimits::default()), Err(IngestError::Malformed(_))));
/// ```
pub fn check_change(payload: &Bytes, limits: &ChangeLimits) -> Result<CheckedChange, IngestError> {
    parse(prevalidate_change(payload, limits)?, payload, Form::Canonical)
}

/// Whether a payload that was accepted once is still what its hash says.
///
/// ```
/// use headwater::ingest::{Verdict, is_whole};
/// use headwater::{CollectionName, EntityId};
/// let verdict = Verdict { at_ms: 0, quarantined: vec![], released: vec![] };
/// let mut record = verdict.record(EntityId::from_bytes([2; 16]), CollectionName::new("notes")?);
/// assert!(is_whole(&record));
/// record.payload = bytes::Bytes::from_static(b"something else");
/// assert!(!is_whole(&record));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn is_whole(record: &ChangeRecord) -> bool {
    match record.kind {
        PayloadKind::Change => prevalidate_change(&record.payload, &ChangeLimits::stored())
            .is_ok_and(|header| header.hash == record.hash),
        PayloadKind::Verdict => Verdict::read(record).is_ok(),
        // Nobody has written one yet.
        _ => true,
    }
}

/// Checks a change that was accepted once: that its bytes are still those that were. Limits and forms do not matter any more.
pub(crate) fn check_stored(payload: &Bytes) -> Result<CheckedChange, IngestError> {
    parse(prevalidate_change(payload, &ChangeLimits::stored())?, payload, Form::Any)
}

/// As [`check_stored`], of the change that is called `hash`.
pub(crate) fn check_stored_as(hash: ChangeHash, payload: &Bytes) -> Result<CheckedChange, IngestError> {
    let change = check_stored(payload)?;
    match change.hash() {
        actual if actual == hash => Ok(change),
        actual => Err(IngestError::WrongHash { claimed: hash, actual }),
    }
}

/// Checks one change against the routing header that it came with.
///
/// # Errors
/// As for [`check_change`], and when the header's hash or kind is another.
pub fn check_record(record: &ChangeRecord, limits: &ChangeLimits) -> Result<CheckedChange, IngestError> {
    if record.kind != PayloadKind::Change {
        return Err(IngestError::UnsupportedKind);
    }
    let header = prevalidate_change(&record.payload, limits)?;
    if header.hash != record.hash {
        return Err(IngestError::WrongHash { claimed: record.hash, actual: header.hash });
    }
    if is_certified_actor(&header.actor) {
        check_certificate(&record.collection, &header.chunk)?;
    }
    parse(header, &record.payload, Form::Canonical)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Canonical,
    Any,
}

/// Parses a change, and compares it with what the engine would have written: most of what parses and yet breaks a document
/// later is written in a form that the engine itself never uses.
fn parse(header: ChangeHeader, payload: &Bytes, form: Form) -> Result<CheckedChange, IngestError> {
    let parsed = caught(|| {
        let parsed = Change::from_bytes(header.chunk.to_vec()).map_err(|error| error.to_string())?;
        let is_canonical =
            form == Form::Any || Change::from(parsed.decode()).raw_bytes() == parsed.raw_bytes();
        Ok::<_, String>((parsed, is_canonical))
    });
    let (parsed, is_canonical) = match parsed {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(error)) => return Err(IngestError::Malformed(error)),
        Err(Panicked) => return Err(IngestError::EnginePanicked),
    };
    // The engine read the same bytes; were it to read them in another way, its word would count.
    let agrees = parsed.hash().0 == *header.hash.as_bytes()
        && parsed.len() as u64 == header.operations
        && parsed.start_op().get() == header.start_op
        && parsed.seq() == header.seq;
    if !is_canonical || !agrees {
        return Err(IngestError::NotCanonical);
    }
    let time_ms = milliseconds(parsed.timestamp());
    Ok(CheckedChange { header, time_ms, payload: payload.clone(), parsed })
}

/// The times that local edits are stamped with, in milliseconds: below, a time would read as seconds; above, no date of JavaScript
/// or of a SQL database holds it.
const STAMP_MS_MIN: i64 = 100_000_000_000;
const STAMP_MS_MAX: i64 = 8_640_000_000_000_000;

/// Automerge's convention is seconds; Headwater writes milliseconds, because devices edit faster than once a second. A value
/// below 10^11 can only be seconds (as milliseconds it would lie before March 1973).
pub(crate) fn milliseconds(time: i64) -> i64 {
    if time.unsigned_abs() < STAMP_MS_MIN.unsigned_abs() { time.saturating_mul(1000) } else { time }
}

/// The nearest time to `now_ms` that every reader takes for the same one: from March 1973 to the year 275760.
///
/// A clock that says anything else is wrong, as that of a board without a battery is, and its edits count all the same.
pub(crate) fn stamp(now_ms: i64) -> i64 {
    now_ms.clamp(STAMP_MS_MIN, STAMP_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_clock_says_the_stamp_reads_as_itself() {
        // Would show another time on the device that made the edit than on all others.
        for now_ms in [i64::MIN, -1, 0, 1, 97_200_000, STAMP_MS_MIN - 1, 1_700_000_000_000, i64::MAX] {
            let stamp = stamp(now_ms);
            assert_eq!(milliseconds(stamp), stamp);
        }
        assert_eq!(stamp(1_700_000_000_000), 1_700_000_000_000);
    }
}
