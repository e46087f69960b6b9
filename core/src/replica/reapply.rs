//! What changes that were taken away had written: read again, and made a new edit.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName, Direction, EntityId, PayloadKind, SpaceId, StoreError};

use super::mutate::{Attempt, EntityEdit};
use super::step::Row;
use super::{EditError, ReadError, Receipt, Replica};
use crate::document::{
    Content, Deletion, ReplayError, Replayed, Tombstone, builds_on, content, replay, written_again,
};

/// A change that was taken away, whose content could not be made a new edit. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReapplyError {
    /// No such change is set aside; see [`Space::set_aside`](super::Space::set_aside).
    #[error("no such change is set aside")]
    NotThere,
    /// Its bytes never came to this device, or are damaged; ask whoever made it.
    #[error("what it wrote is not on this device")]
    Lost,
    /// What it wrote is itself the harm: it nests too deep. Write it again in a flatter form.
    #[error("what it wrote nests too deep")]
    TooDeep,
    /// The merge engine does not take its operations. [`Space::content`](super::Space::content) lists them;
    /// write by hand what is wanted.
    #[error("what it wrote cannot be written again: {0}")]
    Refused(String),
    /// The relay refused it, and it is in use on this device: there is nothing to write again.
    #[error("it is in use on this device")]
    InUse,
    /// It was written again already, here or on another device, by this change. What is wanted once more is an edit like any other.
    #[error("change {0} wrote it again already")]
    Done(ChangeHash),
    /// The edit failed.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl From<StoreError> for ReapplyError {
    fn from(error: StoreError) -> ReapplyError {
        ReapplyError::Edit(error.into())
    }
}

impl From<ReplayError> for ReapplyError {
    fn from(error: ReplayError) -> ReapplyError {
        match error {
            ReplayError::Lost => ReapplyError::Lost,
            ReplayError::TooDeep => ReapplyError::TooDeep,
            ReplayError::Refused(why) => ReapplyError::Refused(why),
        }
    }
}

/// A change that was taken away, and what is needed to see what it wrote.
struct Apart {
    collection: CollectionName,
    /// The changes that are applied, without it and what builds on it.
    base: Vec<Bytes>,
    /// Those among them that it builds on: what its author saw.
    seen: Vec<Bytes>,
    /// Those that it builds on and that are not applied either, in causal order, and itself.
    chain: Vec<Bytes>,
    is_applied: bool,
}

impl Replica {
    pub(super) fn content(
        &self,
        space: SpaceId,
        entity: EntityId,
        hash: ChangeHash,
    ) -> Result<Content, StoreError> {
        let apart = self.apart_from(space, entity, hash)?;
        Ok(apart.map_or(Content::Lost, |apart| content(&apart.seen, &apart.chain)))
    }

    pub(super) fn reapply(
        &self,
        space: SpaceId,
        entity: EntityId,
        hash: ChangeHash,
    ) -> Result<Receipt, ReapplyError> {
        loop {
            let aside = self.store().set_aside_of(space, entity)?;
            let aside = aside.into_iter().find(|aside| aside.record.hash == hash);
            let aside = aside.ok_or(ReapplyError::NotThere)?;
            let there = self.before(space, entity)?;
            // Where the feed has come back to the collection, what it lacks is an edit of what is there.
            if aside.direction == Direction::OtherCollection
                && there.collection.as_ref() != Some(&aside.record.collection)
            {
                return self.reapply_elsewhere(space, entity, &aside.record.collection);
            }
            let apart = self.apart_from(space, entity, hash)?.ok_or(ReapplyError::Lost)?;
            if apart.is_applied {
                return Err(ReapplyError::InUse);
            }
            if let Some(again) = apart.base.iter().find_map(|change| written_again(change, hash)) {
                return Err(ReapplyError::Done(again));
            }
            // By itself it merges with what came since, as it would have. Where others that it builds on went
            // with it, what they had made is not there to be merged with: then it is the difference that its
            // author made.
            let on = if apart.chain.len() == 1 { &apart.base } else { &apart.seen };
            let Replayed { before, after, deletion } = replay(on, &apart.chain)?;
            let collection = there.collection.unwrap_or(apart.collection);
            let base = match there.row {
                Row::None => None,
                Row::View(view) => Some(view),
                Row::Damaged(error) => {
                    return Err(EditError::from(ReadError::Damaged { entity, error }).into());
                }
            };
            let tombstone = match deletion {
                None => Tombstone::Leave,
                Some(Deletion::Deleted) => Tombstone::Set { now_ms: self.now_ms().cast_signed() },
                Some(Deletion::Restored) => Tombstone::Remove,
            };
            let edit = EntityEdit { entity, base, before, after, tombstone, again: Some(hash) };
            if let Attempt::Committed(receipt) = self.write(space, &collection, None, vec![edit])? {
                return Ok(receipt);
            }
        }
    }

