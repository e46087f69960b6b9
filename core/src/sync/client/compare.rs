//! Comparing heads with a relay whose feed is not the one this replica knows: a relay that was restored, or that is new.
//!
//! Both sides list their entities in the same order. What only one side has goes over whole; what differs is negotiated by
//! Automerge's sync protocol, or goes over whole in both directions where that does not work. In the end the position of the
//! relay's feed at the beginning is this replica's position, and the space is opened again.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headwater_storage::{ChangeRecord, CollectionName, EntityId, Position, Seq, SpaceId, Watermark};

use super::space::{Pace, Pull, Pushed, Step, Work};
use super::{ClientSession, Fatal, Output, Phase};
use crate::sync::Time;
use crate::sync::reconcile::{self, EntitySync, portions};
use crate::wire::{
    Ack, AckResult, Changes, ErrorCode, Fetch, Frame, Heads, HeadsEntry, Limits, ListHeads, MorePages, Part,
    Retry, SyncMessage,
};

/// Entities that may wait for their turn before the listings go on.
const BACKLOG_MAX: usize = 1_024;
/// Portions that may wait for the window before more entities are loaded.
const OUTGOING_MAX: usize = 32;

/// A comparison that is under way.
#[derive(Debug, Default)]
pub(super) struct Compare {
    /// Where this replica is in the relay's feed once the comparison is over.
    target: Option<Watermark>,
    local: Listing,
    remote: Listing,
    /// Entities to load, and what for.
    waiting: VecDeque<(EntityId, Purpose)>,
    to_fetch: VecDeque<EntityId>,
    fetching: bool,
    /// entity -> where its exchange is.
    active: BTreeMap<EntityId, Exchange>,
    outgoing: VecDeque<Outgoing>,
    /// The relay could not take something that it may take later, so the comparison must be done again.
    incomplete: bool,
    /// The last merge is with the driver.
    ending: bool,
}

/// One side's entities, page by page.
#[derive(Debug, Default)]
struct Listing {
    entries: VecDeque<HeadsEntry>,
    last: Option<EntityId>,
    asked: bool,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    PushWhole,
    Negotiate,
}

#[derive(Debug)]
enum Exchange {
    Loading(Purpose),
    Negotiating(EntitySync),
}

#[derive(Debug)]
enum Outgoing {
    Changes(Vec<ChangeRecord>),
    Message(SyncMessage),
}

impl ClientSession {
    pub(super) fn heads(&mut self, heads: Heads) -> Result<(), Fatal> {
        let index = self.known_space(heads.space)?;
        let Some(compare) = self.comparing(index) else { return Ok(()) };
        compare.remote.take(heads.entities, heads.more)
    }

    pub(super) fn entities_listed(&mut self, id: SpaceId, entities: Vec<HeadsEntry>, more: MorePages) {
        let Some(index) = self.space_index(id) else { return };
        let Some(compare) = self.comparing(index) else { return };
        if compare.local.take(entities, more).is_err() {
            // The list is the driver's own; one that is out of order must not end in a wrong position.
            compare.incomplete = true;
            compare.local.done = true;
        }
    }

    pub(super) fn entity_loaded(
        &mut self,
        id: SpaceId,
        entity: EntityId,
        collection: CollectionName,
        changes: Vec<ChangeRecord>,
    ) {
        let limits = self.limits;
        let Some(index) = self.space_index(id) else { return };
        let Some(compare) = self.comparing(index) else { return };
        let Some(Exchange::Loading(purpose)) = compare.active.remove(&entity) else { return };
        if purpose == Purpose::PushWhole {
            compare.send(changes, &limits);
            return;
        }
        let negotiation = EntitySync::new(entity, collection.clone(), changes.clone())
            .and_then(|mut sync| Ok((sync.generate()?, sync)));
        match negotiation {
            Ok((Some(step), sync)) => {
                compare.say(id, entity, collection, step, &limits);
                compare.active.insert(entity, Exchange::Negotiating(sync));
            }
            _ => {
                compare.send(changes, &limits);
                compare.to_fetch.push_back(entity);
            }
        }
    }

    pub(super) fn sync_message(&mut self, message: SyncMessage) -> Result<(), Fatal> {
        let limits = self.limits;
        let index = self.known_space(message.space)?;
        let Some(compare) = self.comparing(index) else { return Ok(()) };
        let Some(Exchange::Negotiating(sync)) = compare.active.get_mut(&message.entity) else {
            return Ok(());
        };
        let answer = if message.message.is_empty() {
            None
        } else {
            sync.receive(&message.message).and_then(|()| sync.generate()).ok()
        };
        let in_sync = sync.in_sync();
        match answer {
            Some(Some(step)) => {
                compare.say(message.space, message.entity, message.collection, step, &limits);
                if in_sync {
                    compare.active.remove(&message.entity);
                }
            }
            Some(None) if in_sync => {
                compare.active.remove(&message.entity);
            }
            // Refused on either side, or nothing left to say although the two differ.
            _ => compare.exchange_whole(message.entity),
        }
        Ok(())
    }

