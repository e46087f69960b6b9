//! Snapshots in place of long histories, behind the back of those who read and write.
//!
//! An entity is due once it has more bytes of changes behind its snapshot than the snapshot has, than 16 KiB, and more than 32 changes; so what is
//! written for snapshots stays within what is written for changes, and a load never takes much longer than its snapshot does.
//! The document is built from what is stored, saved, loaded again and compared without holding anybody up. The snapshot is then
//! stored in the place of exactly those changes that it was made from, or not at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use headwater_storage::{Commit, EntityId, NewSnapshot, SpaceId, StoreError, StoredEntity, snapshot_is_due};

use super::salvage::{Found, culprits};
use super::step::EntityStep;
use super::watch::Origin;
use super::{Inner, Replica};
use crate::document::{Alarm, Document, Fault};

/// Entities looked up at once.
const ENTITIES_AT_ONCE: usize = 256;

/// Entities remembered of which no snapshot could be made.
const POSTPONED_MAX: usize = 10_000;

/// How often a snapshot is made anew because another one was stored meanwhile.
const ATTEMPTS_MAX: usize = 8;

type Place = (SpaceId, EntityId);

/// What became of one snapshot.
enum Attempt {
    Folded,
    /// There is nothing behind the snapshot that is there, or something waits or does not load.
    NothingToFold,
    /// Another thread stored one meanwhile, of fewer changes perhaps.
    CameTooLate,
}

/// Which entities are due, and the thread that takes care of them.
#[derive(Default)]
pub(super) struct Compaction {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each with its bytes of changes behind the snapshot.
    due: BTreeMap<Place, u64>,
    /// How many bytes those had of which no snapshot could be made. They are due again with twice as many.
    postponed: HashMap<Place, u64>,
    in_background: bool,
    is_running: bool,
    thread: Option<JoinHandle<()>>,
}

/// Ends the work in the background with the last handle of a replica, so that its file can be opened again at once.
pub(super) struct Background(Arc<Inner>);

impl Background {
    pub(super) fn start(inner: Arc<Inner>) -> Background {
        inner.compaction.state().in_background = true;
        Background(inner)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let mut state = self.0.compaction.state();
        state.in_background = false;
        state.due.clear();
        let thread = state.thread.take();
        drop(state);
        if let Some(thread) = thread {
            // It ends with the entity that it is at. It panics nowhere, and if it did there would be nothing to do about it.
            let _ended = thread.join();
        }
    }
}

impl Compaction {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn postpone(&self, place: Place, tail_bytes: u64) {
        let mut state = self.state();
        if state.postponed.len() >= POSTPONED_MAX {
            state.postponed.clear();
        }
        state.postponed.insert(place, tail_bytes);
    }
}

