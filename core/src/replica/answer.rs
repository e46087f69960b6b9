//! A session's calls on a replica, for whoever drives the session.

use bytes::Bytes;
use headwater_storage::{ChangeRecord, PayloadKind};

use super::{EntityPosition, MergeError, MergeRequest, Merged, Replica};
use crate::sync::client::{Input, Output};
use crate::wire::{HeadsEntry, MorePages, Retry};

impl Replica {
    /// Does one thing that a client session asked for, and gives the session's next input, if there is one. What a session asks
    /// of its connection (frames, events, the end) has no answer here.
    ///
    /// A merge that fails is an input too: the session goes on with what else it has to do, and tries again.
    ///
    /// # Errors
    /// When the store fails in a way that ends the session.
    ///
    /// ```
    /// use headwater::sync::client::{Input, Output};
    /// use headwater::{Replica, SpaceId};
    /// # let directory = tempfile::tempdir()?;
    /// let replica = Replica::open(directory.path().join("r"))?;
    /// let call = Output::ListEntities { space: SpaceId::from_name("home"), after: None, entities_max: 10 };
    /// assert!(matches!(replica.answer(call)?, Some(Input::EntityList { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn answer(&self, call: Output) -> Result<Option<Input<'static>>, MergeError> {
        Ok(Some(match call {
            Output::Merge { space, ticket, entries, position } => {
                match self.merge(space, MergeRequest { records: entries, position }) {
                    Ok(merged) => {
                        let Merged { applied, duplicates, set_aside } = merged;
                        tracing::debug!(%space, applied, duplicates, set_aside, "merged");
                        if set_aside > 0 {
                            tracing::warn!(%space, set_aside, "changes that cannot be used here are set aside");
                        }
                        Input::Merged { space, ticket, pulled: merged.applied, set_aside: merged.set_aside }
                    }
                    // Everything is merged; only another session can get what is missing.
                    Err(error @ MergeError::Damaged) => return Err(error),
                    Err(error) => {
                        Input::MergeFailed { space, ticket, reason: error.to_string(), retry: Retry::Later }
                    }
                }
            }
            Output::Acknowledge { space, acknowledged, refused, position } => {
                if !refused.is_empty() {
                    tracing::warn!(%space, refused = refused.len(), "changes that the relay refuses are set aside");
                }
                self.acknowledge(space, acknowledged, refused, position)?;
                return Ok(None);
            }
            Output::ReadOutbox { space, after, entries_max, bytes_max } => {
                let entries = self.outbox(space, after, entries_max, bytes_max)?;
                // Fewer than asked for can also mean that the bytes ran out.
                let exhausted = match entries.last() {
                    Some(last) => self.store().outbox_last(space)? == Some(last.seq),
                    None => true,
                };
                Input::OutboxPage { space, entries, exhausted }
            }
            Output::LoadEntity { space, entity } => {
                let Some(collection) = self.collection_of(space, entity)? else { return Ok(None) };
                let record = |(hash, payload): (_, Bytes)| {
                    let (kind, collection) = (PayloadKind::Change, collection.clone());
                    ChangeRecord { entity, collection, kind, hash, payload }
                };
                let changes = self.entity_changes(space, entity)?.into_iter().map(record).collect();
                Input::EntityLoaded { space, entity, changes, collection }
            }
            Output::ListEntities { space, after, entities_max } => {
                let positions = self.entity_positions(space, after, entities_max)?;
                let more = if positions.len() < entities_max { MorePages::No } else { MorePages::Yes };
                let entities = positions.into_iter().map(heads_entry).collect();
                Input::EntityList { space, entities, more }
            }
            Output::Transmit(_) | Output::Event(_) | Output::Close { .. } => return Ok(None),
        }))
    }
}

fn heads_entry(position: EntityPosition) -> HeadsEntry {
    HeadsEntry { entity: position.entity, collection: position.collection, heads: position.heads }
}
