//! Stored changes that do not load any more, and walking a whole replica to find them.
//!
//! Every stored change is a chunk with a checksum, and its hash is beside it. One that fails is set aside and reported; every good
//! one beside it loads. The replica then trusts its position in the feed no more, so that the next session compares heads with the
//! relay, which sends what is missing.

use std::collections::HashSet;
use std::sync::PoisonError;

use bytes::Bytes;
use headwater_storage::{
    ChangeHash, ChangeRecord, Commit, Direction, EntityId, Outbox, PayloadKind, Position, Refusal, SetAside,
    SpaceId, Step, StoreError, StoredChange, StoredSnapshot,
};

use super::cache::DocumentCache;
use super::elsewhere::other_collection;
use super::load::Held;
use super::merge::{MergeRequest, REFUSED_BY_INGEST};
use super::step::EntityStep;
use super::watch::Origin;
use super::{MergeError, Replica};
use crate::document::{Alarm, Document, Examined, View, examine};
use crate::ingest::check_stored;

/// Entities looked up at once.
const ENTITIES_AT_ONCE: usize = 256;

/// What a walk through a replica found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Entities that were looked at.
    pub entities: u64,
    /// Their changes.
    pub changes: u64,
    /// Changes that do not load, or with which their entity does not. They are set aside; see [`Space::set_aside`](super::Space::set_aside).
    pub set_aside: Vec<(SpaceId, EntityId, ChangeHash, String)>,
    /// Entities whose view row was not what their changes say. It was made again.
    pub rows_repaired: u64,
    /// Changes that wait for others that are not here. The next session with the relay fetches those.
    pub waiting: u64,
    /// Entities that are wrong in a way for which no change is at fault. They stay as they are; report this as a bug.
    pub alarms: Vec<(SpaceId, EntityId, Alarm)>,
}

