//! The one way in which changes from elsewhere come in: check, apply, view rows, watermark, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, Commit, CommitDurability, Direction, EntityId, EntityWrite,
    NewChange, Outbox, OutboxSeq, PayloadKind, Position, Refusal, SetAside, SpaceId,
};

use super::cache::DocumentCache;
use super::seed::Seeded;
use super::watch::{Origin, Patch};
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

/// Changes that cannot be used, and why.
type Culprits = Vec<(ChangeRecord, IngestError)>;

/// What became of one entity's changes. Those in neither part were here already.
#[derive(Default)]
struct Outcome {
    applied: Option<Applied>,
    culprits: Culprits,
}

/// One entity's new changes, applied.
struct Applied {
    entity: EntityId,
    collection: CollectionName,
    document: Document,
    changes: Vec<ChangeRecord>,
    /// Those among them whose stored copies were damaged.
    recovered: Vec<ChangeHash>,
    view: View,
    patch: Option<Patch>,
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
            commit.position = Some(Position::nowhere());
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
        commit.position = request.position;
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
                Err(error) => commit.set_aside.push(set_aside(record, &error, now_ms)),
            }
        }
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut applied = Vec::with_capacity(order.len());
        for entity in order {
            let changes = by_entity.remove(&entity).unwrap_or_default();
            let offered = changes.len();
            let outcome = self.apply(space, entity, changes, &mut documents)?;
            let used = outcome.applied.as_ref().map_or(0, |applied| applied.changes.len());
            merged.applied += used as u64;
            merged.duplicates += (offered - used - outcome.culprits.len()) as u64;
            let culprits = outcome.culprits.into_iter();
            commit.set_aside.extend(culprits.map(|(record, error)| set_aside(record, &error, now_ms)));
            applied.extend(outcome.applied);
        }
        merged.set_aside = commit.set_aside.len() as u64;
        commit.position = commit.position.filter(|_| !self.is_lossy(space));
        if applied.is_empty() && commit.set_aside.is_empty() && commit.position.is_none() {
            return Ok(merged);
        }
        commit.writes = applied.iter().map(Applied::entity_write).collect();
        let recovered =
            applied.iter().flat_map(|applied| applied.recovered.iter().map(|hash| (applied.entity, *hash)));
        commit.recovered = recovered.collect();
        if cfg!(bug = "watermark-before-merge") && commit.position.is_some() {
            let mut early = Commit::new(space, now_ms);
            early.position = commit.position.take();
            self.store().commit(early)?;
        }
        commit.durability = CommitDurability::Deferred;
        let needs_flush = !applied.is_empty();
        let committed = self.commit(commit)?;
        self.note_due(space, committed.due);
        for Applied { entity, document, patch, .. } in applied {
            documents.put(space, entity, document);
            self.notify(patch);
        }
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
        commit.acknowledged = acknowledged;
        commit.refused = refused;
        commit.position = position.filter(|_| !self.is_lossy(space));
        commit.durability = CommitDurability::Deferred;
        self.commit(commit)?;
        self.outbox_moved();
        Ok(())
    }

    /// Applies one entity's changes. Fails only with the store; a change that cannot be used is a culprit.
    fn apply(
        &self,
        space: SpaceId,
        entity: EntityId,
        mut changes: Vec<Incoming>,
        documents: &mut DocumentCache,
    ) -> Result<Outcome, MergeError> {
        let stored = self.store().find(space, entity)?;
        // A row that does not decode is made again from the document below.
        let base = stored.as_ref().and_then(|(_, row)| View::decode(row).ok());
        // Most repeats are of an entity's newest change, and need no document to be recognised.
        if base
            .as_ref()
            .is_some_and(|base| changes.iter().all(|(record, _)| base.heads.contains(&record.hash)))
        {
            return Ok(Outcome::default());
        }
        let loaded = match (documents.take(space, entity), &stored) {
            (Some(document), _) => Ok(document),
            (None, None) => Ok(Document::new()),
            (None, Some(_)) => self.load_document(space, entity)?,
        };
        let mut document = match loaded {
            Ok(document) => document,
            Err(error) => return Ok(Outcome::none_usable(changes, &error)),
        };
        let (mut seen, damaged) = self.left_out(space, entity)?;
        changes.retain(|(record, _)| !document.contains(&record.hash) && seen.insert(record.hash));
        if cfg!(bug = "early-change-dropped") {
            changes.retain(|(_, change)| {
                change.deps().iter().all(|dep| document.contains(dep) || seen.contains(dep))
            });
        }
        if changes.is_empty() {
            documents.put(space, entity, document);
            return Ok(Outcome::default());
        }
        let base = base.unwrap_or_default();
        let mut culprits = Vec::new();
        let view = match try_apply(&mut document, &changes, &base) {
            Ok(view) => view,
            Err(_) => {
                // What is in memory is unusable now; the stored changes are the truth.
                document = match self.load_document(space, entity)? {
                    Ok(document) => document,
                    Err(error) => return Ok(Outcome::none_usable(changes, &error)),
                };
                let view;
                (view, changes, culprits) = one_by_one(&mut document, base.clone(), changes);
                view
            }
        };
        let Some((first, _)) = changes.first() else { return Ok(Outcome { applied: None, culprits }) };
        // The document says which collection it is in; the routing header only until the document does.
        let collection = view.collection.clone().unwrap_or_else(|| first.collection.clone());
        let patch = Patch::between((space, &collection, entity), Some(&base), &view, Origin::Remote);
        let changes: Vec<ChangeRecord> = changes.into_iter().map(|(record, _)| record).collect();
        let recovered = changes.iter().map(|record: &ChangeRecord| record.hash);
        let recovered = recovered.filter(|hash| damaged.contains(hash)).collect();
        Ok(Outcome {
            applied: Some(Applied { entity, collection, document, changes, recovered, view, patch }),
            culprits,
        })
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
        let unusable = of(Direction::Damaged).union(&of(Direction::FromRelay)).copied().collect();
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
    fn none_usable(changes: Vec<Incoming>, error: &IngestError) -> Outcome {
        let culprits = changes.into_iter().map(|(record, _)| (record, error.clone())).collect();
        Outcome { applied: None, culprits }
    }
}

