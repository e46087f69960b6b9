//! Replicas with the dataset in them. Clock and randomness are fixed, so every run stores the same bytes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater::{Collection, EntityId, Environment, Replica, SpaceId};
use headwater_storage::OutboxSeq;

use crate::OrExit;
use crate::record::{Bag, EDITS, Random};

/// The space that everything is in.
pub const SPACE: &str = "home";
/// The collection that everything is in.
pub const COLLECTION: &str = "coffee_bags";

/// Entities per transaction while preparing: their documents stay in the replica's cache from edit to edit.
const BATCH: usize = 200;
const START_MS: u64 = 1_760_000_000_000;

/// A clock that moves by a millisecond whenever it is read, and randomness from a seed.
pub struct Fixed {
    now_ms: AtomicU64,
    random: Mutex<Random>,
}

impl Fixed {
    /// A replica with another seed is another device.
    pub fn seeded(seed: u64) -> Fixed {
        Fixed { now_ms: AtomicU64::new(START_MS), random: Mutex::new(Random::seeded(seed)) }
    }
}

impl Environment for Fixed {
    fn now_ms(&self) -> u64 {
        self.now_ms.fetch_add(1, Ordering::Relaxed)
    }

    fn random(&self) -> u128 {
        let mut random = self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
    }
}

/// Opens the replica at `path`, on the device that `seed` stands for.
pub fn open(path: &Path, seed: u64) -> Replica {
    Replica::open_with(path, Fixed::seeded(seed)).or_exit("opening a replica")
}

/// The collection of the dataset.
pub fn bags(replica: &Replica) -> Collection<Bag> {
    replica.space(SPACE).collection(COLLECTION).or_exit("opening the collection")
}

/// The id of [`SPACE`].
pub fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

/// Adds `count` records with five edits each, and gives their ids in ascending order.
pub fn fill(replica: &Replica, count: usize) -> Vec<EntityId> {
    let bags = bags(replica);
    let mut random = Random::seeded(99);
    let mut ids = Vec::with_capacity(count);
    let records: Vec<Bag> = (0..count as u64).map(Bag::numbered).collect();
    for (batch, records) in records.chunks(BATCH).enumerate() {
        let new: Vec<(EntityId, &Bag)> =
            records.iter().zip(0..).map(|(bag, n)| (id(batch * BATCH + n, &mut random), bag)).collect();
        bags.insert_all(new.iter().copied()).or_exit("inserting the records");
        for edit in 0..EDITS {
            let edits = new.iter().map(|(id, bag)| (*id, bag.edit(edit)));
            bags.as_dynamic().upsert_all(edits).or_exit("editing the records");
        }
        ids.extend(new.into_iter().map(|(id, _)| id));
    }
    ids
}

/// A closed replica at `path` with `count` records in it.
pub fn fill_and_close(path: &Path, count: usize) -> Vec<EntityId> {
    fill(&open(path, 1), count)
}

/// Takes everything out of the outbox, as a relay's acknowledgements would.
pub fn acknowledge_all(replica: &Replica) {
    loop {
        let waiting =
            replica.outbox(space(), OutboxSeq::ZERO, 4096, usize::MAX).or_exit("reading the outbox");
        if waiting.is_empty() {
            return;
        }
        let seqs = waiting.into_iter().map(|entry| entry.seq).collect();
        replica.acknowledge(space(), seqs, Vec::new(), None).or_exit("acknowledging");
    }
}

/// A UUIDv7 whose time is the record's number, so that later records sort later as an app's would.
fn id(number: usize, random: &mut Random) -> EntityId {
    let ms = START_MS + number as u64;
    let mut bytes = (u128::from(ms) << 80 | u128::from(random.next_u64())).to_be_bytes();
    bytes[6] = 0x70;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    EntityId::from_bytes(bytes)
}
