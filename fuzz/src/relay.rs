//! A relay: the real spaces over the real feed, on a disk, and what is known about that feed outside of it.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use headwater::document::examine;
use headwater::ingest::{ChangeLimits, Chunk};
use headwater::sync::relay::{Input, Output};
use headwater_relay::space::{ConnectionId, Entries, Inbox, Push, SpaceMachine};
use headwater_storage::testing::{CrashMode, SimulatedDisk};
use headwater_storage::{
    Appended, ChangeRecord, DeviceId, EntityHeads, FeedEpoch, FeedSnapshot, FeedStore, NewFeed, PageLimit,
    ReadError, RedbFeed, Seq, SpaceId, Watermark,
};

use crate::device::Ending;
use crate::history::{Feed, Feeds, History};
use crate::violation::Violation;
use crate::{Clock, Random};
use headwater::Environment;

pub(crate) struct Relay {
    pub(crate) feed: RedbFeed,
    store: FeedStore,
    pub(crate) disk: SimulatedDisk,
    spaces: BTreeMap<SpaceId, SpaceMachine>,
    /// What the store said to the append that is under way in a space.
    appended: BTreeMap<SpaceId, Option<Vec<Appended>>>,
    backup: Option<(SimulatedDisk, Feeds)>,
    /// What its store said is durable.
    pub(crate) known: Feeds,
    pub(crate) is_draining: bool,
    failures_survived: u64,
    random: Random,
    clock: Clock,
}

impl Relay {
    pub(crate) fn new(random: Random, clock: Clock) -> Result<Relay, Violation> {
        let disk = SimulatedDisk::unrecorded();
        let feed = open(&disk).map_err(Violation::failed("open feed"))?;
        Ok(Relay::with(feed, disk, None, Feeds::new(), random, clock))
    }

    fn with(
        feed: RedbFeed,
        disk: SimulatedDisk,
        backup: Option<(SimulatedDisk, Feeds)>,
        known: Feeds,
        random: Random,
        clock: Clock,
    ) -> Relay {
        let (store, spaces) = (FeedStore::inline(feed.clone()), BTreeMap::new());
        let failures_survived = disk.failures();
        let (is_draining, appended) = (false, BTreeMap::new());
        Relay {
            feed,
            store,
            disk,
            spaces,
            appended,
            backup,
            known,
            is_draining,
            failures_survived,
            random,
            clock,
        }
    }

    /// Whether its disk has failed since it was opened.
    pub(crate) fn is_failing(&self) -> bool {
        self.disk.failures() > self.failures_survived
    }