impl Applied {
    fn entity_write(&self) -> EntityWrite {
        let changes = self.changes.iter().map(|record| NewChange {
            kind: PayloadKind::Change,
            hash: record.hash,
            payload: record.payload.clone(),
            outbox: Outbox::Skip,
        });
        EntityWrite {
            entity: self.entity,
            collection: self.collection.clone(),
            changes: changes.collect(),
            row: Some(self.view.encode().into()),
        }
    }
}

/// Applies changes and shows the result. On an error the document is unusable.
fn try_apply(document: &mut Document, changes: &[Incoming], base: &View) -> Result<View, IngestError> {
    let waiting = document.waiting_len();
    let stamps = document.apply_stamped(changes.iter().map(|(_, change)| change.clone()).collect())?;
    if document.waiting_len() > waiting.max(WAITING_MAX) {
        return Err(too_many_wait());
    }
    let stamps = stamps.iter().map(|(time_ms, actor)| (*time_ms, actor.as_slice()));
    base.advance(document, stamps).map_err(|error| IngestError::DoesNotApply(error.to_string()))
}

/// Applies each change to a scratch copy first. Returns the view, the changes that work, and the culprits.
fn one_by_one(
    document: &mut Document,
    base: View,
    changes: Vec<Incoming>,
) -> (View, Vec<Incoming>, Culprits) {
    let (mut view, mut kept, mut culprits) = (base, Vec::with_capacity(changes.len()), Vec::new());
    for incoming in changes {
        if document.waiting_len() >= WAITING_MAX && !document.is_ready(&incoming.1) {
            culprits.push((incoming.0, too_many_wait()));
            continue;
        }
        let mut scratch = document.clone();
        match try_apply(&mut scratch, std::slice::from_ref(&incoming), &view) {
            Ok(after) => {
                (*document, view) = (scratch, after);
                kept.push(incoming);
            }
            Err(error) => culprits.push((incoming.0, error)),
        }
    }
    (view, kept, culprits)
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
