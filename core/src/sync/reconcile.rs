//! Comparing one entity with the other side, by Automerge's own sync protocol: used when watermarks cannot be trusted.
//!
//! The protocol's messages only negotiate. The changes that they call for are taken out and travel as ordinary frames ahead of
//! the message, so that every change passes the same checks, whichever way it came.

use std::collections::VecDeque;

use automerge::sync::{self, ChunkList, MessageVersion, SyncDoc};
use bytes::Bytes;
use headwater_storage::{ChangeHash, ChangeRecord, CollectionName, EntityId, PayloadKind};
use thiserror::Error;

use super::message_check::{SyncMessageError, check_sync_message};
use crate::document::Document;
use crate::ingest::{IngestError, Panicked, guarded};
use crate::wire::{FRAME_OVERHEAD_BYTES, Limits, encoded_entry_bytes};

/// Messages for one entity after which it is exchanged whole. An honest exchange takes a handful.
const ROUNDS_MAX: u32 = 24;

/// An entity cannot be compared. Exchange it whole: push all of it, and fetch all of it.
#[derive(Debug, Error)]
pub(super) enum CompareError {
    #[error(transparent)]
    Message(#[from] SyncMessageError),
    #[error(transparent)]
    Change(#[from] IngestError),
    #[error("the merge engine refused the message: {0}")]
    Engine(String),
    #[error("the merge engine panicked")]
    Panicked,
    #[error("no end after {ROUNDS_MAX} messages")]
    TooManyRounds,
}

/// One entity's document and how far the other side is known to be.
pub(super) struct EntitySync {
    entity: EntityId,
    collection: CollectionName,
    document: Document,
    state: sync::State,
    rounds: u32,
}

/// What to say next about an entity: first the changes, then the message.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) changes: Vec<ChangeRecord>,
    pub(super) message: Bytes,
}

impl std::fmt::Debug for EntitySync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntitySync").field("entity", &self.entity).field("rounds", &self.rounds).finish()
    }
}

impl EntitySync {
    pub(super) fn new(
        entity: EntityId,
        collection: CollectionName,
        changes: Vec<ChangeRecord>,
    ) -> Result<Self, CompareError> {
        let document = Document::from_changes(changes.into_iter().map(|change| change.payload))?;
        Ok(Self { entity, collection, document, state: sync::State::new(), rounds: 0 })
    }

    /// Adds changes that this side has stored, or is about to.
    pub(super) fn learn(&mut self, payloads: &[Bytes]) -> Result<(), CompareError> {
        Ok(self.document.apply(payloads)?)
    }

    /// Takes a message of the other side, whose changes were learnt before.
    pub(super) fn receive(&mut self, message: &[u8]) -> Result<(), CompareError> {
        check_sync_message(message)?;
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            return Err(CompareError::TooManyRounds);
        }
        let (document, state) = (self.document.automerge_mut(), &mut self.state);
        let received = guarded(|| {
            let message = sync::Message::decode(message).map_err(|error| error.to_string())?;
            document.receive_sync_message(state, message).map_err(|error| error.to_string())
        });
        received.map_err(|Panicked| CompareError::Panicked)?.map_err(CompareError::Engine)
    }

    /// What to say next; nothing if there is nothing to say.
    pub(super) fn generate(&mut self) -> Result<Option<Step>, CompareError> {
        let (document, state) = (self.document.automerge(), &mut self.state);
        let generated = guarded(|| {
            let Some(mut message) = document.generate_sync_message(state) else { return Ok(None) };
            let mut changes = Vec::with_capacity(message.changes.len());
            for bytes in message.changes.iter() {
                let change =
                    automerge::Change::from_bytes(bytes.to_vec()).map_err(|error| error.to_string())?;
                changes.push((ChangeHash::from_bytes(change.hash().0), Bytes::copy_from_slice(bytes)));
            }
            message.changes = ChunkList::empty();
            // Flags would tell the other side to send whole documents in one chunk, which no limit on changes would fit.
            message.flags = None;
            message.version = MessageVersion::V1;
            Ok(Some((changes, message.encode())))
        });
        let generated =
            generated.map_err(|Panicked| CompareError::Panicked)?.map_err(CompareError::Engine)?;
        Ok(generated.map(|(changes, message)| Step {
            changes: changes
                .into_iter()
                .map(|(hash, payload)| ChangeRecord {
                    entity: self.entity,
                    collection: self.collection.clone(),
                    kind: PayloadKind::Change,
                    hash,
                    payload,
                })
                .collect(),
            message: Bytes::from(message),
        }))
    }

    /// A message that only says where this side is. With changes travelling apart, Automerge finds nothing to say once both
    /// sides are even, and the other side would wait for an answer.
    pub(super) fn heads_message(&self) -> Bytes {
        let message = sync::Message {
            heads: self.document.automerge().get_heads(),
            need: Vec::new(),
            have: Vec::new(),
            changes: ChunkList::empty(),
            flags: None,
            version: MessageVersion::V1,
        };
        Bytes::from(message.encode())
    }

    /// Whether both sides have the same heads, as far as this side knows.
    pub(super) fn in_sync(&self) -> bool {
        let Some(theirs) = &self.state.their_heads else { return false };
        let mut theirs: Vec<ChangeHash> = theirs.iter().map(|head| ChangeHash::from_bytes(head.0)).collect();
        theirs.sort_unstable();
        theirs == self.document.heads()
    }
}

/// Splits changes into portions that each fit into a frame.
pub(super) fn portions(entries: Vec<ChangeRecord>, limits: &Limits) -> VecDeque<Vec<ChangeRecord>> {
    let bytes_max = limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
    let mut portions = VecDeque::new();
    let mut portion = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let entry_bytes = encoded_entry_bytes(&entry);
        if bytes + entry_bytes > bytes_max && !portion.is_empty() {
            portions.push_back(std::mem::take(&mut portion));
            bytes = 0;
        }
        bytes += entry_bytes;
        portion.push(entry);
    }
    if !portion.is_empty() {
        portions.push_back(portion);
    }
    portions
}
