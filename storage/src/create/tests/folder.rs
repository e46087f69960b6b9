//! A directory in memory that knows what a crash would leave of its names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::super::Directory;
use crate::testing::{CrashMode, Dice, Fault, SimulatedDisk};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locks {
    Work,
    Unsupported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Work,
    Unsupported,
}

/// Which changes of names since the last sync a crash leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum NamesLeft {
    None,
    /// Those up to one.
    First,
    /// Any.
    Some,
    All,
}

/// All clones are the same directory. A step is whatever is asked of it, and every operation on a file that is being made.
#[derive(Clone)]
pub(super) struct Folder(Arc<Mutex<State>>);

struct State {
    /// name -> index of its file
    names: Names,
    durable: Names,
    pending: Vec<Change>,
    files: Vec<SimulatedDisk>,
    locks: Locks,
    links: Links,
    steps: u64,
    renamed_at: Option<u64>,
    power_fails_at: u64,
    fault: Option<(u64, Fault)>,
    interruption: Option<(u64, Interruption)>,
}

type Names = BTreeMap<OsString, usize>;
type Interruption = Box<dyn FnOnce(&Folder) + Send>;

/// What happens to names at once: they lead to a file, or no longer to any.
type Change = Vec<(OsString, Option<usize>)>;

impl Folder {
    pub(super) fn new(locks: Locks, links: Links) -> Self {
        Self::from_state(Names::new(), Vec::new(), locks, links)
    }

    fn from_state(names: Names, files: Vec<SimulatedDisk>, locks: Locks, links: Links) -> Self {
        Self(Arc::new(Mutex::new(State {
            durable: names.clone(),
            names,
            pending: Vec::new(),
            files,
            locks,
            links,
            steps: 0,
            renamed_at: None,
            power_fails_at: u64::MAX,
            fault: None,
            interruption: None,
        })))
    }

    /// A file of someone else, durable.
    pub(super) fn put(&self, name: &str, content: &[u8]) {
        let mut state = self.state();
        let number = state.files.len();
        state.files.push(SimulatedDisk::from_image(content.to_vec()));
        state.names.insert(name.into(), number);
        state.durable.insert(name.into(), number);
    }

    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let disk = self.disk(name).unwrap_or_else(|| panic!("{name} is gone"));
        let mut content = vec![0; disk.len().unwrap() as usize];
        disk.read(0, &mut content).unwrap();
        content
    }

    pub(super) fn disk(&self, name: &str) -> Option<SimulatedDisk> {
        let state = self.state();
        state.names.get(OsStr::new(name)).map(|number| state.files[*number].clone())
    }

    /// The names that are not those of `others`.
    pub(super) fn names_but(&self, others: &[(&str, &[u8])]) -> Vec<OsString> {
        let is_other = |name: &OsString| others.iter().any(|(other, _)| name == other);
        self.state().names.keys().filter(|name| !is_other(name)).cloned().collect()
    }

    pub(super) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The step that gave a file another name without looking whether that was taken.
    pub(super) fn renamed_at(&self) -> Option<u64> {
        self.state().renamed_at
    }

    pub(super) fn fail_at(&self, step: u64, fault: Fault) {
        self.state().fault = Some((step, fault));
    }

    /// From this step on, nothing has any effect.
    pub(super) fn fail_power_at(&self, step: u64) {
        self.state().power_fails_at = step;
    }

    /// What somebody else does before this step.
    pub(super) fn before(&self, step: u64, interruption: impl FnOnce(&Folder) + Send + 'static) {
        self.state().interruption = Some((step, Box::new(interruption)));
    }

    /// The directory that a crash now would leave.
    pub(super) fn crash(&self, left: NamesLeft, mode: CrashMode, seed: u64) -> Self {
        let state = self.state();
        let mut dice = Dice::new(seed);
        let first = dice.below(state.pending.len() as u64 + 1) as usize;
        let mut names = state.durable.clone();
        for (number, change) in state.pending.iter().enumerate() {
            let is_left = match left {
                NamesLeft::None => false,
                NamesLeft::First => number < first,
                NamesLeft::Some => dice.below(2) == 0,
                NamesLeft::All => true,
            };
            if is_left {
                apply(&mut names, change);
            }
        }
        let files = state.files.iter().map(|file| file.crash(mode, dice.next_u64())).collect();
        Self::from_state(names, files, state.locks, state.links)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts a step, lets others interrupt before it, and tells how it has to fail.
    fn step(&self) -> Option<Fault> {
        let mut state = self.state();
        let step = state.steps;
        if let Some((_, interruption)) = state.interruption.take_if(|(at, _)| *at == step) {
            drop(state);
            interruption(self);
            state = self.state();
        }
        state.steps += 1;
        if step >= state.power_fails_at {
            return Some(Fault::PowerFailure);
        }
        state.fault.take_if(|(at, _)| *at == step).map(|(_, fault)| fault)
    }

    /// A step that fails whole or not at all.
    fn checked_step(&self) -> io::Result<MutexGuard<'_, State>> {
        match self.step() {
            Some(fault) => Err(error(fault)),
            None => Ok(self.state()),
        }
    }
}

