//! What a crash leaves of writes that were not synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SimulatedDisk;
use super::pages::Pages;

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

/// What becomes of the writes since the last sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMode {
    /// All are lost.
    Lost,
    /// All are kept.
    Kept,
    /// Some are kept, in their order.
    Subset,
    /// All up to one are kept, and of that one only its first or its last sectors.
    Torn,
    /// Every sector shows any of the contents that it had since the sync, whatever its neighbours show; the length too.
    Reordered,
}

impl CrashMode {
    /// Every mode.
    pub const ALL: [Self; 5] = [Self::Lost, Self::Kept, Self::Subset, Self::Torn, Self::Reordered];
}

/// One thing that was done to a disk.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
    Sync,
    /// A sync that failed: the system forgets that the pages were dirty, and never writes them.
    FailedSync,
}

/// The durable bytes, and the writes that are not durable yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Platter {
    durable: Pages,
    pending: Vec<Change>,
}

impl Platter {
    pub(super) fn new(durable: Pages) -> Self {
        Self { durable, pending: Vec::new() }
    }

    pub(super) fn push(&mut self, change: Change) {
        match change {
            Change::Sync => {
                for change in self.pending.drain(..) {
                    apply(&mut self.durable, &change);
                }
            }
            Change::FailedSync => {
                // The length is kept by the journal of the file system; the contents are gone.
                self.pending.retain(|change| matches!(change, Change::SetLen(_)));
                for change in self.pending.drain(..) {
                    apply(&mut self.durable, &change);
                }
            }
            change => self.pending.push(change),
        }
    }

    pub(super) fn image(&self, mode: CrashMode, seed: u64) -> Pages {
        let mut dice = Dice::new(seed);
        let mut image = self.durable.clone();
        match mode {
            CrashMode::Lost => {}
            CrashMode::Kept => self.pending.iter().for_each(|change| apply(&mut image, change)),
            CrashMode::Subset => {
                self.pending
                    .iter()
                    .filter(|_| dice.below(2) == 0)
                    .for_each(|change| apply(&mut image, change));
            }
            CrashMode::Torn => self.tear(&mut image, &mut dice),
            CrashMode::Reordered => self.reorder(&mut image, &mut dice),
        }
        image
    }

    fn tear(&self, image: &mut Pages, dice: &mut Dice) {
        let torn = dice.below(self.pending.len() as u64 + 1) as usize;
        self.pending.iter().take(torn).for_each(|change| apply(image, change));
        let Some(Change::Write(offset, data)) = self.pending.get(torn) else { return };
        let sectors = data.len().div_ceil(SECTOR) as u64;
        let cut = (dice.below(sectors + 1) as usize * SECTOR).min(data.len());
        let (start, part) =
            if dice.below(2) == 0 { (*offset, &data[..cut]) } else { (*offset + cut as u64, &data[cut..]) };
        apply(image, &Change::Write(start, part.into()));
    }

    fn reorder(&self, image: &mut Pages, dice: &mut Dice) {
        // sector -> how many writes reached it
        let mut versions = BTreeMap::<usize, u64>::new();
        let mut lengths = vec![image.len()];
        for change in &self.pending {
            match change {
                Change::Write(offset, data) => {
                    for sector in sectors(*offset, data.len()) {
                        *versions.entry(sector).or_default() += 1;
                    }
                    lengths.push(lengths[lengths.len() - 1].max(*offset as usize + data.len()));
                }
                Change::SetLen(len) => lengths.push(*len as usize),
                Change::Sync | Change::FailedSync => {}
            }
        }
        image.set_len(lengths.iter().copied().max().unwrap_or_default());
        versions.values_mut().for_each(|count| *count = dice.below(*count + 1));
        for change in &self.pending {
            let Change::Write(offset, data) = change else { continue };
            let offset = *offset as usize;
            for sector in sectors(offset as u64, data.len()) {
                let Some(left @ 1..) = versions.get_mut(&sector) else { continue };
                *left -= 1;
                let from = (sector * SECTOR).max(offset);
                let to = ((sector + 1) * SECTOR).min(offset + data.len());
                image.write(from, &data[from - offset..to - offset]);
            }
        }
        image.set_len(lengths[dice.below(lengths.len() as u64) as usize]);
    }
}

/// The crash images of everything that was done to a disk, from its first operation on. Made by
/// [`SimulatedDisk::replay`](super::SimulatedDisk::replay).
///
/// ```
/// use headwater_storage::StorageBackend;
/// use headwater_storage::testing::{CrashMode, SimulatedDisk};
/// let disk = SimulatedDisk::new();
/// disk.write(0, b"old")?;
/// disk.sync_data()?;
/// disk.write(0, b"new")?;
/// let mut replay = disk.replay();
/// while replay.advance() {}
/// assert_eq!(replay.image(CrashMode::Lost, 0), b"old");
/// assert_eq!(replay.image(CrashMode::Kept, 0), b"new");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Replay {
    platter: Platter,
    changes: std::vec::IntoIter<Change>,
}

impl Replay {
    pub(super) fn new(start: Pages, changes: Vec<Change>) -> Self {
        Self { platter: Platter::new(start), changes: changes.into_iter() }
    }

    /// Carries out the next write, resize or sync. False when there is none left.
    pub fn advance(&mut self) -> bool {
        self.changes.next().map(|change| self.platter.push(change)).is_some()
    }

    /// How many writes and resizes are not durable here.
    pub fn pending(&self) -> usize {
        self.platter.pending.len()
    }

    /// What a crash here leaves. The seed decides what the mode leaves open.
    pub fn image(&self, mode: CrashMode, seed: u64) -> Vec<u8> {
        self.platter.image(mode, seed).to_vec()
    }

    /// A disk with what a crash here leaves. Shares with this one what neither has written since.
    pub fn disk(&self, mode: CrashMode, seed: u64) -> SimulatedDisk {
        SimulatedDisk::from_pages(self.platter.image(mode, seed))
    }
}

/// Random numbers that are the same for the same seed, everywhere (SplitMix64).
///
/// ```
/// use headwater_storage::testing::Dice;
/// assert_eq!(Dice::new(7).below(100), Dice::new(7).below(100));
/// ```
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, of the whole range.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64().checked_rem(end).unwrap_or(0)
    }
}

pub(super) fn apply(pages: &mut Pages, change: &Change) {
    match change {
        Change::Write(offset, data) => pages.write(*offset as usize, data),
        Change::SetLen(len) => pages.set_len(*len as usize),
        Change::Sync | Change::FailedSync => {}
    }
}

fn sectors(offset: u64, len: usize) -> std::ops::Range<usize> {
    let start = offset as usize;
    start / SECTOR..(start + len).div_ceil(SECTOR)
}
