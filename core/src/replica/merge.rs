//! The one way in which changes from elsewhere come in: check, apply, view rows, watermark, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use headwater_storage::{
    ChangeHash, ChangeRecord, Commit, CommitDurability, Direction, EntityId, Outbox, OutboxSeq, PayloadKind,
    Position, Refusal, SetAside, SpaceId, Step,
};

use super::cache::DocumentCache;
use super::elsewhere::other_collection;
use super::seed::Seeded;
use super::step::EntityStep;
use super::watch::Origin;
use super::{MergeError, Replica};
use crate::document::{Document, View};
use crate::ingest::{ChangeLimits, CheckedChange, IngestError, check_record};

/// The code under which a change that this replica could not use is set aside; see the error table in `docs/protocol.md`.
pub(super) const REFUSED_BY_INGEST: u16 = 1;

/// Changes to merge, and where in the feed they leave the replica.
#[derive(Clone, Debug, Default)]
pub struct MergeRequest {
    /// The changes, in feed order.
    pub records: Vec<ChangeRecord>,
    /// What the replica knows of the feed once they are in. `None` leaves it as it is.
    pub position: Option<Position>,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Changes that are new here.
    pub applied: u64,
    /// Changes that were here already.
    pub duplicates: u64,
    /// Changes that could not be used and are kept apart.
    pub set_aside: u64,
}

/// A change, and what the ingest module made of it.
type Incoming = (ChangeRecord, CheckedChange);

/// What became of one entity's changes. Those in neither part were here already.
#[derive(Default)]
struct Outcome {
    applied: Option<Applied>,
    /// Those that cannot be used.
    culprits: Vec<SetAside>,
}

/// One entity's new changes, applied.
struct Applied {
    changes: u64,
    step: EntityStep,
}

impl Replica {
    /// Merges changes from elsewhere and remembers the feed position, in one transaction that is durable when this returns. Merging
    /// a change again, or before the changes that it depends on, does no harm.
    ///
    /// Readers and listeners see the merge before it is flushed: a crash in between undoes it as a whole, position included, and the
    /// relay sends it again. A position that moves over changes which are durable already is not worth a flush of its own.
    ///
    /// # Errors
    /// When the store fails, or has lost something; see [`MergeError`]. A change that cannot be used is set aside, and the others are merged.
    pub fn merge(&self, space: SpaceId, mut request: MergeRequest) -> Result<Merged, MergeError> {
        let (snapshots, changes) =
            request.records.into_iter().partition(|record| record.kind == PayloadKind::Snapshot);
        let Seeded { mut merged, changes: mut folded, is_any_lost } = self.seed(space, snapshots)?;
        folded.extend::<Vec<ChangeRecord>>(changes);
        request.records = folded;
        if is_any_lost {
            self.is_lossy_from_now(space);
            let mut commit = Commit::new(space, self.now_ms());
            commit.steps.push(Step::Position(Position::nowhere()));
            self.store().commit(commit)?;
        }
        let (needs_flush, moves) = (merged.applied > 0, request.position.is_some());
        // A verdict is about what came before it, so everything before it is merged first. The position comes last.
        while let Some(at) = request.records.iter().position(|record| record.kind == PayloadKind::Verdict) {
            let after = request.records.split_off(at + 1);
            let verdict = request.records.pop();
            let before = std::mem::replace(&mut request.records, after);
            merged.add(self.merge_changes(space, MergeRequest { records: before, position: None })?);
            if let Some(verdict) = verdict {
                merged.set_aside += self.judge(space, verdict)?;
            }
        }
        merged.add(self.merge_changes(space, request)?);
        if needs_flush {
            self.store().commit(Commit::new(space, self.now_ms()))?;
        }
        if moves && self.is_lossy(space) {
            return Err(MergeError::Damaged);
        }
        Ok(merged)
    }

