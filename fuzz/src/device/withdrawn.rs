//! What a verdict takes away from a device, and another one gives back.

use headwater::ingest::Verdict;
use headwater::replica::MergeRequest;
use headwater_storage::{ChangeHash, CollectionName, EntityId, Refusal, SpaceId};

use super::Device;
use crate::Random;
use crate::clash::is_clashing;
use crate::violation::Violation;

/// Changes of an entity that a verdict is about.
#[derive(Clone)]
pub(crate) struct Withdrawn {
    space: SpaceId,
    entity: EntityId,
    collection: CollectionName,
    hashes: Vec<ChangeHash>,
}

impl Device {
    /// A verdict takes changes of an entity away that the relay has, and another one gives them back. Says
    /// whether there were any.
    pub(crate) fn withdraw(&mut self, random: &mut Random) -> Result<bool, Violation> {
        let withdrawn = match self.to_withdraw(random) {
            Err(_) if self.is_failing() => return Ok(false),
            withdrawn => withdrawn?,
        };
        let Some(of) = withdrawn else { return Ok(false) };
        let reason = Refusal { code: 32, message: "it does harm".to_owned() };
        let quarantined = of.hashes.iter().map(|hash| (*hash, reason.clone())).collect();
        let verdict = Verdict { at_ms: 1, quarantined, released: Vec::new() };
        self.known.withdrawn = Some(of.clone());
        if !self.judge(&of, &verdict)? {
            return Ok(false);
        }
        self.hear()?;
        self.give_back()?;
        self.hear()?;
        Ok(true)
    }

    /// Some or all changes of an entity of which nothing waits for the relay.
    fn to_withdraw(&self, random: &mut Random) -> Result<Option<Withdrawn>, Violation> {
        let Some(space) = random.pick(&self.spaces).copied() else { return Ok(None) };
        let positions = self.replica.entity_positions(space, None, usize::MAX);
        let positions = positions.map_err(Violation::failed("list"))?;
        let position = random.pick(&positions).filter(|position| !is_clashing(position.entity));
        let Some(position) = position else { return Ok(None) };
        let (entity, collection) = (position.entity, position.collection.clone());
        let of = self.replica.space(space).dynamic(collection.as_str());
        let of = of.map_err(Violation::failed("collection"))?;
        let state = of.sync_state(entity).map_err(Violation::failed("sync state"))?;
        if state.is_none_or(|state| state.pending > 0) {
            return Ok(None);
        }
        let changes = self.changes(space, entity)?;
        let kept = if random.chance(50) { 0 } else { random.below(changes.len() + 1) };
        let hashes: Vec<ChangeHash> = changes.into_iter().skip(kept).map(|change| change.hash).collect();
        Ok((!hashes.is_empty()).then_some(Withdrawn { space, entity, collection, hashes }))
    }

    /// What was taken away comes back.
    pub(super) fn give_back(&mut self) -> Result<(), Violation> {
        let Some(of) = self.known.withdrawn.clone() else { return Ok(()) };
        let verdict = Verdict { at_ms: 2, quarantined: Vec::new(), released: of.hashes.clone() };
        if self.judge(&of, &verdict)? {
            self.known.withdrawn = None;
        }
        Ok(())
    }

    /// Says whether the disk let it happen.
    fn judge(&self, of: &Withdrawn, verdict: &Verdict) -> Result<bool, Violation> {
        let records = vec![verdict.record(of.entity, of.collection.clone())];
        match self.replica.merge(of.space, MergeRequest { records, position: None }) {
            Err(_) if self.is_failing() => Ok(false),
            judged => judged.map(|_| true).map_err(Violation::failed("judge")),
        }
    }
}
