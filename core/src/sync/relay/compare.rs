//! Comparing heads with a client whose position does not belong to this feed: lists of heads, whole entities, and messages of
//! the sync protocol. One entity is loaded at a time, and nothing is read while the client has not seen what was sent.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headwater_storage::{ChangeRecord, EntityId, SpaceId};

use super::{Fatal, Output, RelaySession};
use crate::sync::Ticket;
use crate::sync::reconcile::{EntitySync, portions};
use crate::wire::{
    ChangesHead, ErrorCode, FRAME_OVERHEAD_BYTES, Fetch, Frame, Heads, HeadsEntry, Limits, ListHeads,
    MorePages, Part, SyncMessage, encode_changes,
};

/// What is under way for one space.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    /// entity -> its document, and when it was last used.
    documents: BTreeMap<EntityId, (EntitySync, u64)>,
    uses: u64,
    listing: Option<Ticket>,
    /// Messages that wait for the changes pushed ahead of them, or for their entity.
    messages: VecDeque<SyncMessage>,
    fetching: VecDeque<EntityId>,
    /// A fetch whose end was not sent yet.
    fetch_open: bool,
    loading: Option<(Ticket, Purpose)>,
    /// What waits for the client to see what was sent before.
    outgoing: VecDeque<Outgoing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Fetch,
    Compare,
}

#[derive(Debug)]
enum Outgoing {
    Changes(Part, Vec<ChangeRecord>),
    Message(SyncMessage),
}

impl Comparing {
    /// Adds changes that became durable to the documents that are being compared.
    pub(super) fn learn(&mut self, taken: &[ChangeRecord]) {
        if self.documents.is_empty() {
            return;
        }
        let mut by_entity: BTreeMap<EntityId, Vec<Bytes>> = BTreeMap::new();
        for record in taken {
            by_entity.entry(record.entity).or_default().push(record.payload.clone());
        }
        for (entity, payloads) in by_entity {
            // A document that does not take a stored change is loaded again with the next message.
            let learnt = self.documents.get_mut(&entity).map(|(sync, _)| sync.learn(&payloads));
            if matches!(learnt, Some(Err(_))) {
                self.documents.remove(&entity);
            }
        }
    }
}

impl RelaySession {
    pub(super) fn list_heads(&mut self, list: &ListHeads) -> Result<(), Fatal> {
        let ticket = self.ticket();
        let entities_max = usize::try_from(self.limits.heads_page_max).unwrap_or(usize::MAX);
        let Some(space) = self.opened(list.space) else {
            self.not_open(list.space);
            return Ok(());
        };
        if space.comparing.listing.is_some() {
            return Err(Fatal::new(ErrorCode::FlowControl, "a page of heads is under way already"));
        }
        space.comparing.listing = Some(ticket);
        self.outputs.push_back(Output::ListHeads {
            space: list.space,
            ticket,
            after: list.after,
            entities_max,
        });
        Ok(())
    }

    pub(super) fn heads_listed(
        &mut self,
        id: SpaceId,
        ticket: Ticket,
        entities: Vec<HeadsEntry>,
        more: MorePages,
    ) {
        let bytes_max = self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
        let Some(space) = self.space_mut(id).filter(|space| space.comparing.listing == Some(ticket)) else {
            return;
        };
        space.comparing.listing = None;
        let listed = entities.len();
        let mut bytes = 0;
        let page: Vec<HeadsEntry> = entities
            .into_iter()
            .map(|mut entry| {
                // So many heads only come from an attack; the two sides then differ, and the entity is exchanged whole.
                entry.heads.truncate(HEADS_MAX);
                entry
            })
            .take_while(|entry| {
                bytes += 32 + entry.collection.as_str().len() as u64 + 34 * entry.heads.len() as u64;
                bytes <= bytes_max
            })
            .collect();
        let more = if page.len() < listed { MorePages::Yes } else { more };
        self.transmit(&Frame::Heads(Heads { space: id, entities: page, more }));
    }

    pub(super) fn fetch(&mut self, fetch: Fetch) -> Result<(), Fatal> {
        let Some(space) = self.opened(fetch.space) else {
            self.not_open(fetch.space);
            return Ok(());
        };
        if space.comparing.fetch_open {
            return Err(Fatal::new(ErrorCode::FlowControl, "a fetch is under way already"));
        }
        space.comparing.fetch_open = true;
        space.comparing.fetching = fetch.entities.into();
        self.compare_on(fetch.space);
        Ok(())
    }

    pub(super) fn sync_message(&mut self, message: SyncMessage) -> Result<(), Fatal> {
        let messages_max = self.limits.reconcile_entities_max.saturating_mul(2);
        let id = message.space;
        let Some(space) = self.opened(id) else {
            self.not_open(id);
            return Ok(());
        };
        if space.comparing.messages.len() as u64 >= messages_max {
            return Err(Fatal::new(ErrorCode::FlowControl, "too many messages of the sync protocol"));
        }
        space.comparing.messages.push_back(message);
        self.compare_on(id);
        Ok(())
    }