    /// The relay's answer to a push of a comparison.
    pub(super) fn compared_acknowledged(
        &mut self,
        index: usize,
        entities: &[EntityId],
        ack: Ack,
    ) -> Result<(), Fatal> {
        if entities.len() != ack.results.len() {
            return Err(Fatal::new(ErrorCode::MalformedFrame, "an Ack that does not fit its push"));
        }
        let mut incomplete = false;
        let mut last = Seq::ZERO;
        for result in &ack.results {
            match result {
                AckResult::Accepted(seq) => {
                    self.round.tally.pushed += 1;
                    if let Some(space) = self.spaces.get_mut(index) {
                        space.compared.add(*seq);
                    }
                    last = last.max(*seq);
                }
                AckResult::Duplicate(seq) => last = last.max(*seq),
                // A change whose dependencies were refused for good will lack them for good.
                AckResult::Refused { code: ErrorCode::MissingDeps, .. }
                | AckResult::Refused { retry: Retry::Never, .. } => self.round.tally.rejected += 1,
                AckResult::Refused { .. } => incomplete = true,
            }
        }
        if let Some(space) = self.spaces.get_mut(index) {
            space.store_from = space.store_from.max(last);
        }
        if let Some(compare) = self.comparing(index) {
            compare.incomplete |= incomplete;
            if let Some(watermark) = ack.watermark {
                compare.target = Some(watermark);
            }
        }
        Ok(())
    }

    /// Does what can be done now: sends what waits, lists, loads, fetches, and ends the comparison.
    pub(super) fn compare_on(&mut self, now: Time, index: usize) {
        if self.phase != Phase::Ready {
            return;
        }
        let Some(space) = self.spaces.get_mut(index) else { return };
        let id = space.id;
        // Taken out for the time being, so that the session can be used beside it.
        let mut compare = match std::mem::replace(&mut space.pull, Pull::Opening) {
            Pull::Comparing(compare) => compare,
            other => {
                space.pull = other;
                return;
            }
        };
        if !compare.ending {
            self.send_compared(index, &mut compare);
            self.list(id, &mut compare);
            compare.join();
            self.list(id, &mut compare);
            self.load(id, &mut compare);
            self.fetch(id, &mut compare);
        }
        let pushing = self.spaces.get(index).is_some_and(|space| {
            space.push.in_flight.values().any(|push| matches!(push.content, Pushed::Compared(_)))
        });
        let over = !compare.ending && !pushing && compare.is_over();
        let (incomplete, target) = (compare.incomplete, compare.target);
        compare.ending |= over;
        let Some(space) = self.spaces.get_mut(index) else { return };
        space.pull = Pull::Comparing(compare);
        if over && incomplete {
            self.compare_incomplete(now, index);
        } else if over {
            space.position = Position { watermark: target, cursor: None };
            let position = space.position_to_store();
            self.queue(
                index,
                Work::Merge {
                    entries: Vec::new(),
                    bytes: 0,
                    position,
                    frames: 0,
                    pace: Pace::Prompt,
                    step: Step::CompareEnd,
                },
            );
        }
    }

    fn comparing(&mut self, index: usize) -> Option<&mut Compare> {
        match &mut self.spaces.get_mut(index)?.pull {
            Pull::Comparing(compare) => Some(compare),
            _ => None,
        }
    }

    fn send_compared(&mut self, index: usize, compare: &mut Compare) {
        while let Some(outgoing) = compare.outgoing.pop_front() {
            match outgoing {
                Outgoing::Message(message) => self.transmit(&Frame::SyncMessage(message)),
                Outgoing::Changes(entries) => {
                    let entities = entries.iter().map(|entry| entry.entity).collect();
                    if let Err((entries, _)) = self.transmit_push(index, entries, Pushed::Compared(entities))
                    {
                        compare.outgoing.push_front(Outgoing::Changes(entries));
                        return;
                    }
                }
            }
        }
    }

    fn list(&mut self, id: SpaceId, compare: &mut Compare) {
        let entities_max = usize::try_from(self.limits.heads_page_max).unwrap_or(usize::MAX);
        if compare.local.wants_more() {
            compare.local.asked = true;
            let after = compare.local.last;
            self.outputs.push_back(Output::ListEntities { space: id, after, entities_max });
        }
        if compare.remote.wants_more() {
            compare.remote.asked = true;
            let after = compare.remote.last;
            self.transmit(&Frame::ListHeads(ListHeads { space: id, after }));
        }
    }

    fn load(&mut self, id: SpaceId, compare: &mut Compare) {
        while (compare.active.len() as u64) < self.limits.reconcile_entities_max
            && compare.outgoing.len() < OUTGOING_MAX
            && let Some((entity, purpose)) = compare.waiting.pop_front()
        {
            compare.active.insert(entity, Exchange::Loading(purpose));
            self.outputs.push_back(Output::LoadEntity { space: id, entity });
        }
    }