    pub(crate) fn subscribe(&mut self, space: SpaceId, connection: ConnectionId, inbox: Option<Inbox>) {
        let machine = self.machine(space);
        match inbox {
            Some(inbox) => machine.subscribe(connection, inbox),
            None => machine.unsubscribe(connection),
        }
    }

    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.spaces.values_mut().for_each(|machine| machine.unsubscribe(connection));
    }

    pub(crate) fn push(
        &mut self,
        space: SpaceId,
        (connection, device, answer): (ConnectionId, DeviceId, Inbox),
        push_id: u64,
        entries: Vec<ChangeRecord>,
    ) {
        self.machine(space).push(Push {
            connection,
            device,
            pusher: headwater_storage::Pusher::default(),
            push_id,
            entries: Entries::Changes(entries),
            answer,
        });
    }

    /// The spaces that have something to append.
    pub(crate) fn can_append(&self) -> impl Iterator<Item = SpaceId> {
        self.spaces.iter().filter(|(_, machine)| machine.can_append()).map(|(space, _)| *space)
    }

    /// The spaces whose append was made durable, or failed, and was not answered yet.
    pub(crate) fn appended(&self) -> impl Iterator<Item = SpaceId> {
        self.appended.keys().copied()
    }

    /// Answers the append of a space.
    pub(crate) fn end_append(&mut self, space: SpaceId) {
        if let Some(appended) = self.appended.remove(&space)
            && let Some(machine) = self.spaces.get_mut(&space)
        {
            machine.end_append(appended);
        }
    }

    /// Appends all that waits in a space. The answers come later, and what others do may come in between.
    pub(crate) fn append(&mut self, space: SpaceId, history: &mut History) -> Result<(), Violation> {
        let now_ms = self.clock.now_ms();
        let Relay { random, spaces, store, known, .. } = self;
        let Some(machine) = spaces.get_mut(&space) else { return Ok(()) };
        let new_epoch = || {
            let mut epoch = [0; 16];
            epoch[..8].copy_from_slice(&random.bits().to_be_bytes());
            FeedEpoch::from_bytes(epoch)
        };
        let Some(appends) = machine.begin_append(now_ms, new_epoch) else { return Ok(()) };
        let appended = store.append_all(appends.clone()).now_or_never();
        let Some(appended) = appended else {
            return Err(Violation::failed("append")("an inline store is not ready"));
        };
        match appended {
            Ok(appended) => {
                for (append, appended) in appends.iter().zip(&appended) {
                    history.appended(known, append, appended)?;
                }
                self.appended.insert(space, Some(appended));
            }
            Err(_) if self.is_failing() => drop(self.appended.insert(space, None)),
            Err(error) => return Err(Violation::failed("append")(error)),
        }
        Ok(())
    }

    /// Answers what a session wants to read. `None` for what is not a read.
    pub(crate) fn read(&self, output: Output) -> Result<Option<Input<'static>>, Violation> {
        let input = headwater_relay::read(&self.store, output).now_or_never().flatten();
        match input {
            Some(Input::StoreFailed { what, .. })
                if !self.is_failing() && !matches!(what, headwater::sync::relay::StoreTask::Cursor(_)) =>
            {
                Err(Violation::failed("read")(format!("{what:?}")))
            }
            input => Ok(input),
        }
    }

    /// Snapshots of everything, as whoever works behind a feed makes them.
    pub(crate) fn compact(&self) -> Result<(), Violation> {
        match compact(&self.feed) {
            Err(_) if self.is_failing() => Ok(()),
            compacted => compacted.map_err(Violation::failed("compact")),
        }
    }

    /// Ends the process and begins it again. No connection may be left.
    pub(crate) fn reopen(self, ending: Ending, seed: u64, history: &mut History) -> Result<Relay, Violation> {
        let Relay { feed, store, disk, spaces, backup, known, random, clock, .. } = self;
        let disk = match ending {
            Ending::Closed => disk,
            Ending::Crashed(mode) => disk.crash(mode, seed),
        };
        drop((feed, store, spaces));
        Relay::open(disk, backup, known, random, clock, history)
    }

    fn open(
        disk: SimulatedDisk,
        backup: Option<(SimulatedDisk, Feeds)>,
        mut known: Feeds,
        random: Random,
        clock: Clock,
        history: &mut History,
    ) -> Result<Relay, Violation> {
        let failures = disk.failures();
        let opened = open(&disk).map_err(Violation::failed("reopen feed"));
        let verified = opened.and_then(|feed| verify(&feed, &mut known, history).map(|()| feed));
        match verified {
            // The disk failed once more while the file was being opened: nothing more is lost by that.
            Err(Violation { promise: crate::Promise::Works, .. }) | Ok(_) if disk.failures() > failures => {
                Relay::open(disk.crash(CrashMode::Kept, 0), backup, known, random, clock, history)
            }
            Err(Violation { promise: crate::Promise::Works, .. }) if failures > 0 => {
                Relay::open(disk.crash(CrashMode::Kept, 0), backup, known, random, clock, history)
            }
            verified => Ok(Relay::with(verified?, disk, backup, known, random, clock)),
        }
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = Some((self.disk.crash(CrashMode::Kept, 0), self.known.clone()));
    }

    /// Goes back to the last backup, or to nothing. No connection may be left.
    pub(crate) fn restore(self, history: &mut History) -> Result<Relay, Violation> {
        history.has_gone_back = true;
        let Relay { feed, store, spaces, backup, random, clock, .. } = self;
        drop((feed, store, spaces));
        match backup {
            None => Relay::new(random, clock),
            Some((copy, known)) => {
                // The backup stays, and may be restored again.
                let disk = copy.crash(CrashMode::Kept, 0);
                Relay::open(disk, Some((copy, known.clone())), known, random, clock, history)
            }
        }
    }

    pub(crate) fn known(&self, space: SpaceId) -> Option<&Feed> {
        self.known.get(&space)
    }

    fn machine(&mut self, space: SpaceId) -> &mut SpaceMachine {
        self.spaces.entry(space).or_insert_with(|| SpaceMachine::new(space, ChangeLimits::default()))
    }
}

fn open(disk: &SimulatedDisk) -> Result<RedbFeed, headwater_storage::OpenError> {
    RedbFeed::open_backend(disk.clone(), NewFeed { created_ms: 0 })
}

fn compact(feed: &RedbFeed) -> Result<(), ReadError> {
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    for space in feed.spaces()? {
        for EntityHeads { entity, .. } in feed.heads(space, None, usize::MAX)? {
            let Some((covers, _)) = feed.entity(space, entity)? else { continue };
            let rows = feed.read_entity(space, entity, Seq::ZERO, limit)?.rows;
            let changes: Vec<_> = rows.into_iter().map(|row| (row.record.hash, row.record.payload)).collect();
            let (count, bytes) =
                (changes.len() as u64, changes.iter().map(|(_, payload)| payload.len()).sum::<usize>());
            let Some(payload) = examine(changes).snapshot else { continue };
            let Ok(hash) = Chunk::single(&payload).map(|chunk| chunk.hash()) else { continue };
            let changes_bytes = bytes as u64;
            let snapshot = FeedSnapshot { covers, changes: count, changes_bytes, hash, payload };
            let _is_new = feed.put_snapshot(space, entity, snapshot)?;
        }
    }
    Ok(())
}

/// Compares what is stored with what is known, and learns what was stored by appends that did not return.
fn verify(feed: &RedbFeed, known: &mut Feeds, history: &mut History) -> Result<(), Violation> {
    for space in feed.spaces().map_err(Violation::failed("spaces"))? {
        let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
        let page = feed.read_by_seq(space, Seq::ZERO, limit).map_err(Violation::failed("read feed"))?;
        let start = Watermark::start(space, page.head.epoch);
        history.reopened(known.entry(space).or_default(), space, start, &page.rows)?;
        let broken = feed.verify_chain(space, Seq::ZERO, usize::MAX);
        let broken = broken.map_err(Violation::failed("verify"))?;
        crate::Promise::FeedIsKept.hold(broken.is_none(), || format!("the chain breaks at {broken:?}"))?;
    }
    Ok(())
}
