//! Following the relay's verdicts: changes that everybody leaves out leave this replica's entities too, and are set aside.

use std::collections::HashSet;
use std::sync::PoisonError;

use headwater_storage::{ChangeHash, ChangeRecord, Commit, Direction, SpaceId, Step, StoredChange};

use super::merge::set_aside;
use super::step::EntityStep;
use super::watch::Origin;
use super::{MergeError, Replica};
use crate::document::{Document, View};
use crate::ingest::Verdict;

impl Replica {
    /// Follows one verdict, in one transaction. Following it again changes nothing.
    pub(super) fn judge(&self, space: SpaceId, record: ChangeRecord) -> Result<u64, MergeError> {
        let now_ms = self.now_ms();
        let mut commit = Commit::new(space, now_ms);
        let verdict = match Verdict::read(&record) {
            Ok(verdict) => verdict,
            Err(error) => {
                commit.steps.push(Step::SetAside(set_aside(record, &error, now_ms)));
                self.commit(commit)?;
                return Ok(1);
            }
        };
        if verdict.quarantined.is_empty() && verdict.released.is_empty() {
            // It only says that the relay has lost something, which is between the relay and those who compare with it.
            return Ok(0);
        }
        let (entity, collection) = (record.entity, record.collection);
        let mut documents = self.inner.documents.lock().unwrap_or_else(PoisonError::into_inner);
        // What is in memory has the changes inside that are to leave.
        drop(documents.take(space, entity));
        let held = self.held_whole(&mut documents, space, entity)?;
        let stored = held.changes;
        let aside = self.store().set_aside_of(space, entity)?;
        let left_out: HashSet<ChangeHash> = verdict
            .quarantined
            .iter()
            .map(|(hash, _)| *hash)
            .chain(
                aside
                    .iter()
                    .filter(|aside| aside.direction == Direction::Quarantined)
                    .map(|aside| aside.record.hash),
            )
            .filter(|hash| !verdict.released.contains(hash))
            .collect();
        if stored.iter().any(|change| left_out.contains(&change.hash)) {
            // The numbers of the changes that leave are never given to others: the author would contradict itself.
            self.renew_actor();
        }
        let back =
            aside.iter().map(|aside| &aside.record).filter(|record| verdict.released.contains(&record.hash));
        let payloads = stored.iter().map(|StoredChange { hash, payload, .. }| (hash, payload));
        let payloads = payloads.chain(back.map(|record| (&record.hash, &record.payload)));
        let payloads = payloads.filter(|(hash, payload)| !left_out.contains(*hash) && !payload.is_empty());
        let before = self.before(space, entity)?;
        let place = before.collection.clone().unwrap_or(collection);
        let mut step = EntityStep::new(entity, place, before, Origin::Remote);
        // If it does not load even so, its row stays as it is, and the relay has more to say. If nothing is
        // left of it, there is no such entity any more: its row says so.
        if let Ok(document) = Document::from_changes(payloads.map(|(_, payload)| payload.clone()))
            && let Ok(view) = View::of(&document)
        {
            step.show_document(view, document);
        }
        if held.is_folded && stored.iter().any(|change| left_out.contains(&change.hash)) {
            // Those that leave have to be rows to be told apart.
            step.unfold(stored);
        }
        let set_aside = verdict.quarantined.len() as u64;
        let Verdict { quarantined, released, .. } = verdict;
        step.judge(Direction::Quarantined, quarantined, released);
        self.commit_entities(&mut documents, vec![step], commit)?;
        drop(documents);
        self.outbox_moved();
        Ok(set_aside)
    }
}