    fn merge_changes(&self, space: SpaceId, request: MergeRequest) -> Result<Merged, MergeError> {
        let now_ms = self.now_ms();
        let mut merged = Merged::default();
        let mut commit = Commit::new(space, now_ms);
        // entity -> its changes in the order they came. Documents are built once per entity and page.
        let mut order: Vec<EntityId> = Vec::new();
        let mut by_entity: HashMap<EntityId, Vec<Incoming>> = HashMap::new();
        for record in request.records {
            match check_record(&record, &ChangeLimits::default()) {
                Ok(change)
                    if cfg!(bug = "wall-clock-decides") && change.time_ms > now_ms as i64 + 1_000_000 => {}
                Ok(change) => {
                    let changes = by_entity.entry(record.entity).or_default();
                    if changes.is_empty() {
                        order.push(record.entity);
                    }
                    changes.push((record, change));
                }
                Err(error) => commit.steps.push(Step::SetAside(set_aside(record, &error, now_ms))),
            }
        }
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steps = Vec::with_capacity(order.len());
        for entity in order {
            let changes = by_entity.remove(&entity).unwrap_or_default();
            let offered = changes.len() as u64;
            let Outcome { applied, culprits } = self.apply(space, entity, changes, &mut documents)?;
            let used = applied.as_ref().map_or(0, |applied| applied.changes);
            merged.applied += used;
            merged.duplicates += offered - used - culprits.len() as u64;
            commit.steps.extend(culprits.into_iter().map(Step::SetAside));
            steps.extend(applied.map(|applied| applied.step));
        }
        merged.set_aside = commit.steps.len() as u64;
        let position = request.position.filter(|_| !self.is_lossy(space));
        if steps.is_empty() && commit.steps.is_empty() && position.is_none() {
            return Ok(merged);
        }
        if cfg!(bug = "watermark-before-merge") && position.is_some() {
            let mut early = Commit::new(space, now_ms);
            early.steps.extend(position.clone().map(Step::Position));
            self.store().commit(early)?;
        } else {
            commit.steps.extend(position.map(Step::Position));
        }
        commit.durability = CommitDurability::Deferred;
        let needs_flush = !steps.is_empty();
        self.commit_entities(&mut documents, steps, commit)?;
        drop(documents);
        if needs_flush && !cfg!(bug = "merge-not-flushed") {
            self.store().commit(Commit::new(space, now_ms))?;
        }
        Ok(merged)
    }

    /// Takes note of what the relay answered to pushed changes: they leave the outbox. Not flushed on its own, because a relay
    /// that is asked again gives the same answer.
    ///
    /// # Errors
    /// When the store fails.
    pub fn acknowledge(
        &self,
        space: SpaceId,
        acknowledged: Vec<OutboxSeq>,
        refused: Vec<(OutboxSeq, Refusal)>,
        position: Option<Position>,
    ) -> Result<(), MergeError> {
        let mut commit = Commit::new(space, self.now_ms());
        commit.steps.extend(acknowledged.into_iter().map(Step::Acknowledge));
        commit.steps.extend(refused.into_iter().map(|(seq, reason)| Step::Refuse(seq, reason)));
        commit.steps.extend(position.filter(|_| !self.is_lossy(space)).map(Step::Position));
        commit.durability = CommitDurability::Deferred;
        self.commit(commit)?;
        self.outbox_moved();
        Ok(())
    }

    /// Applies one entity's changes. Fails only with the store; a change that cannot be used is a culprit.
    ///
    /// The routing header says which collection the entity is in, and never the document, which every change
    /// can write. One relay names one collection for an entity, for ever. What was stored of it in another
    /// collection, before the replica met this feed, gives way: it is set aside.
    fn apply(
        &self,
        space: SpaceId,
        entity: EntityId,
        changes: Vec<Incoming>,
        documents: &mut DocumentCache,
    ) -> Result<Outcome, MergeError> {
        let now_ms = self.now_ms();
        let Some(collection) = changes.first().map(|(record, _)| record.collection.clone()) else {
            return Ok(Outcome::default());
        };
        let (mut changes, elsewhere): (Vec<Incoming>, Vec<Incoming>) =
            changes.into_iter().partition(|(record, _)| record.collection == collection);
        let mut culprits: Vec<SetAside> = elsewhere
            .into_iter()
            .map(|(record, _)| {
                let (direction, reason) = (Direction::OtherCollection, other_collection(&collection));
                SetAside { record, direction, reason, time_ms: now_ms }
            })
            .collect();
        let before = self.before(space, entity)?;
        let gives_way = before.collection.as_ref().is_some_and(|held| *held != collection);
        // Most repeats are of an entity's newest change, and need no document to be recognised.
        if !gives_way
            && before
                .view()
                .is_some_and(|base| changes.iter().all(|(record, _)| base.heads.contains(&record.hash)))
        {
            return Ok(Outcome { applied: None, culprits });
        }
        let is_new = gives_way || before.collection.is_none();
        let cached = documents.take(space, entity);
        let mut is_loaded = false;
        let loaded = match cached {
            _ if is_new => Ok(Document::new()),
            Some(document) => Ok(document),
            None => {
                is_loaded = true;
                self.load_document(documents, space, entity)?
            }
        };
        let mut document = match loaded {
            Ok(document) => document,
            Err(error) => return Ok(Outcome::none_usable(changes, &error, culprits, now_ms)),
        };
        let (mut seen, damaged) = self.left_out(space, entity)?;
        changes.retain(|(record, _)| !document.contains(&record.hash) && seen.insert(record.hash));
        if cfg!(bug = "early-change-dropped") {
            changes.retain(|(_, change)| {
                change.deps().iter().all(|dep| document.contains(dep) || seen.contains(dep))
            });
        }
        if changes.is_empty() {
            if !gives_way {
                documents.put(space, entity, document);
            }
            return Ok(Outcome { applied: None, culprits });
        }
        // A row that does not decode is made again from the document.
        let none = View::default();
        let base = if is_new { Some(&none) } else { before.view() };
        let view = match try_apply(&mut document, &changes, base) {
            Ok(view) => view,
            Err(_) => {
                // What is in memory is unusable now; the stored changes are the truth.
                is_loaded = !is_new;
                document = match if is_new {
                    Ok(Document::new())
                } else {
                    self.load_document(documents, space, entity)?
                } {
                    Ok(document) => document,
                    Err(error) => return Ok(Outcome::none_usable(changes, &error, culprits, now_ms)),
                };
                let found = one_by_one(&mut document, base, changes);
                culprits.extend(
                    found.culprits.iter().map(|(record, error)| set_aside(record.clone(), error, now_ms)),
                );
                let Some(view) = found.view else { return Ok(Outcome { applied: None, culprits }) };
                changes = found.kept;
                view
            }
        };
        // Loading may have salvaged, and written a row of its own.
        let before = if is_loaded { self.before(space, entity)? } else { before };
        let mut step = EntityStep::new(entity, collection.clone(), before, Origin::Remote);
        if gives_way {
            self.give_way(documents, space, entity, &collection, &mut step)?;
        }
        let used = changes.len() as u64;
        step.recover(changes.iter().map(|(record, _)| record.hash).filter(|hash| damaged.contains(hash)));
        step.add(changes.into_iter().map(|(record, _)| (record.hash, record.payload)), Outbox::Skip);
        step.show_document(view, document);
        Ok(Outcome { applied: Some(Applied { changes: used, step }), culprits })
    }
}

