//! A device: a replica on a disk, and what a connection asks of it.

use headwater::replica::MergeRequest;
use headwater::sync::client::{Input, Output};
use headwater::wire::{HeadsEntry, MorePages, Retry};
use headwater::{Replica, SpaceId};
use headwater_storage::{ChangeRecord, EntityId, PayloadKind};

use crate::{Clock, Disk, Violation};

pub(crate) const SPACE: &str = "home";

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

pub(crate) struct Device {
    pub(crate) replica: Replica,
    disk: Disk,
    clock: Clock,
}

impl Device {
    pub(crate) fn new(clock: Clock) -> Result<Device, Violation> {
        let disk = Disk::default();
        let replica =
            Replica::open_backend(disk.clone(), clock.clone()).map_err(Violation::failed("open"))?;
        Ok(Device { replica, disk, clock })
    }

    /// Ends the process and starts it again. No connection may be left.
    pub(crate) fn restart(self) -> Result<Device, Violation> {
        let Device { replica, disk, clock } = self;
        drop(replica);
        let replica =
            Replica::open_backend(disk.clone(), clock.clone()).map_err(Violation::failed("reopen"))?;
        Ok(Device { replica, disk, clock })
    }

    /// Does one thing that the session wants of the replica, as the tokio driver does.
    pub(crate) fn answer(&self, call: Output) -> Result<Option<Input<'static>>, Violation> {
        let replica = &self.replica;
        Ok(Some(match call {
            Output::Merge { space, ticket, entries, position } => {
                match replica.merge(space, MergeRequest { records: entries, position }) {
                    Ok(merged) if merged.set_aside > 0 => {
                        return Err(Violation::SetAside {
                            changes: replica
                                .space(space)
                                .set_aside()
                                .map_err(Violation::failed("set aside"))?,
                        });
                    }
                    Ok(merged) => Input::Merged { space, ticket, pulled: merged.applied, set_aside: 0 },
                    Err(error) => {
                        Input::MergeFailed { space, ticket, reason: error.to_string(), retry: Retry::Later }
                    }
                }
            }
            Output::Acknowledge { space, acknowledged, refused, position } => {
                if let Some((_, refusal)) = refused.into_iter().next() {
                    return Err(Violation::Refused { code: refusal.code, message: refusal.message });
                }
                replica
                    .acknowledge(space, acknowledged, Vec::new(), position)
                    .map_err(Violation::failed("acknowledge"))?;
                return Ok(None);
            }
            Output::ReadOutbox { space, after, entries_max, bytes_max } => {
                let entries = replica
                    .outbox(space, after, entries_max, bytes_max)
                    .map_err(Violation::failed("outbox"))?;
                let exhausted = entries.is_empty();
                Input::OutboxPage { space, entries, exhausted }
            }
            Output::LoadEntity { space, entity } => {
                let Some(collection) =
                    replica.collection_of(space, entity).map_err(Violation::failed("find"))?
                else {
                    return Ok(None);
                };
                Input::EntityLoaded { space, entity, changes: self.changes(entity)?, collection }
            }
            Output::ListEntities { space, after, entities_max } => {
                let positions = replica
                    .entity_positions(space, after, entities_max)
                    .map_err(Violation::failed("list"))?;
                let more = if positions.len() < entities_max { MorePages::No } else { MorePages::Yes };
                let entities = positions.into_iter().map(|position| HeadsEntry {
                    entity: position.entity,
                    collection: position.collection,
                    heads: position.heads,
                });
                Input::EntityList { space, entities: entities.collect(), more }
            }
            Output::Transmit(_) | Output::Event(_) | Output::Close { .. } => return Ok(None),
        }))
    }

    /// Every change of an entity, as it would travel.
    pub(crate) fn changes(&self, entity: EntityId) -> Result<Vec<ChangeRecord>, Violation> {
        let collection = self.replica.collection_of(space(), entity).map_err(Violation::failed("find"))?;
        let Some(collection) = collection else { return Ok(Vec::new()) };
        let changes = self.replica.entity_changes(space(), entity).map_err(Violation::failed("changes"))?;
        let record = |(hash, payload)| {
            let (kind, collection) = (PayloadKind::Change, collection.clone());
            ChangeRecord { entity, collection, kind, hash, payload }
        };
        Ok(changes.into_iter().map(record).collect())
    }
}