impl Replica {
    /// Makes snapshots of the entities whose histories have grown long, until none is due. Returns how many it made.
    ///
    /// A replica that was opened from a file does this by itself, on a thread of its own. One on another backend never does: call
    /// this now and then, where nobody waits.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// ```
    /// use headwater::{Map, Replica, Value};
    /// # struct Fixed;
    /// # impl headwater::Environment for Fixed {
    /// #     fn now_ms(&self) -> u64 { 1_700_000_000_000 }
    /// #     fn random(&self) -> u128 { 4 }
    /// # }
    /// let replica = Replica::in_memory(Fixed)?;
    /// let notes = replica.space("home").dynamic("notes")?;
    /// let note = notes.insert(Map::from([("text".into(), Value::from("hi"))]))?.id;
    /// for number in 0..200 {
    ///     notes.set(note, Map::from([("number".into(), Value::Int(number))]))?;
    /// }
    /// assert_eq!(replica.compact()?, 1);
    /// assert_eq!(replica.compact()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compact(&self) -> Result<u64, StoreError> {
        let mut made = 0;
        loop {
            let next = self.inner.compaction.state().due.pop_first();
            let Some(((space, entity), tail_bytes)) = next else { return Ok(made) };
            if self.compact_entity(space, entity)? {
                made += 1;
            } else {
                self.inner.compaction.postpone((space, entity), tail_bytes);
            }
        }
    }

    /// Makes a snapshot of every entity that has changes behind the one it has, due or not: before a file is sent somewhere, say.
    /// Returns how many it made.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// ```
    /// # use headwater::{Map, Replica, Value};
    /// # let directory = tempfile::tempdir()?;
    /// # let replica = Replica::open(directory.path().join("journal.headwater"))?;
    /// replica.space("home").dynamic("notes")?.insert(Map::from([("text".into(), Value::from("hi"))]))?;
    /// assert_eq!(replica.compact_all()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compact_all(&self) -> Result<u64, StoreError> {
        let mut made = 0;
        for space in self.store().spaces() {
            let mut after = None;
            loop {
                let entities = self.store().entities(space, after, ENTITIES_AT_ONCE)?;
                for (entity, _) in &entities {
                    made += u64::from(self.compact_entity(space, *entity)?);
                }
                match entities.last() {
                    Some((last, _)) => after = Some(*last),
                    None => break,
                }
            }
        }
        Ok(made)
    }

    /// Takes note of entities that a commit found to be due.
    pub(super) fn note_due(&self, space: SpaceId, due: Vec<(EntityId, u64)>) {
        if due.is_empty() {
            return;
        }
        let mut state = self.inner.compaction.state();
        for (entity, tail_bytes) in due {
            let place = (space, entity);
            let postponed = state.postponed.get(&place).copied().unwrap_or(0);
            if tail_bytes / 2 >= postponed {
                state.due.insert(place, tail_bytes);
            }
        }
        if !state.in_background || state.is_running || state.due.is_empty() {
            return;
        }
        let replica = Replica { background: None, inner: Arc::clone(&self.inner) };
        let work = move || loop {
            if let Err(error) = replica.compact() {
                tracing::warn!(%error, "no snapshots are made until the replica is opened again");
                return;
            }
            let mut state = replica.inner.compaction.state();
            if state.due.is_empty() {
                state.is_running = false;
                return;
            }
        };
        // Without a thread the entities stay due, and load more slowly.
        state.thread = std::thread::Builder::new().name("headwater-compact".to_owned()).spawn(work).ok();
        state.is_running = state.thread.is_some();
    }

    /// Takes note of an entity that was loaded, if it is due.
    pub(super) fn note_if_due(&self, space: SpaceId, entity: EntityId, stored: &StoredEntity) {
        let tail_bytes: usize = stored.changes.iter().map(|change| change.payload.len()).sum();
        let snapshot_bytes = stored.snapshot.as_ref().map_or(0, |snapshot| snapshot.payload.len());
        if snapshot_is_due(stored.changes.len() as u64, tail_bytes as u64, snapshot_bytes as u64) {
            self.note_due(space, vec![(entity, tail_bytes as u64)]);
        }
    }

    /// Says whether it made a snapshot. It makes none of an entity that has changes which wait for others.
    fn compact_entity(&self, space: SpaceId, entity: EntityId) -> Result<bool, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_to_compact(space, entity)? {
                Attempt::Folded => return Ok(true),
                Attempt::NothingToFold => return Ok(false),
                Attempt::CameTooLate => {}
            }
        }
        Ok(false)
    }

    fn try_to_compact(&self, space: SpaceId, entity: EntityId) -> Result<Attempt, StoreError> {
        let stored = self.store().foldable(space, entity)?;
        // What does not load is salvaged by whoever loads it next, and tells about it.
        let Ok(document) = Document::from_stored(&stored) else { return Ok(Attempt::NothingToFold) };
        if document.waiting_len() > 0 || stored.changes.is_empty() {
            return Ok(Attempt::NothingToFold);
        }
        let made = document.to_snapshot();
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = match made {
            Ok(snapshot) => snapshot,
            // A comparison that fails may be what is wrong, so nothing is set aside for it.
            Err(Fault::Unnamed(alarm)) => {
                self.alarm(space, entity, alarm);
                return Ok(Attempt::NothingToFold);
            }
            Err(fault) => {
                drop(documents.take(space, entity));
                let held = self.held(space, entity)?;
                let Found { culprits, alarm } = culprits(&held.changes);
                tracing::warn!(%space, %entity, culprits = culprits.len(), %fault, "no snapshot");
                if !culprits.is_empty() {
                    self.leave_out(&mut documents, space, entity, held, culprits)?;
                } else {
                    // The first look was not repeated.
                    self.alarm(space, entity, alarm.unwrap_or(Alarm::LooksDiffer));
                }
                return Ok(Attempt::NothingToFold);
            }
        };
        self.all_clear(space, entity);
        let before = self.before(space, entity)?;
        let Some(collection) = before.collection.clone() else { return Ok(Attempt::NothingToFold) };
        let mut step = EntityStep::new(entity, collection.clone(), before, Origin::Remote);
        let extent = stored.extent;
        step.fold(NewSnapshot { entity, collection, extent, snapshot, is_from_relay: false });
        let commit = Commit::new(space, self.now_ms());
        let committed = self.commit_entities(&mut documents, vec![step], commit);
        let committed = committed.map_err(super::error::store_error)?;
        Ok(if committed.folded.is_empty() { Attempt::CameTooLate } else { Attempt::Folded })
    }
}
