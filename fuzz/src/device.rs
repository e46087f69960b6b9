//! A device: a replica on a disk, and what is known about it outside of that disk.

mod withdrawn;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use headwater::document::WriteError;
use headwater::replica::MergeError;
use headwater::sync::client::{Input, Output};
use headwater::{EditError, Replica, SpaceId};
use headwater_storage::testing::{CrashMode, SimulatedDisk};
use headwater_storage::{ChangeHash, ChangeRecord, EntityId, OutboxSeq, PayloadKind, Position};

use self::withdrawn::Withdrawn;
use crate::clash::is_clashing;
use crate::history::{ChangeId, History};
use crate::listener::Listener;
use crate::violation::{Promise, Violation};
use crate::{Clock, Random, clash, edits, words};

pub(crate) struct Device {
    pub(crate) replica: Replica,
    listener: Listener,
    pub(crate) disk: SimulatedDisk,
    clock: Clock,
    backup: Option<(SimulatedDisk, Known)>,
    pub(crate) known: Known,
    /// The spaces that it takes part in.
    pub(crate) spaces: Vec<SpaceId>,
    /// The failures of its disk that it has been opened again after.
    failures_survived: u64,
}

/// What a device must hold, because a call that wrote it has returned.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// Made here.
    pub(crate) written: BTreeSet<ChangeId>,
    /// Made here or merged.
    pub(crate) held: HashSet<ChangeId>,
    positions: BTreeMap<SpaceId, Position>,
    /// What its edits of words were meant to do.
    pub(crate) words: BTreeMap<SpaceId, words::Intents>,
    /// What it wrote under ids that are in two collections.
    pub(crate) clashes: BTreeMap<SpaceId, BTreeSet<String>>,
    /// What a verdict took away, until another one gives it back.
    withdrawn: Option<Withdrawn>,
    /// Of changes that were made here.
    outbox: BTreeMap<(SpaceId, OutboxSeq), ChangeId>,
}

/// What a device is opened again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its program closed the file.
    Closed,
    /// Its program or its machine stopped, and this became of the writes that were not synced.
    Crashed(CrashMode),
}

impl Device {
    pub(crate) fn new(clock: Clock, spaces: Vec<SpaceId>) -> Result<Device, Violation> {
        let disk = SimulatedDisk::unrecorded();
        let replica =
            Replica::open_backend(disk.clone(), clock.clone()).map_err(Violation::failed("open"))?;
        let listener = Listener::new(&replica).map_err(Violation::failed("listen"))?;
        let (backup, known) = (None, Known::default());
        Ok(Device { replica, listener, disk, clock, backup, known, spaces, failures_survived: 0 })
    }

    /// Whether its disk has failed since it was opened.
    pub(crate) fn is_failing(&self) -> bool {
        self.disk.failures() > self.failures_survived
    }

    /// One edit. What the replica's outbox gained is what was made.
    pub(crate) fn edit(&mut self, random: &mut Random, history: &mut History) -> Result<(), Violation> {
        let space = *random.pick(&self.spaces).unwrap_or(&edits::space(0));
        let edited = if random.chance(30) {
            self.edit_words(space, random, history).map(Ok)
        } else {
            edits::edit(&self.replica, space, random)
        };
        match edited {
            Ok(seen) => seen?,
            Err(EditError::NotFound(_) | EditError::Exists(_) | EditError::OtherCollection { .. }) => {}
            // A counter that was set to some other number, or a list without keys in the place of one with keys.
            Err(EditError::Write(WriteError::CounterOverflow { .. } | WriteError::BadKey { .. })) => {}
            Err(_) if self.is_failing() => return Ok(()),
            Err(error) => return Err(Violation::failed("edit")(error)),
        }
        self.after_edit(space, history)
    }

    /// What the replica's outbox gained is what was made, and its app hears of it.
    fn after_edit(&mut self, space: SpaceId, history: &mut History) -> Result<(), Violation> {
        match self.learn_made(space, history) {
            Err(_) if self.is_failing() => return Ok(()),
            other => other?,
        }
        self.hear()
    }