impl State {
    fn find(&self, name: &OsStr) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }
}

impl Directory for Folder {
    type File = Made;
    type Lock = ();

    fn make(&self) -> io::Result<()> {
        self.checked_step().map(|_| ())
    }

    fn lock(&self) -> io::Result<()> {
        match self.checked_step()?.locks {
            Locks::Work => Ok(()),
            Locks::Unsupported => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn exists(&self, name: &OsStr) -> io::Result<bool> {
        Ok(self.checked_step()?.names.contains_key(name))
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        Ok(self.checked_step()?.names.keys().cloned().collect())
    }

    fn start_of(&self, name: &OsStr, len: usize) -> io::Result<Vec<u8>> {
        let state = self.checked_step()?;
        let file = &state.files[state.find(name)?];
        let mut start = vec![0; len.min(file.len()? as usize)];
        file.read(0, &mut start)?;
        Ok(start)
    }

    fn create(&self, name: &OsStr) -> io::Result<Made> {
        let mut state = self.checked_step()?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (number, file) = (state.files.len(), SimulatedDisk::new());
        state.files.push(file.clone());
        state.change(vec![(name.to_owned(), Some(number))]);
        Ok(Made { file, folder: self.clone() })
    }

    fn sync_file(&self, name: &OsStr) -> io::Result<()> {
        let file = {
            let state = self.state();
            state.files[state.find(name)?].clone()
        };
        Made { file, folder: self.clone() }.sync_data()
    }

    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let mut state = self.checked_step()?;
        let file = state.find(from)?;
        if state.links == Links::Unsupported {
            return Err(ErrorKind::Unsupported.into());
        }
        if state.names.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.change(vec![(to.to_owned(), Some(file))]);
        Ok(())
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let mut state = self.checked_step()?;
        state.renamed_at = Some(state.steps - 1);
        let file = state.find(from)?;
        state.change(vec![(to.to_owned(), Some(file)), (from.to_owned(), None)]);
        Ok(())
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        let mut state = self.checked_step()?;
        state.find(name)?;
        state.change(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let fault = self.step();
        if matches!(fault, None | Some(Fault::Eio)) {
            let state = &mut *self.state();
            state.pending.drain(..).for_each(|change| apply(&mut state.durable, &change));
        }
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }
}

/// A file that is being made. Its operations are steps of the folder.
pub(super) struct Made {
    file: SimulatedDisk,
    folder: Folder,
}

impl Made {
    fn step<T>(&self, operate: impl FnOnce(&SimulatedDisk) -> io::Result<T>) -> io::Result<T> {
        match self.folder.step() {
            Some(Fault::PowerFailure) => return Err(error(Fault::PowerFailure)),
            Some(fault) => self.file.fail_at(self.file.operation_count(), fault),
            None => {}
        }
        operate(&self.file)
    }
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Made")
    }
}

impl StorageBackend for Made {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.step(|file| file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(SimulatedDisk::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(|file| file.write(offset, data))
    }
}

fn apply(names: &mut Names, change: &Change) {
    for (name, file) in change {
        match file {
            Some(number) => names.insert(name.clone(), *number),
            None => names.remove(name),
        };
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::DiskFull => ErrorKind::StorageFull.into(),
        _ => io::Error::other("simulated"),
    }
}