/// A change that was set aside stays there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeBackError {
    /// No such change is set aside.
    #[error("no such change is set aside")]
    NotThere,
    /// The relay refused it, or had everybody leave it out. Ask whoever runs the relay.
    #[error("the relay does not take it: {0}")]
    RelaysWord(String),
    /// It still cannot be used.
    #[error("it still cannot be used")]
    StillUnusable,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Merging it failed.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl Replica {
    /// Walks the whole replica, checks every change and every row, and repairs what can be repaired. Reads and writes go on meanwhile.
    ///
    /// # Errors
    /// When the store itself fails.
    ///
    /// ```
    /// # use headwater::{Map, Replica, Value};
    /// # let directory = tempfile::tempdir()?;
    /// # let replica = Replica::open(directory.path().join("journal.headwater"))?;
    /// replica.space("home").dynamic("notes")?.insert(Map::from([("text".into(), Value::from("hi"))]))?;
    /// let verified = replica.verify()?;
    /// assert_eq!((verified.entities, verified.set_aside.len()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for space in self.store().spaces() {
            let mut after = None;
            loop {
                let entities = self.store().entities(space, after, ENTITIES_AT_ONCE)?;
                for (entity, _) in &entities {
                    self.verify_entity(space, *entity, &mut verified)?;
                }
                match entities.last() {
                    Some((last, _)) => after = Some(*last),
                    None => break,
                }
            }
        }
        Ok(verified)
    }

    fn verify_entity(
        &self,
        space: SpaceId,
        entity: EntityId,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        // What is in memory says nothing of what is on the disk.
        drop(documents.take(space, entity));
        let held = self.held(space, entity)?;
        verified.entities += 1;
        verified.changes += held.changes.len() as u64;
        let Found { culprits, alarm } = culprits(&held.changes);
        match alarm {
            Some(alarm) => {
                self.alarm(space, entity, alarm.clone());
                verified.alarms.push((space, entity, alarm));
            }
            None => self.all_clear(space, entity),
        }
        let named = culprits.iter().map(|culprit| (space, entity, culprit.hash, culprit.why.clone()));
        verified.set_aside.extend(named);
        if let Some((snapshot, error)) = &held.lost {
            verified.set_aside.push((space, entity, snapshot.hash, error.to_string()));
        }
        if !culprits.is_empty() || held.lost.is_some() || !held.loose_are_whole(self, space, entity)? {
            self.leave_out(&mut documents, space, entity, held, culprits)?;
        }
        let Ok(document) = self.build(space, entity)? else { return Ok(()) };
        verified.waiting += document.waiting_len() as u64;
        let Ok(view) = View::of(&document) else { return Ok(()) };
        let before = self.before(space, entity)?;
        let Some(collection) = before.collection.clone() else { return Ok(()) };
        if !before.shows(&view) {
            let mut step = EntityStep::new(entity, collection, before, Origin::Remote);
            step.show_document(view, document);
            let commit = Commit::new(space, self.now_ms());
            self.commit_entities(&mut documents, vec![step], commit).map_err(super::error::store_error)?;
            verified.rows_repaired += 1;
        }
        Ok(())
    }

    /// Tries to use a change after all that was set aside.
    ///
    /// # Errors
    /// When it still cannot be used, or that is not for this replica to decide.
    pub(super) fn take_back(
        &self,
        space: SpaceId,
        entity: EntityId,
        hash: ChangeHash,
    ) -> Result<(), TakeBackError> {
        let aside = self.store().set_aside_of(space, entity)?;
        let aside =
            aside.into_iter().find(|aside| aside.record.hash == hash).ok_or(TakeBackError::NotThere)?;
        match aside.direction {
            Direction::FromRelay | Direction::Damaged => {}
            Direction::Refused | Direction::Quarantined | Direction::OtherCollection => {
                return Err(TakeBackError::RelaysWord(aside.reason.message));
            }
        }
        let held = self.before(space, entity)?.collection;
        if let Some(held) = held.filter(|held| *held != aside.record.collection) {
            // What comes from elsewhere says where an entity is, and this would move it.
            return Err(TakeBackError::RelaysWord(other_collection(&held).message));
        }
        let is_snapshot = aside.record.kind == PayloadKind::Snapshot;
        let request = MergeRequest { records: vec![aside.record], position: None };
        let merged = self.merge(space, request)?;
        let is_used = if is_snapshot {
            merged.set_aside == 0
        } else {
            self.entity_changes(space, entity)?.iter().any(|(here, _)| *here == hash)
        };
        if !is_used {
            return Err(TakeBackError::StillUnusable);
        }
        let mut commit = Commit::new(space, self.now_ms());
        commit.steps.push(Step::Recover(entity, hash));
        self.commit(commit).map_err(super::error::store_error)?;
        Ok(())
    }

    /// Sets the culprits aside in one transaction, with a view row without them.
    pub(super) fn leave_out(
        &self,
        documents: &mut DocumentCache,
        space: SpaceId,
        entity: EntityId,
        held: Held,
        culprits: Vec<Culprit>,
    ) -> Result<(), StoreError> {
        let Held { changes: stored, is_folded, lost } = held;
        let before = self.before(space, entity)?;
        let Some(collection) = before.collection.clone() else { return Ok(()) };
        let mut commit = Commit::new(space, self.now_ms());
        let mut step = EntityStep::new(entity, collection.clone(), before, Origin::Remote);
        let out: HashSet<ChangeHash> = culprits.iter().map(|culprit| culprit.hash).collect();
        // The payload is whole and only what stands beside it is not: it is stored again as what it is.
        let whole: Vec<(ChangeHash, Bytes)> = culprits
            .iter()
            .filter_map(|culprit| culprit.whole_as.map(|hash| (hash, culprit.payload.clone())))
            .filter(|(hash, _)| out.contains(hash) || stored.iter().all(|change| change.hash != *hash))
            .collect();
        let left = stored.iter().filter(|change| !out.contains(&change.hash)).map(|change| &change.payload);
        let left: Vec<Bytes> = left.chain(whole.iter().map(|(_, payload)| payload)).cloned().collect();
        let document = Document::from_changes(left).ok();
        if let Some(view) = document.as_ref().and_then(|document| View::of(document).ok()) {
            step.show(view);
        }
        step.recover(whole.iter().map(|(hash, _)| *hash));
        step.add(whole, Outbox::Queue);
        if let Some((snapshot, error)) = lost {
            let StoredSnapshot { hash, payload, .. } = snapshot;
            let record = ChangeRecord { entity, collection, kind: PayloadKind::Snapshot, hash, payload };
            let reason = Refusal { code: REFUSED_BY_INGEST, message: error.to_string() };
            let (direction, time_ms) = (Direction::Damaged, commit.now_ms);
            step.set_aside(SetAside { record, direction, reason, time_ms });
        }
        if is_folded {
            step.unfold(stored);
        }
        let damaged = culprits
            .into_iter()
            .map(|culprit| (culprit.hash, Refusal { code: REFUSED_BY_INGEST, message: culprit.why }))
            .collect();
        step.judge(Direction::Damaged, damaged, Vec::new());
        // The relay may have what is lost here: the next session compares heads and finds out.
        self.is_lossy_from_now(space);
        commit.steps.push(Step::Position(Position::nowhere()));
        self.commit_entities(documents, vec![step], commit).map_err(super::error::store_error)?;
        self.outbox_moved();
        Ok(())
    }
}

