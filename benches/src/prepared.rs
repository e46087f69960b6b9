//! Replicas with the dataset in them. Clock and randomness are fixed, so every run stores the same bytes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{Automerge, ROOT, ScalarValue};
use bytes::Bytes;
use headwater::{Collection, EntityId, Environment, Replica, SpaceId};
use headwater_storage::{ChangeHash, ChangeRecord, CollectionName, OutboxSeq, PayloadKind};

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

/// Changes that were made beforehand, for load that keeps nothing: entities, and edits of one field each. Made by Automerge alone, which
/// takes a tenth of the time that a replica takes.
///
/// ```
/// use headwater_benches::prepared::Edits;
/// let edits = Edits::make(2, 3);
/// assert_eq!(edits.of_each.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
/// ```
pub struct Edits {
    /// Of each entity: its creation, then its edits.
    pub of_each: Vec<Vec<ChangeRecord>>,
}

impl Edits {
    /// `edits` edits of each of `entities` entities.
    pub fn make(entities: usize, edits: usize) -> Edits {
        Edits::seeded(98, entities, edits)
    }

    /// The same, of other entities for every `seed`.
    pub fn seeded(seed: u64, entities: usize, edits: usize) -> Edits {
        let mut random = Random::seeded(seed);
        let each = (0..entities).map(|number| changes(id(number, &mut random), number as u64, edits));
        Edits { of_each: each.collect() }
    }
}

/// The creation of an entity, and edits of its rating.
fn changes(entity: EntityId, number: u64, edits: usize) -> Vec<ChangeRecord> {
    let collection = CollectionName::new(COLLECTION).or_exit("naming");
    let actor = [entity.as_bytes().as_slice(), &[1; 16]].concat();
    let mut document = Automerge::new().with_actor(actor.into());
    let fields = serde_json::to_value(Bag::numbered(number)).or_exit("writing JSON");
    let fields = json_map(&fields);
    let rating = |edit: usize| vec![("rating".to_owned(), ScalarValue::F64(edit as f64 / 8.0))];
    let mut commit = |fields: Vec<(String, ScalarValue)>| {
        let mut transaction = document.transaction();
        for (name, value) in fields {
            transaction.put(ROOT, name, value).or_exit("putting");
        }
        transaction.commit_with(CommitOptions::default().with_time(0));
        let change = document.get_last_local_change().or_exit("making a change");
        ChangeRecord {
            entity,
            collection: collection.clone(),
            kind: PayloadKind::Change,
            hash: ChangeHash::from_bytes(change.hash().0),
            payload: Bytes::copy_from_slice(change.raw_bytes()),
        }
    };
    let created = commit(fields);
    std::iter::once(created).chain((0..edits).map(|edit| commit(rating(edit)))).collect()
}

fn json_map(fields: &serde_json::Value) -> Vec<(String, ScalarValue)> {
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::Bool(value) => ScalarValue::Boolean(*value),
        serde_json::Value::String(value) => ScalarValue::Str(value.as_str().into()),
        number => number
            .as_i64()
            .map_or_else(|| ScalarValue::F64(number.as_f64().unwrap_or_default()), ScalarValue::Int),
    };
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(name, field)| (name.clone(), value(field))).collect()
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
