//! Looks for changes that pass every check of their own and yet break their entity.
//!
//! Whether an entity loads again from what the merge engine writes is only known by trying. When it does not, the first change in
//! causal order with which it no longer does is the culprit; it is found by halving, left out with all that build on it, and what
//! is left is tried again.

use std::collections::HashSet;

use bytes::Bytes;
use headwater_storage::ChangeHash;

use super::Document;
use crate::ingest::{CheckedChange, IngestError, check_stored_as};

/// What an examination came to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The heads of the entity without the culprits, in ascending order.
    pub heads: Vec<ChangeHash>,
    /// All changes but the culprits as one chunk, which was loaded and compared. `None` if there are none.
    pub snapshot: Option<Bytes>,
    /// The changes that have to be left out, and why: those at fault, and those that build on them.
    pub culprits: Vec<(ChangeHash, IngestError)>,
}

/// Examines an entity, given all its changes in causal order.
///
/// Takes as long as loading the entity, and a few times that for each culprit.
///
/// ```
/// let examined = headwater::document::examine(Vec::new());
/// assert!(examined.culprits.is_empty() && examined.heads.is_empty());
/// ```
pub fn examine(changes: Vec<(ChangeHash, Bytes)>) -> Examined {
    let mut culprits = Vec::new();
    let mut left: Vec<CheckedChange> = Vec::with_capacity(changes.len());
    for (hash, payload) in changes {
        match check_stored_as(hash, &payload) {
            Ok(change) => left.push(change),
            Err(error) => culprits.push((hash, error)),
        }
    }
    leave_out_dependents(&mut left, &mut culprits);
    loop {
        match try_all(&left) {
            Ok((heads, snapshot)) => return Examined { heads, snapshot, culprits },
            Err(error) => {
                let (at, error) = first_culprit(&left, error);
                culprits.push((left.remove(at).hash(), error));
                leave_out_dependents(&mut left, &mut culprits);
            }
        }
    }
}

/// Where the shortest beginning ends that fails, and how it fails. All of `changes` together are known to fail, with `error`.
fn first_culprit(changes: &[CheckedChange], mut error: IngestError) -> (usize, IngestError) {
    let (mut good, mut bad) = (0, changes.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match try_all(&changes[..middle]) {
            Ok(_) => good = middle,
            Err(earlier) => (bad, error) = (middle, earlier),
        }
    }
    (bad.saturating_sub(1), error)
}

/// Moves what builds on a culprit over to them.
fn leave_out_dependents(left: &mut Vec<CheckedChange>, culprits: &mut Vec<(ChangeHash, IngestError)>) {
    let mut out: HashSet<ChangeHash> = culprits.iter().map(|(hash, _)| *hash).collect();
    // One pass is enough, since dependencies come first.
    left.retain(|change| {
        let Some(dep) = change.deps().iter().find(|dep| out.contains(*dep)) else { return true };
        out.insert(change.hash());
        culprits.push((change.hash(), IngestError::DoesNotApply(format!("it builds on {dep}"))));
        false
    });
}

/// The heads and the snapshot, once the entity was built, read, saved and loaded again.
fn try_all(changes: &[CheckedChange]) -> Result<(Vec<ChangeHash>, Option<Bytes>), IngestError> {
    if changes.is_empty() {
        return Ok((Vec::new(), None));
    }
    let mut document = Document::new();
    document.apply_checked(changes.to_vec())?;
    let snapshot = document.verified_snapshot()?;
    Ok((document.heads(), Some(snapshot)))
}