    fn fetch(&mut self, id: SpaceId, compare: &mut Compare) {
        if compare.fetching || compare.to_fetch.is_empty() {
            return;
        }
        compare.fetching = true;
        let count = usize::try_from(self.limits.fetch_entities_max).unwrap_or(usize::MAX);
        let entities = compare.to_fetch.drain(..count.min(compare.to_fetch.len())).collect();
        self.transmit(&Frame::Fetch(Fetch { space: id, entities }));
    }
}

impl Compare {
    /// A comparison with a feed that ends at `target` now.
    pub(super) fn new(target: Option<Watermark>) -> Self {
        Self { target, ..Self::default() }
    }

    /// Adds changes that came from the relay to the documents that are being negotiated.
    pub(super) fn learn(&mut self, changes: &Changes) {
        if changes.part == Part::FetchEnd {
            self.fetching = false;
        }
        let mut payloads: BTreeMap<EntityId, Vec<Bytes>> = BTreeMap::new();
        for entry in &changes.entries {
            if self.active.contains_key(&entry.entity) {
                payloads.entry(entry.entity).or_default().push(entry.payload.clone());
            }
        }
        for (entity, payloads) in payloads {
            if let Some(Exchange::Negotiating(sync)) = self.active.get_mut(&entity)
                && sync.learn(&payloads).is_err()
            {
                self.exchange_whole(entity);
            }
        }
    }

    /// Walks both listings side by side and notes what has to be done.
    fn join(&mut self) {
        while self.waiting.len() + self.to_fetch.len() < BACKLOG_MAX {
            let order = match (self.local.entries.front(), self.remote.entries.front()) {
                (Some(local), Some(remote)) => local.entity.cmp(&remote.entity),
                (Some(_), None) if self.remote.done => Ordering::Less,
                (None, Some(_)) if self.local.done => Ordering::Greater,
                _ => return,
            };
            let local = if order.is_le() { self.local.entries.pop_front() } else { None };
            let remote = if order.is_ge() { self.remote.entries.pop_front() } else { None };
            match (local, remote) {
                (Some(_), None) if cfg!(bug = "comparison-goes-one-way") => {}
                (Some(local), None) => self.waiting.push_back((local.entity, Purpose::PushWhole)),
                (None, Some(remote)) => self.to_fetch.push_back(remote.entity),
                (Some(mut local), Some(mut remote)) => {
                    local.heads.sort_unstable();
                    remote.heads.sort_unstable();
                    if local.collection != remote.collection {
                        // The relay takes nothing of ours, and once we have what it has, ours gives way.
                        self.to_fetch.push_back(remote.entity);
                        continue;
                    }
                    let differ = if cfg!(bug = "heads-only-counted") {
                        local.heads.len() != remote.heads.len()
                    } else {
                        local.heads != remote.heads
                    };
                    if differ {
                        self.waiting.push_back((local.entity, Purpose::Negotiate));
                    }
                }
                (None, None) => return,
            }
        }
    }

    fn exchange_whole(&mut self, entity: EntityId) {
        self.active.remove(&entity);
        self.waiting.push_back((entity, Purpose::PushWhole));
        self.to_fetch.push_back(entity);
    }

    fn say(
        &mut self,
        space: SpaceId,
        entity: EntityId,
        collection: CollectionName,
        step: reconcile::Step,
        limits: &Limits,
    ) {
        self.send(step.changes, limits);
        let message = SyncMessage { space, entity, collection, message: step.message };
        self.outgoing.push_back(Outgoing::Message(message));
    }

    fn send(&mut self, changes: Vec<ChangeRecord>, limits: &Limits) {
        let count_max = usize::try_from(limits.push_changes_max).unwrap_or(usize::MAX).max(1);
        let fitting =
            changes.into_iter().filter(|change| change.payload.len() as u64 <= limits.payload_bytes_max());
        for portion in portions(fitting.collect(), limits) {
            for part in portion.chunks(count_max) {
                self.outgoing.push_back(Outgoing::Changes(part.to_vec()));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.local.is_over()
            && self.remote.is_over()
            && self.waiting.is_empty()
            && self.to_fetch.is_empty()
            && !self.fetching
            && self.active.is_empty()
            && self.outgoing.is_empty()
    }
}

impl Listing {
    fn take(&mut self, entries: Vec<HeadsEntry>, more: MorePages) -> Result<(), Fatal> {
        if !std::mem::take(&mut self.asked) {
            return Ok(());
        }
        if entries.is_empty() && more == MorePages::Yes {
            return Err(Fatal::new(ErrorCode::MalformedFrame, "an empty page of heads before the end"));
        }
        self.done = more == MorePages::No;
        for entry in entries {
            if self.last.is_some_and(|last| entry.entity <= last) {
                return Err(Fatal::new(ErrorCode::MalformedFrame, "heads that are out of order"));
            }
            self.last = Some(entry.entity);
            self.entries.push_back(entry);
        }
        Ok(())
    }

    fn wants_more(&self) -> bool {
        self.entries.is_empty() && !self.asked && !self.done
    }

    fn is_over(&self) -> bool {
        self.done && self.entries.is_empty()
    }
}