impl Held {
    /// Whether the changes are whole that are stored beside the snapshot because they wait for the relay.
    fn loose_are_whole(
        &self,
        replica: &Replica,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<bool, StoreError> {
        if !self.is_folded {
            return Ok(true);
        }
        let loose = replica.store().loose_changes(space, entity)?;
        Ok(loose.iter().all(is_sound))
    }
}

/// A stored change that cannot stay where it is.
pub(super) struct Culprit {
    hash: ChangeHash,
    payload: Bytes,
    why: String,
    /// Its hash by its own bytes, if those are whole.
    whole_as: Option<ChangeHash>,
}

fn is_sound(change: &StoredChange) -> bool {
    change.kind == PayloadKind::Change
        && check_stored(&change.payload).is_ok_and(|checked| checked.hash() == change.hash)
}

/// What a look at the stored changes of an entity found.
pub(super) struct Found {
    pub(super) culprits: Vec<Culprit>,
    pub(super) alarm: Option<Alarm>,
}

/// The changes that are damaged; or if none is, those with which the entity does not load.
pub(super) fn culprits(stored: &[StoredChange]) -> Found {
    let damaged: Vec<Culprit> = stored.iter().filter_map(damage).collect();
    if !damaged.is_empty() {
        return Found { culprits: damaged, alarm: None };
    }
    let all = stored.iter().map(|change| (change.hash, change.payload.clone())).collect();
    let Examined { culprits, alarm, .. } = examine(all);
    let culprits = culprits.iter().map(|culprit| Culprit {
        hash: culprit.hash(),
        payload: Bytes::new(),
        why: culprit.reason(),
        whole_as: None,
    });
    Found { culprits: culprits.collect(), alarm }
}

/// What is wrong with the bytes of a stored change, or with its hash, when two looks at it agree.
fn damage(change: &StoredChange) -> Option<Culprit> {
    if is_sound(change) {
        return None;
    }
    let (why, whole_as) = match check_stored(&change.payload) {
        Ok(checked) if checked.hash() == change.hash && change.kind == PayloadKind::Change => return None,
        Ok(checked) => ("what stands beside it is damaged".to_owned(), Some(checked.hash())),
        Err(error) => (format!("damaged in the store: {error}"), None),
    };
    Some(Culprit { hash: change.hash, payload: change.payload.clone(), why, whole_as })
}
