//! Heads that are too many are made one, by changes that do nothing and that nobody made.
//!
//! A change names every head that its author saw, and what names too many is refused everywhere; so whoever makes
//! heads without end would keep everybody else from editing the entity. Everybody makes the same change of the same
//! heads. It has no author, and no history shows it.

use std::num::NonZeroU64;

use automerge::{ActorId, Change, ExpandedChange};
use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName};

use super::{Document, LocalChange, WriteError};
use crate::ingest::{ChangeLimits, IngestError, UNCERTIFIED, certify, prevalidate_change};

/// More heads of an entity than this are made one. Devices that edit the same entity apart are fewer.
///
/// ```
/// let deps_max = headwater::ingest::ChangeLimits::default().deps_max;
/// assert!((headwater::document::HEADS_MAX as u64) < deps_max / 2);
/// ```
pub const HEADS_MAX: usize = 100;
/// What one of these changes builds on at most, within what every relay takes.
const DEPS_MAX: usize = 500;

/// The changes that make these heads of an entity one, each after those that it builds on: none for a single head. Their numbers
/// follow `max_op`, the highest of the entity's operations; they have none themselves.
///
/// # Errors
/// None that is known of: when the merge engine does not read what it has written.
///
/// ```
/// use headwater::{ChangeHash, CollectionName, document::meet};
/// let heads = [1, 2, 3].map(|byte| ChangeHash::from_bytes([byte; 32]));
/// let bags = CollectionName::new("bags")?;
/// assert_eq!(meet(&bags, &heads, 12)?.len(), 1);
/// assert_eq!(meet(&bags, &heads, 12)?, meet(&bags, &heads, 12)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn meet(
    collection: &CollectionName,
    heads: &[ChangeHash],
    max_op: u64,
) -> Result<Vec<(ChangeHash, Bytes)>, IngestError> {
    let changes = changes(collection, heads, max_op)?;
    let stored = |change: &Change| {
        (ChangeHash::from_bytes(change.hash().0), Bytes::copy_from_slice(change.raw_bytes()))
    };
    Ok(changes.iter().map(stored).collect())
}

/// The highest number of an operation in these changes, as far as they can be read.
///
/// ```
/// assert_eq!(headwater::document::highest_operation([].iter()), 0);
/// ```
pub fn highest_operation<'a>(changes: impl Iterator<Item = &'a Bytes>) -> u64 {
    let headers = changes.filter_map(|change| prevalidate_change(change, &ChangeLimits::stored()).ok());
    headers.map(|header| header.max_op()).max().unwrap_or(0)
}

fn changes(
    collection: &CollectionName,
    heads: &[ChangeHash],
    max_op: u64,
) -> Result<Vec<Change>, IngestError> {
    let (mut heads, mut made) = (heads.to_vec(), Vec::new());
    while heads.len() > 1 {
        heads.sort_unstable();
        let mut next = Vec::with_capacity(heads.len() / DEPS_MAX + 1);
        for some in heads.chunks(DEPS_MAX) {
            if let [one] = some {
                next.push(*one);
                continue;
            }
            let change = change(collection, some, max_op)?;
            next.push(ChangeHash::from_bytes(change.hash().0));
            made.push(change);
        }
        heads = next;
    }
    Ok(made)
}

fn change(collection: &CollectionName, deps: &[ChangeHash], max_op: u64) -> Result<Change, IngestError> {
    let change = Change::from(ExpandedChange {
        operations: Vec::new(),
        actor_id: ActorId::from(&UNCERTIFIED[..]),
        hash: None,
        seq: 1,
        // Automerge does not load a document in which it comes before the operations that it builds on.
        start_op: NonZeroU64::MIN.saturating_add(max_op),
        time: 0,
        message: None,
        deps: deps.iter().map(|dep| automerge::ChangeHash(*dep.as_bytes())).collect(),
        extra_bytes: Vec::new(),
        author: None,
    });
    let certified = certify(collection, Bytes::copy_from_slice(change.raw_bytes()))?;
    Change::from_bytes(certified.to_vec()).map_err(|error| IngestError::DoesNotApply(error.to_string()))
}

impl Document {
    /// Makes the heads one. Returns the changes of which nobody has heard yet.
    pub(crate) fn meet(&mut self, collection: &CollectionName) -> Result<Vec<LocalChange>, WriteError> {
        self.begin_with(changes(collection, &self.heads(), self.max_op)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_heads_becomes_one() {
        // Would leave an entity with more heads than a change may name.
        let bags = CollectionName::new("bags").unwrap();
        for (count, changes) in [(0, 0), (1, 0), (2, 1), (500, 1), (501, 2), (1_000, 3), (36_000, 73)] {
            let head = |number: u32| {
                let mut bytes = [0; 32];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                ChangeHash::from_bytes(bytes)
            };
            let heads: Vec<ChangeHash> = (0..count).map(head).collect();
            let met = meet(&bags, &heads, 7).unwrap();
            assert_eq!(met.len(), changes, "{count} heads");
            let other_order: Vec<ChangeHash> = heads.iter().rev().copied().collect();
            assert_eq!(meet(&bags, &other_order, 7).unwrap(), met);
        }
    }
}