    pub(super) fn entity_loaded(
        &mut self,
        id: SpaceId,
        entity: EntityId,
        ticket: Ticket,
        changes: Vec<ChangeRecord>,
    ) {
        let limits = self.limits;
        let Some(space) = self.space_mut(id) else { return };
        let comparing = &mut space.comparing;
        let Some((_, purpose)) = comparing.loading.take_if(|(awaited, _)| *awaited == ticket) else { return };
        match purpose {
            Purpose::Fetch => {
                let portions = portions(changes, &limits);
                comparing
                    .outgoing
                    .extend(portions.into_iter().map(|portion| Outgoing::Changes(Part::Reconcile, portion)));
            }
            Purpose::Compare => {
                if let Some(message) = comparing.messages.pop_front_if(|message| message.entity == entity) {
                    // The feed says where the entity is, whatever the client takes it for.
                    let collection = changes.first().map_or(&message.collection, |first| &first.collection);
                    match EntitySync::new(entity, collection.clone(), changes) {
                        Ok(sync) => {
                            comparing.keep(entity, sync, limits.reconcile_entities_max);
                            comparing.answer(message, &limits);
                        }
                        Err(_) => comparing.give_up(message),
                    }
                }
            }
        }
        self.compare_on(id);
    }

    pub(super) fn compare_failed(&mut self, id: SpaceId) {
        if let Some(space) = self.space_mut(id) {
            space.comparing = Comparing::default();
            self.recoverable(id, ErrorCode::StoreUnavailable, "the feed cannot be read");
        }
    }

    /// Does what can be done now: sends what waits, answers messages, loads the next entity.
    pub(super) fn compare_on(&mut self, id: SpaceId) {
        let limits = self.limits;
        loop {
            let has_room = self.has_room(limits.frame_bytes_max);
            let Some(space) = self.opened(id) else { return };
            let pushes_settled = space.pushes.is_empty();
            let head = space.head;
            let comparing = &mut space.comparing;
            if let Some(outgoing) = comparing.outgoing.front() {
                if matches!(outgoing, Outgoing::Changes(..)) && !has_room {
                    return;
                }
                match comparing.outgoing.pop_front() {
                    Some(Outgoing::Changes(part, entries)) => {
                        let head = ChangesHead {
                            space: id,
                            part,
                            watermark: None,
                            cursor: None,
                            first: None,
                            head,
                            remaining: 0,
                        };
                        self.transmit_changes(id, &encode_changes(&head, entries.iter()));
                    }
                    Some(Outgoing::Message(message)) => self.transmit(&Frame::SyncMessage(message)),
                    None => {}
                }
                continue;
            }
            if comparing.loading.is_some() {
                return;
            }
            // A message speaks about changes that were pushed ahead of it, so those must be in first.
            let message = if pushes_settled { comparing.messages.front() } else { None };
            let (entity, purpose) = if let Some(message) = message {
                let entity = message.entity;
                if comparing.documents.contains_key(&entity) {
                    if let Some(message) = comparing.messages.pop_front() {
                        comparing.answer(message, &limits);
                    }
                    continue;
                }
                (entity, Purpose::Compare)
            } else if let Some(entity) = comparing.fetching.pop_front() {
                (entity, Purpose::Fetch)
            } else if comparing.fetch_open {
                comparing.fetch_open = false;
                comparing.outgoing.push_back(Outgoing::Changes(Part::FetchEnd, Vec::new()));
                continue;
            } else {
                return;
            };
            let ticket = self.ticket();
            if let Some(space) = self.space_mut(id) {
                space.comparing.loading = Some((ticket, purpose));
                self.outputs.push_back(Output::LoadEntity { space: id, entity, ticket });
            }
            return;
        }
    }
}

const HEADS_MAX: usize = 4096;

impl Comparing {
    fn keep(&mut self, entity: EntityId, sync: EntitySync, documents_max: u64) {
        // The client works on so many at a time; those that it is done with are the ones used longest ago.
        while self.documents.len() as u64 >= documents_max {
            let oldest = self.documents.iter().min_by_key(|(_, (_, used))| *used).map(|(entity, _)| *entity);
            match oldest {
                Some(oldest) => self.documents.remove(&oldest),
                None => break,
            };
        }
        self.uses += 1;
        self.documents.insert(entity, (sync, self.uses));
    }

    fn answer(&mut self, message: SyncMessage, limits: &Limits) {
        self.uses += 1;
        let Some((sync, used)) = self.documents.get_mut(&message.entity) else {
            return self.give_up(message);
        };
        *used = self.uses;
        match sync.receive(&message.message).and_then(|()| sync.generate()) {
            Ok(Some(step)) => {
                let portions = portions(step.changes, limits);
                self.outgoing
                    .extend(portions.into_iter().map(|portion| Outgoing::Changes(Part::Reconcile, portion)));
                self.outgoing.push_back(Outgoing::Message(SyncMessage { message: step.message, ..message }));
            }
            Ok(None) if sync.in_sync() => {
                let heads = sync.heads_message();
                self.documents.remove(&message.entity);
                self.outgoing.push_back(Outgoing::Message(SyncMessage { message: heads, ..message }));
            }
            Ok(None) | Err(_) => self.give_up(message),
        }
    }

    /// An empty message tells the client to exchange the entity whole.
    fn give_up(&mut self, message: SyncMessage) {
        self.documents.remove(&message.entity);
        self.outgoing.push_back(Outgoing::Message(SyncMessage { message: Bytes::new(), ..message }));
    }
}