    /// Writes under an id that is in two collections, or makes again what gave way.
    pub(crate) fn clash(&mut self, random: &mut Random, history: &mut History) -> Result<(), Violation> {
        if random.chance(20) {
            return self.make_again(history);
        }
        let space = *random.pick(&self.spaces).unwrap_or(&edits::space(0));
        for _ in 0..=random.below(3) {
            match clash::edit(&self.replica, space, random) {
                Ok(word) => drop(self.known.clashes.entry(space).or_default().insert(word)),
                Err(_) if self.is_failing() => return Ok(()),
                Err(error) => return Err(Violation::failed("clash")(error)),
            }
            self.after_edit(space, history)?;
        }
        Ok(())
    }

    /// Makes again what gave way to another collection.
    pub(crate) fn make_again(&mut self, history: &mut History) -> Result<(), Violation> {
        for space in self.spaces.clone() {
            match clash::make_again(&self.replica, space) {
                Err(_) if self.is_failing() => return Ok(()),
                made => made.map_err(Violation::failed("make again"))?,
            }
            self.after_edit(space, history)?;
        }
        Ok(())
    }

    /// What its app was told is what reads answer.
    fn hear(&mut self) -> Result<(), Violation> {
        match self.listener.hear(&self.replica) {
            Err(_) if self.is_failing() => Ok(()),
            heard => heard.map_err(Violation::failed("read"))?,
        }
    }

    fn edit_words(
        &mut self,
        space: SpaceId,
        random: &mut Random,
        history: &mut History,
    ) -> Result<(), EditError> {
        let Some(edit) = words::plan(&self.replica, space, &history.tried_words, random)? else {
            return Ok(());
        };
        history.tried_words.extend(edit.intents.removed.iter().cloned());
        words::write(&self.replica, space, &edit)?;
        self.known.words.entry(space).or_default().add(edit.intents);
        Ok(())
    }

    /// Snapshots in the place of all histories.
    pub(crate) fn compact(&mut self) -> Result<(), Violation> {
        match self.replica.compact_all() {
            Err(_) if self.is_failing() => return Ok(()),
            compacted => drop(compacted.map_err(Violation::failed("compact"))?),
        }
        for space in &self.spaces {
            let aside = clash::set_aside(&self.replica, *space).map_err(Violation::failed("set aside"))?;
            Promise::NothingIsRefused.hold(aside.is_empty(), || format!("by a snapshot: {aside:?}"))?;
        }
        let alarms = self.replica.alarms();
        Promise::NothingIsRefused.hold(alarms.is_empty(), || format!("alarms: {alarms:?}"))?;
        self.hear()
    }

    /// Looks for changes in the outbox that were not known.
    fn learn_made(&mut self, space: SpaceId, history: &mut History) -> Result<(), Violation> {
        let places = (space, OutboxSeq::ZERO)..=(space, OutboxSeq::new(u64::MAX));
        let after = self.known.outbox.range(places).next_back();
        let after = after.map_or(OutboxSeq::ZERO, |((_, seq), _)| *seq);
        let new = self.replica.outbox(space, after, usize::MAX, usize::MAX);
        for entry in new.map_err(Violation::failed("outbox"))? {
            let change = (space, entry.record.entity, entry.record.hash);
            history.made(space, &entry.record);
            self.known.outbox.insert((space, entry.seq), change);
            self.known.written.insert(change);
            self.known.held.insert(change);
        }
        Ok(())
    }

