//! Looks for changes that pass every check of their own and yet break their entity.
//!
//! Whether an entity loads again from what the merge engine writes is only known by trying. When it does not,
//! the first change in causal order with which it no longer does is the culprit; it is found by halving, left
//! out with all that build on it, and what is left is tried again. A look that found somebody at fault is
//! followed by another one, from the bytes on: what it does not repeat is nobody's fault.

use std::collections::HashSet;

use bytes::Bytes;
use headwater_storage::ChangeHash;

use super::cause::Fault;
use super::{Alarm, Cause, Culprit, Document};
use crate::ingest::{CheckedChange, check_stored_as};

/// What an examination came to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The heads of the entity without the culprits, in ascending order.
    pub heads: Vec<ChangeHash>,
    /// All changes but the culprits as one chunk, which was loaded and compared. `None` if there are none, or
    /// with an alarm.
    pub snapshot: Option<Bytes>,
    /// The changes that have to be left out, and why: those at fault, and those that build on them.
    pub culprits: Vec<Culprit>,
    /// What must not be, and names nobody. The changes stay then, all of them if the looks differ.
    pub alarm: Option<Alarm>,
}

/// Examines an entity, given all its changes in causal order.
///
/// Takes as long as loading the entity, and a few times that for each culprit.
///
/// ```
/// let examined = headwater::document::examine(Vec::new());
/// assert!(examined.culprits.is_empty() && examined.alarm.is_none() && examined.heads.is_empty());
/// ```
pub fn examine(changes: Vec<(ChangeHash, Bytes)>) -> Examined {
    examine_with(&changes, look)
}

fn examine_with(
    changes: &[(ChangeHash, Bytes)],
    mut look: impl FnMut(&[(ChangeHash, Bytes)]) -> Examined,
) -> Examined {
    let first = look(changes);
    if first.culprits.is_empty() {
        return first;
    }
    let named = |examined: &Examined| -> Vec<(ChangeHash, Cause)> {
        examined.culprits.iter().map(|culprit| (culprit.hash(), culprit.cause())).collect()
    };
    if named(&look(changes)) == named(&first) {
        return first;
    }
    let (heads, culprits) = (frontier(changes), Vec::new());
    Examined { heads, snapshot: None, culprits, alarm: Some(Alarm::LooksDiffer) }
}

/// One look, from the bytes on.
fn look(changes: &[(ChangeHash, Bytes)]) -> Examined {
    let mut culprits = Vec::new();
    let mut left: Vec<CheckedChange> = Vec::with_capacity(changes.len());
    for (hash, payload) in changes {
        match check_stored_as(*hash, payload) {
            Ok(change) => left.push(change),
            Err(error) => culprits.push(Culprit::new(*hash, Cause::of(&error), error.to_string())),
        }
    }
    leave_out_dependents(&mut left, &mut culprits);
    loop {
        let Tried { heads, snapshot } = try_all(&left);
        let (snapshot, alarm) = match snapshot {
            Ok(snapshot) => (snapshot, None),
            Err(Fault::Unnamed(alarm)) => (None, Some(alarm)),
            Err(Fault::Named { cause, detail }) => {
                let (at, cause, detail) = first_culprit(&left, cause, detail);
                culprits.push(Culprit::new(left.remove(at).hash(), cause, detail));
                leave_out_dependents(&mut left, &mut culprits);
                continue;
            }
        };
        return Examined { heads, snapshot, culprits, alarm };
    }
}

/// Where the shortest beginning ends that fails, and how it fails. All of `changes` together are known to
/// fail for `cause`.
fn first_culprit(changes: &[CheckedChange], mut cause: Cause, mut detail: String) -> (usize, Cause, String) {
    let (mut good, mut bad) = (0, changes.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match try_all(&changes[..middle]).snapshot {
            Err(Fault::Named { cause: earlier, detail: why }) => {
                (bad, cause, detail) = (middle, earlier, why);
            }
            Ok(_) | Err(Fault::Unnamed(_)) => good = middle,
        }
    }
    (bad.saturating_sub(1), cause, detail)
}

/// Moves what builds on a culprit over to them.
fn leave_out_dependents(left: &mut Vec<CheckedChange>, culprits: &mut Vec<Culprit>) {
    let mut out: HashSet<ChangeHash> = culprits.iter().map(Culprit::hash).collect();
    // One pass is enough, since dependencies come first.
    left.retain(|change| {
        let Some(dep) = change.deps().iter().find(|dep| out.contains(*dep)) else { return true };
        out.insert(change.hash());
        culprits.push(Culprit::new(change.hash(), Cause::BuildsOn(*dep), String::new()));
        false
    });
}

/// What became of building an entity.
struct Tried {
    /// None if it could not even be built.
    heads: Vec<ChangeHash>,
    /// `None` without changes.
    snapshot: Result<Option<Bytes>, Fault>,
}

/// Builds the entity, reads it, saves it and loads it again.
fn try_all(changes: &[CheckedChange]) -> Tried {
    if changes.is_empty() {
        return Tried { heads: Vec::new(), snapshot: Ok(None) };
    }
    let mut document = Document::new();
    match document.apply_checked(changes.to_vec()) {
        Ok(()) => Tried { heads: document.heads(), snapshot: document.verified_snapshot().map(Some) },
        Err(error) => Tried { heads: Vec::new(), snapshot: Err(error.into()) },
    }
}

/// The changes that no other one builds on, by what they say of themselves.
fn frontier(changes: &[(ChangeHash, Bytes)]) -> Vec<ChangeHash> {
    let parsed = changes.iter().filter_map(|(hash, payload)| check_stored_as(*hash, payload).ok());
    let built_on: HashSet<ChangeHash> = parsed.flat_map(|change| change.deps().to_vec()).collect();
    let mut heads: Vec<ChangeHash> =
        changes.iter().map(|(hash, _)| *hash).filter(|hash| !built_on.contains(hash)).collect();
    heads.sort_unstable();
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cause: Cause) -> Examined {
        let culprit = Culprit::new(ChangeHash::from_bytes([1; 32]), cause, String::new());
        Examined { heads: Vec::new(), snapshot: None, culprits: vec![culprit], alarm: None }
    }

    #[test]
    fn what_a_second_look_does_not_repeat_is_nobodys_fault() {
        // Would take an acknowledged change from everybody because of one bad moment of one machine.
        let changes = [(ChangeHash::from_bytes([1; 32]), Bytes::new())];
        let mut looks = vec![found(Cause::Refused), found(Cause::Panics)];
        let examined = examine_with(&changes, |_| looks.pop().unwrap());
        assert!(examined.culprits.is_empty());
        assert_eq!((examined.alarm, examined.heads), (Some(Alarm::LooksDiffer), vec![changes[0].0]));
        let mut looks = vec![found(Cause::Panics), found(Cause::Panics)];
        assert_eq!(examine_with(&changes, |_| looks.pop().unwrap()).culprits.len(), 1);
    }
}