impl Replica {
    /// The changes of an entity that everybody leaves out, and those whose copies were damaged here or on their way.
    fn left_out(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<(HashSet<ChangeHash>, HashSet<ChangeHash>), MergeError> {
        let aside = self.store().set_aside_of(space, entity)?;
        let of = |direction| -> HashSet<ChangeHash> {
            aside
                .iter()
                .filter(move |aside| aside.direction == direction)
                .map(|aside| aside.record.hash)
                .collect()
        };
        let apart = [Direction::Damaged, Direction::FromRelay, Direction::OtherCollection];
        let unusable = apart.into_iter().flat_map(of).collect();
        Ok((of(Direction::Quarantined), unusable))
    }
}

impl Merged {
    fn add(&mut self, other: Merged) {
        self.applied += other.applied;
        self.duplicates += other.duplicates;
        self.set_aside += other.set_aside;
    }
}

impl Outcome {
    fn none_usable(
        changes: Vec<Incoming>,
        error: &IngestError,
        mut culprits: Vec<SetAside>,
        now_ms: u64,
    ) -> Outcome {
        culprits.extend(changes.into_iter().map(|(record, _)| set_aside(record, error, now_ms)));
        Outcome { applied: None, culprits }
    }
}

/// Applies changes and shows the result: on top of what readers saw before, or from all changes if that is
/// not known. On an error the document is unusable.
fn try_apply(
    document: &mut Document,
    changes: &[Incoming],
    base: Option<&View>,
) -> Result<View, IngestError> {
    let waiting = document.waiting_len();
    let stamps = document.apply_stamped(changes.iter().map(|(_, change)| change.clone()).collect())?;
    if document.waiting_len() > waiting.max(WAITING_MAX) {
        return Err(too_many_wait());
    }
    let stamps = stamps.iter().map(|(time_ms, actor)| (*time_ms, actor.as_slice()));
    let view = match base {
        Some(base) => base.advance(document, stamps),
        None => View::of(document),
    };
    view.map_err(|error| IngestError::DoesNotApply(error.to_string()))
}

/// What came of applying changes one by one.
struct OneByOne {
    /// `None` if none could be applied.
    view: Option<View>,
    kept: Vec<Incoming>,
    culprits: Vec<(ChangeRecord, IngestError)>,
}

/// Applies each change to a scratch copy first.
fn one_by_one(document: &mut Document, base: Option<&View>, changes: Vec<Incoming>) -> OneByOne {
    let mut found = OneByOne { view: None, kept: Vec::with_capacity(changes.len()), culprits: Vec::new() };
    for incoming in changes {
        if document.waiting_len() >= WAITING_MAX && !document.is_ready(&incoming.1) {
            found.culprits.push((incoming.0, too_many_wait()));
            continue;
        }
        let mut scratch = document.clone();
        match try_apply(&mut scratch, std::slice::from_ref(&incoming), found.view.as_ref().or(base)) {
            Ok(after) => {
                (*document, found.view) = (scratch, Some(after));
                found.kept.push(incoming);
            }
            Err(error) => found.culprits.push((incoming.0, error)),
        }
    }
    found
}

/// What waits is kept in memory with its document, and a peer could make it any number.
const WAITING_MAX: usize = 256;

fn too_many_wait() -> IngestError {
    let (count, limit) = (WAITING_MAX as u64 + 1, WAITING_MAX as u64);
    IngestError::TooMany { what: "changes of its entity that wait for others", count, limit }
}

pub(super) fn set_aside(record: ChangeRecord, error: &IngestError, time_ms: u64) -> SetAside {
    let reason = Refusal { code: REFUSED_BY_INGEST, message: error.to_string() };
    SetAside { record, direction: Direction::FromRelay, reason, time_ms }
}