    /// `None` where the bytes of the change are not here.
    fn apart_from(
        &self,
        space: SpaceId,
        entity: EntityId,
        hash: ChangeHash,
    ) -> Result<Option<Apart>, StoreError> {
        let stored = self.held(space, entity)?.changes;
        let aside = self.store().set_aside_of(space, entity)?;
        let collection = aside.iter().find(|aside| aside.record.hash == hash);
        let Some(collection) = collection.map(|aside| aside.record.collection.clone()) else {
            return Ok(None);
        };
        let mut known: HashMap<ChangeHash, &Bytes> =
            stored.iter().map(|change| (change.hash, &change.payload)).collect();
        for aside in &aside {
            let record = &aside.record;
            if record.kind == PayloadKind::Change && !record.payload.is_empty() {
                known.entry(record.hash).or_insert(&record.payload);
            }
        }
        if !known.contains_key(&hash) {
            return Ok(None);
        }
        // What is stored comes in causal order, and behind it what waits.
        let left_out: HashSet<ChangeHash> = aside
            .iter()
            .filter(|aside| aside.direction != Direction::Refused)
            .map(|aside| aside.record.hash)
            .collect();
        let ancestors = ancestors(&known, hash);
        let (mut applied, mut is_applied) = (HashSet::new(), false);
        let (mut base, mut seen) = (Vec::new(), Vec::new());
        let mut above = HashSet::from([hash]);
        for change in stored.iter().filter(|change| !left_out.contains(&change.hash)) {
            let deps = builds_on(&change.payload);
            if !deps.iter().all(|dep| applied.contains(dep)) {
                continue;
            }
            applied.insert(change.hash);
            is_applied |= change.hash == hash;
            if change.hash == hash || deps.iter().any(|dep| above.contains(dep)) {
                above.insert(change.hash);
            } else {
                base.push(change.payload.clone());
                if ancestors.contains(&change.hash) {
                    seen.push(change.payload.clone());
                }
            }
        }
        let chain = chain(&known, hash, |hash| applied.contains(hash));
        Ok(Some(Apart { collection, base, seen, chain, is_applied }))
    }
}

/// A change and all that it builds on, as far as that is here.
fn ancestors(known: &HashMap<ChangeHash, &Bytes>, hash: ChangeHash) -> HashSet<ChangeHash> {
    let (mut ancestors, mut next) = (HashSet::new(), vec![hash]);
    while let Some(hash) = next.pop() {
        if let Some(payload) = known.get(&hash)
            && ancestors.insert(hash)
        {
            next.extend(builds_on(payload));
        }
    }
    ancestors
}

/// What a change builds on and is not applied, in causal order, and the change itself.
fn chain(
    known: &HashMap<ChangeHash, &Bytes>,
    hash: ChangeHash,
    is_applied: impl Fn(&ChangeHash) -> bool,
) -> Vec<Bytes> {
    let (mut chain, mut seen) = (Vec::new(), HashSet::new());
    let mut next = vec![(hash, false)];
    while let Some((hash, are_deps_done)) = next.pop() {
        let Some(payload) = known.get(&hash) else { continue };
        if are_deps_done {
            chain.push(Bytes::clone(payload));
        } else if seen.insert(hash) {
            next.push((hash, true));
            next.extend(
                builds_on(payload).into_iter().filter(|dep| !is_applied(dep)).map(|dep| (dep, false)),
            );
        }
    }
    chain
}
