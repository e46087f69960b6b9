//! The relay: the real feed, and what the sessions of its side ask of it.

use headwater::document::ingest::{ChangeLimits, check_record};
use headwater::sync::relay::{Input, Output, ReadPlan, StoreTask};
use headwater::wire::{HeadsEntry, MorePages};
use headwater_storage::{
    Append, Appended, ChangeRecord, DeviceId, FeedEntry, FeedEpoch, NewFeed, PageLimit, ReadError, RedbFeed,
    Seq, SpaceId,
};

use crate::{Disk, Random, Violation};

pub(crate) struct Relay {
    pub(crate) feed: RedbFeed,
    disk: Disk,
    backup: Option<Disk>,
    random: Random,
}

impl Relay {
    pub(crate) fn new(random: Random) -> Result<Relay, Violation> {
        let disk = Disk::default();
        Ok(Relay { feed: open(&disk)?, disk, backup: None, random })
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = Some(self.disk.copy());
    }

    /// Goes back to the last backup, or to nothing. No connection may be left.
    pub(crate) fn restore(self) -> Result<Relay, Violation> {
        let Relay { feed, backup, random, .. } = self;
        drop(feed);
        // The backup stays, and may be restored again.
        let disk = backup.as_ref().map_or_else(Disk::default, Disk::copy);
        Ok(Relay { feed: open(&disk)?, disk, backup, random })
    }

    /// Checks a push and appends it, as a space's actor does.
    pub(crate) fn append(
        &mut self,
        space: SpaceId,
        origin: DeviceId,
        entries: Vec<ChangeRecord>,
    ) -> Result<Appended, Violation> {
        let mut checked = Vec::with_capacity(entries.len());
        for record in entries {
            let change =
                check_record(&record, &ChangeLimits::default()).map_err(Violation::failed("ingest"))?;
            checked.push(FeedEntry { deps: change.deps, record });
        }
        let mut epoch = [0; 16];
        epoch[..8].copy_from_slice(&self.random.bits().to_be_bytes());
        let epoch_if_new = FeedEpoch::from_bytes(epoch);
        let append = Append { space, origin, received_ms: 0, epoch_if_new, entries: checked };
        let appended = self.feed.append_all(vec![append]).map_err(Violation::failed("append"))?.pop();
        appended.ok_or(Violation::Failed { call: "append", error: "no receipt".to_owned() })
    }

    /// Answers what a session wants to read. `None` for what is not a read.
    pub(crate) fn read(&self, output: Output) -> Result<Option<Input<'static>>, Violation> {
        let feed = &self.feed;
        Ok(Some(match output {
            Output::Open { space, position, .. } => {
                let standing = feed.check_position(space, &position).map_err(Violation::failed("check"))?;
                Input::Opened { space, standing, head: feed.head(space).map_err(Violation::failed("head"))? }
            }
            Output::ReadPage { space, ticket, plan, entries_max, bytes_max } => {
                let limit =
                    PageLimit { entries_max, bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) };
                let page = match plan {
                    ReadPlan::BySeq { after } => feed.read_by_seq(space, after, limit).map(Into::into),
                    ReadPlan::ByEntity { base, cursor } => {
                        feed.read_by_entity(space, base, cursor.as_deref(), limit).map(Into::into)
                    }
                };
                match page {
                    Ok(page) => Input::Page { space, ticket, page },
                    Err(ReadError::Cursor(_)) => {
                        Input::StoreFailed { space, what: StoreTask::Cursor(ticket) }
                    }
                    Err(error) => return Err(Violation::failed("read page")(error)),
                }
            }
            Output::ListHeads { space, ticket, after, entities_max } => {
                let entities = match feed.heads(space, after, entities_max) {
                    Err(ReadError::NoSuchSpace { .. }) => Vec::new(),
                    entities => entities.map_err(Violation::failed("heads"))?,
                };
                let more = if entities.len() < entities_max { MorePages::No } else { MorePages::Yes };
                let entities = entities.into_iter().map(|heads| HeadsEntry {
                    entity: heads.entity,
                    collection: heads.collection,
                    heads: heads.heads,
                });
                Input::EntityHeads { space, ticket, entities: entities.collect(), more }
            }
            Output::LoadEntity { space, entity, ticket } => {
                let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
                let rows = match feed.read_entity(space, entity, Seq::ZERO, limit) {
                    Err(ReadError::NoSuchSpace { .. }) => Vec::new(),
                    page => page.map_err(Violation::failed("read entity"))?.rows,
                };
                let changes = rows.into_iter().map(|row| row.record).collect();
                Input::EntityLoaded { space, entity, ticket, changes }
            }
            Output::ReadHead { space, nonce } => Input::HeadIs {
                space,
                nonce,
                watermark: feed.head(space).map_err(Violation::failed("head"))?,
            },
            _ => return Ok(None),
        }))
    }
}

fn open(disk: &Disk) -> Result<RedbFeed, Violation> {
    RedbFeed::open_backend(disk.clone(), NewFeed { created_ms: 0 }).map_err(Violation::failed("open feed"))
}