    /// Does one thing that the session wants of the replica, and checks what the replica then claims. `None` for the session if
    /// the disk failed in a way that ends it.
    pub(crate) fn answer(
        &mut self,
        call: Output,
        history: &History,
    ) -> Result<Result<Option<Input<'static>>, MergeError>, Violation> {
        let (mut merged, mut moved) = (Vec::new(), None);
        match &call {
            Output::Merge { space, entries, position, .. } => {
                for record in entries {
                    merged.extend(stands_for(record)?.into_iter().map(|hash| (*space, record.entity, hash)));
                }
                moved = position.clone().map(|position| (*space, position));
            }
            Output::Acknowledge { space, position, .. } => {
                moved = position.clone().map(|position| (*space, position));
            }
            _ => {}
        }
        let answered = self.replica.answer(call);
        match &answered {
            Err(_) | Ok(Some(Input::MergeFailed { .. })) if self.is_failing() => return Ok(answered),
            Err(error) => return Err(Violation::new(Promise::Works, format!("answer: {error}"))),
            Ok(Some(Input::MergeFailed { reason, .. })) => {
                return Err(Violation::new(Promise::Works, format!("merge: {reason}")));
            }
            Ok(Some(Input::Merged { set_aside: 1.., space, .. })) => {
                let aside =
                    clash::set_aside(&self.replica, *space).map_err(Violation::failed("set aside"))?;
                Promise::NothingIsRefused.hold(aside.is_empty(), || format!("set aside: {aside:?}"))?;
            }
            Ok(_) => {}
        }
        if !merged.is_empty() {
            self.hear()?;
        }
        for change in &merged {
            Promise::SpacesAreApart
                .hold(history.has_made(change), || format!("nobody made {change:?} there"))?;
        }
        self.known.held.extend(merged);
        if let Some((space, position)) = moved {
            self.moved(space, position, history)?;
        }
        Ok(answered)
    }

    /// The position moved: everything that it newly covers is held.
    fn moved(&mut self, space: SpaceId, position: Position, history: &History) -> Result<(), Violation> {
        let before = self.known.positions.insert(space, position.clone()).unwrap_or_default();
        let Some(to) = &position.watermark else { return Ok(()) };
        let held = &self.known.held;
        history.walk_back(to, before.watermark.as_ref(), |change| {
            Promise::PositionIsHeld
                .hold(held.contains(change), || format!("at {to:?}, without {change:?}, from {before:?}"))
        })?;
        // From somewhere ahead in the same feed, it would have gone back. Only a feed that went back itself may ask for that.
        if let Some(before) = &before.watermark
            && !history.has_gone_back
            && before.epoch == to.epoch
            && before.seq > to.seq
        {
            let went_back = history.walk_back(before, Some(to), |_| Ok(()))?;
            Promise::PositionIsHeld.hold(!went_back, || format!("from {before:?} back to {to:?}"))?;
        }
        Ok(())
    }

    pub(crate) fn position(&self, space: SpaceId) -> Position {
        self.known.positions.get(&space).cloned().unwrap_or_default()
    }

    /// The change at a place of the outbox, as it was made.
    pub(crate) fn outbox_change(&self, space: SpaceId, seq: OutboxSeq) -> Option<ChangeId> {
        self.known.outbox.get(&(space, seq)).copied()
    }

    /// Ends the process and begins it again. No connection may be left.
    pub(crate) fn reopen(
        self,
        ending: Ending,
        seed: u64,
        history: &mut History,
    ) -> Result<Device, Violation> {
        let Device { replica, disk, clock, backup, known, spaces, .. } = self;
        // The crash comes before the program could close the file.
        let disk = match ending {
            Ending::Closed => disk,
            Ending::Crashed(mode) => disk.crash(mode, seed),
        };
        drop(replica);
        Device::open(disk, clock, backup, known, spaces, history)
    }

    fn open(
        disk: SimulatedDisk,
        clock: Clock,
        backup: Option<(SimulatedDisk, Known)>,
        known: Known,
        spaces: Vec<SpaceId>,
        history: &mut History,
    ) -> Result<Device, Violation> {
        let failures = disk.failures();
        let opened = Replica::open_backend(disk.clone(), clock.clone()).map_err(Violation::failed("reopen"));
        let verified = opened.and_then(|replica| {
            let (disk, clock, known, spaces) = (disk.clone(), clock.clone(), known.clone(), spaces.clone());
            let listener = Listener::new(&replica).map_err(Violation::failed("listen"))?;
            let (backup, failures_survived) = (backup.clone(), 0);
            let mut device =
                Device { replica, listener, disk, clock, backup, known, spaces, failures_survived };
            device.give_back()?;
            device.verify(history)?;
            device.failures_survived = failures;
            Ok(device)
        });
        match verified {
            // The disk failed once more while the file was being opened: nothing more is lost by that.
            Err(Violation { promise: Promise::Works, .. }) | Ok(_) if disk.failures() > failures => {
                Device::open(disk.crash(CrashMode::Kept, 0), clock, backup, known, spaces, history)
            }
            Err(Violation { promise: Promise::Works, .. }) if failures > 0 => {
                Device::open(disk.crash(CrashMode::Kept, 0), clock, backup, known, spaces, history)
            }
            verified => verified,
        }
    }

    /// Compares what is stored with what is known, and learns what was stored by calls that did not return.
    fn verify(&mut self, history: &mut History) -> Result<(), Violation> {
        let mut held = HashSet::new();
        for space in self.spaces.clone() {
            self.learn_made(space, history)?;
            let positions = self.replica.entity_positions(space, None, usize::MAX);
            for entity in positions.map_err(Violation::failed("list"))? {
                let changes = self.changes(space, entity.entity)?;
                held.extend(changes.into_iter().map(|record| (space, entity.entity, record.hash)));
            }
            let position = self.replica.position(space).map_err(Violation::failed("position"))?;
            if let Some(to) = &position.watermark {
                history.walk_back(to, None, |change| {
                    Promise::PositionIsHeld
                        .hold(held.contains(change), || format!("stored: {to:?}, without {change:?}"))
                })?;
            }
            self.known.positions.insert(space, position);
        }
        // Each is reported as what was broken: its own writes first.
        let known = self.known.written.iter().chain(&self.known.held);
        let lost =
            known.filter(|(_, entity, _)| !is_clashing(*entity)).find(|change| !held.contains(*change));
        Promise::WrittenIsKept.hold(lost.is_none(), || format!("{lost:?}"))?;
        self.known.held = held;
        Ok(())
    }

    /// Keeps a copy of the file as it is now.
    pub(crate) fn back_up(&mut self) {
        self.backup = Some((self.disk.crash(CrashMode::Kept, 0), self.known.clone()));
    }

    /// Goes back to the copy, if there is one. No connection may be left.
    pub(crate) fn restore(self, history: &mut History) -> Result<Device, Violation> {
        let Device { replica, disk, clock, backup, known, spaces, .. } = self;
        drop(replica);
        let Some((copy, known_then)) = backup else {
            return Device::open(disk, clock, None, known, spaces, history);
        };
        // The copy stays, and may be restored again.
        let disk = copy.crash(CrashMode::Kept, 0);
        Device::open(disk, clock, Some((copy, known_then.clone())), known_then, spaces, history)
    }

    /// One more device, with a copy of the file.
    pub(crate) fn copy(&self, clock: Clock, history: &mut History) -> Result<Device, Violation> {
        let (disk, known) = match &self.backup {
            Some((copy, known)) => (copy.crash(CrashMode::Kept, 0), known.clone()),
            None => (self.disk.crash(CrashMode::Kept, 0), self.known.clone()),
        };
        Device::open(disk, clock, None, known, self.spaces.clone(), history)
    }

    /// Every change of an entity, as it would travel.
    pub(crate) fn changes(&self, space: SpaceId, entity: EntityId) -> Result<Vec<ChangeRecord>, Violation> {
        let collection = self.replica.collection_of(space, entity).map_err(Violation::failed("find"))?;
        let Some(collection) = collection else { return Ok(Vec::new()) };
        let changes = self.replica.entity_changes(space, entity).map_err(Violation::failed("changes"))?;
        let record = |(hash, payload)| {
            let (kind, collection) = (PayloadKind::Change, collection.clone());
            ChangeRecord { entity, collection, kind, hash, payload }
        };
        Ok(changes.into_iter().map(record).collect())
    }
}

/// The changes that a record from the relay brings.
fn stands_for(record: &ChangeRecord) -> Result<Vec<ChangeHash>, Violation> {
    if record.kind != PayloadKind::Snapshot {
        return Ok(vec![record.hash]);
    }
    let document = automerge::Automerge::load(&record.payload).map_err(Violation::failed("load"))?;
    let changes = document.get_changes_meta(&[]);
    Ok(changes.into_iter().map(|change| ChangeHash::from_bytes(change.hash.0)).collect())
}
