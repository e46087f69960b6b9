//! The disk itself: live bytes, durable bytes, and faults on command.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::image::{Change, CrashMode, Platter, Replay, apply};
use super::pages::Pages;

/// What an operation on a disk was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Bytes were read.
    Read,
    /// Bytes were written.
    Write,
    /// The length was changed.
    SetLen,
    /// Everything before was made durable.
    Sync,
}

/// How an operation fails. The one after it works again, so whoever goes on as if nothing had happened is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails. A write may have been done in part, a sync may have been done.
    Eio,
    /// There is no room. A write is done in part; a read or a sync fails and does nothing.
    DiskFull,
    /// A sync fails, and what it should have made durable never becomes so, though it can still be read until a crash.
    FailedSync,
    /// The operation has no effect: the machine is off, only its program does not know it yet.
    PowerFailure,
}

/// A disk in memory that knows what a crash would leave of it. All clones are the same disk.
///
/// ```
/// use headwater_storage::testing::{CrashMode, SimulatedDisk};
/// use headwater_storage::{Commit, DeviceId, NewReplica, ReplicaStore, SpaceId};
/// let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 };
/// let disk = SimulatedDisk::new();
/// let store = ReplicaStore::open_backend(disk.clone(), new)?;
/// store.commit(Commit::new(SpaceId::from_name("home"), 0))?;
///
/// let after_a_crash = disk.crash(CrashMode::Lost, 0);
/// let store = ReplicaStore::open_backend(after_a_crash, new)?;
/// assert_eq!(store.spaces(), [SpaceId::from_name("home")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What it held when it was made.
    start: Pages,
    live: Pages,
    platter: Platter,
    changes: Vec<Change>,
    operations: Vec<Operation>,
    /// Operations until now, also where they are not recorded.
    count: u64,
    failures: u64,
    is_unrecorded: bool,
    fault: Option<(u64, Fault)>,
    /// From this operation on, none has any effect.
    power_fails_at: Option<u64>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that keeps no record of what was done to it: [`SimulatedDisk::operations`] and [`SimulatedDisk::replay`]
    /// are of no use then, and it needs no more memory than its contents. For long simulations.
    pub fn unrecorded() -> Self {
        let disk = Self::default();
        disk.state().is_unrecorded = true;
        disk
    }

    /// A disk that holds `image`, durably.
    pub fn from_image(image: Vec<u8>) -> Self {
        Self::from_pages(Pages::new(&image))
    }

    pub(super) fn from_pages(image: Pages) -> Self {
        let state = State {
            start: image.clone(),
            live: image.clone(),
            platter: Platter::new(image),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk that a crash now would leave. This one stays as it is.
    #[must_use]
    pub fn crash(&self, mode: CrashMode, seed: u64) -> Self {
        let (image, is_unrecorded) = {
            let state = self.state();
            (state.platter.image(mode, seed), state.is_unrecorded)
        };
        if is_unrecorded {
            let state = State {
                live: image.clone(),
                platter: Platter::new(image),
                is_unrecorded,
                ..State::default()
            };
            return Self(Arc::new(Mutex::new(state)));
        }
        Self::from_pages(image)
    }

    /// Makes the operation with this index, counted from 0 over all of this disk's life, fail once.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    /// From the operation with this index on, nothing has any effect and everything fails, until [`SimulatedDisk::crash`] says
    /// what is left.
    pub fn fail_power_at(&self, operation: u64) {
        self.state().power_fails_at = Some(operation);
    }

    /// Takes back a fault that was announced and has not come yet.
    pub fn spare(&self) {
        let mut state = self.state();
        let count = state.count;
        state.fault = None;
        state.power_fails_at.take_if(|at| count <= *at);
    }

    /// Whether the power has failed.
    pub fn is_powerless(&self) -> bool {
        let state = self.state();
        state.power_fails_at.is_some_and(|at| state.count > at)
    }

    /// How many operations have failed until now.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// How many operations there have been until now.
    pub fn operation_count(&self) -> u64 {
        self.state().count
    }

    /// Every operation until now, in order.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// How many operations until now changed something: all but reads. [`Replay`] goes through these.
    pub fn changes(&self) -> u64 {
        self.state().changes.len() as u64
    }

    /// Everything that was done to the disk until now, once more from the start.
    pub fn replay(&self) -> Replay {
        let state = self.state();
        Replay::new(state.start.clone(), state.changes.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the operation, and tells how it has to fail.
    fn begin(&mut self, operation: Operation) -> Option<Fault> {
        let index = self.count;
        self.count += 1;
        if !self.is_unrecorded {
            self.operations.push(operation);
        }
        let fault = if self.power_fails_at.is_some_and(|at| index >= at) {
            Some(Fault::PowerFailure)
        } else {
            self.fault.take_if(|(at, _)| *at == index).map(|(_, fault)| fault)
        };
        self.failures += u64::from(fault.is_some());
        fault
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        if !self.is_unrecorded {
            self.changes.push(change.clone());
        }
        self.platter.push(change);
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Some(fault) = state.begin(Operation::Read) {
            return Err(error(fault));
        }
        let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        Ok(state.live.read(start, out).ok_or(ErrorKind::UnexpectedEof)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if let Some(fault) = state.begin(Operation::SetLen) {
            return Err(error(fault));
        }
        state.change(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.begin(Operation::Sync);
        match fault {
            None | Some(Fault::Eio) => state.change(Change::Sync),
            Some(Fault::FailedSync) => state.change(Change::FailedSync),
            Some(Fault::DiskFull | Fault::PowerFailure) => {}
        }
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.begin(Operation::Write);
        let done = match fault {
            None => data,
            Some(Fault::PowerFailure) => &[],
            Some(_) => &data[..data.len() / 2 / 512 * 512],
        };
        if !done.is_empty() {
            state.change(Change::Write(offset, done.into()));
        }
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Eio | Fault::FailedSync => io::Error::other("simulated: input/output error"),
        Fault::PowerFailure => io::Error::other("simulated: the power is gone"),
        Fault::DiskFull => io::Error::new(ErrorKind::StorageFull, "simulated: no space left on device"),
    }
}
