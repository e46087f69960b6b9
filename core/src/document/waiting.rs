//! Changes that wait for changes which they depend on.
//!
//! They are kept here and not in the merge engine, whose queue has no bound and takes time that grows with the square of its length.

use std::collections::{HashMap, HashSet, VecDeque};

use headwater_storage::{ChangeHash, PayloadKind, StoredChange};

use crate::ingest::{CheckedChange, check_stored};

/// Puts `changes` into an order in which they can be applied. Returns those that can be, and those that have to wait.
pub(super) fn in_order(
    changes: Vec<CheckedChange>,
    is_applied: impl Fn(&ChangeHash) -> bool,
) -> (Vec<CheckedChange>, Vec<CheckedChange>) {
    let mut earlier = HashSet::with_capacity(changes.len());
    let is_ordered = changes.iter().all(|change| {
        let ready = change.deps().iter().all(|dep| is_applied(dep) || earlier.contains(dep));
        earlier.insert(change.hash());
        ready
    });
    if is_ordered { (changes, Vec::new()) } else { sorted(changes, is_applied) }
}

/// Kahn's algorithm: whatever has nothing left to wait for goes next.
fn sorted(
    changes: Vec<CheckedChange>,
    is_applied: impl Fn(&ChangeHash) -> bool,
) -> (Vec<CheckedChange>, Vec<CheckedChange>) {
    let mut waiting_for: Vec<usize> = Vec::with_capacity(changes.len());
    let mut unblocks: HashMap<ChangeHash, Vec<usize>> = HashMap::new();
    let mut next = VecDeque::new();
    for (index, change) in changes.iter().enumerate() {
        let missing: Vec<&ChangeHash> = change.deps().iter().filter(|dep| !is_applied(dep)).collect();
        waiting_for.push(missing.len());
        if missing.is_empty() {
            next.push_back(index);
        }
        for dep in missing {
            unblocks.entry(*dep).or_default().push(index);
        }
    }
    let mut changes: Vec<Option<CheckedChange>> = changes.into_iter().map(Some).collect();
    let mut ready = Vec::with_capacity(changes.len());
    while let Some(index) = next.pop_front() {
        let Some(change) = changes.get_mut(index).and_then(Option::take) else { continue };
        for unblocked in unblocks.remove(&change.hash()).unwrap_or_default() {
            if let Some(left) = waiting_for.get_mut(unblocked) {
                *left -= 1;
                if *left == 0 {
                    next.push_back(unblocked);
                }
            }
        }
        ready.push(change);
    }
    (ready, changes.into_iter().flatten().collect())
}

/// The changes of an entity with each behind those that it builds on. What came early was stored early. Those that do not parse, and
/// those that wait for others, come last.
pub(crate) fn in_causal_order(changes: Vec<StoredChange>) -> Vec<StoredChange> {
    let (mut checked, mut rest) = (Vec::with_capacity(changes.len()), Vec::new());
    for change in changes {
        match check_stored(&change.payload) {
            Ok(known) if known.hash() == change.hash && change.kind == PayloadKind::Change => {
                checked.push(known)
            }
            _ => rest.push(change),
        }
    }
    let (ready, waiting) = in_order(checked, |_| false);
    let stored = |change: CheckedChange| StoredChange {
        kind: PayloadKind::Change,
        hash: change.hash(),
        payload: change.payload,
    };
    ready.into_iter().chain(waiting).map(stored).chain(rest).collect()
}
