use headwater::replica::MergeRequest;
use headwater::{Collection, EntityId, Map, Replica, SpaceId, Text, Value};
use headwater_storage::{ChangeRecord, CollectionName, PayloadKind};
use serde::{Deserialize, Serialize};

use super::{Devices, Edit, FIELD, Form};
use crate::{Clock, Random};

const COLLECTION: &str = "bodies";

/// Devices in memory, whose changes are carried by hand.
#[derive(Debug)]
pub struct InMemory {
    replicas: Vec<Replica>,
    entity: EntityId,
}

#[derive(Serialize, Deserialize)]
struct Typed {
    body: Text,
}

impl InMemory {
    /// As many replicas, whose random numbers follow from a seed.
    ///
    /// # Panics
    /// Never: a replica in memory opens.
    #[expect(clippy::unwrap_used, reason = "a replica in memory that does not open fails the test")]
    pub fn new(devices: usize, seed: u64) -> InMemory {
        let mut random = Random::new(seed);
        let replicas = (0..devices)
            .map(|_| Replica::in_memory(Clock::new(random.split(), Default::default(), 0)).unwrap())
            .collect();
        InMemory { replicas, entity: EntityId::from_bytes([7; 16]) }
    }

    fn space() -> SpaceId {
        SpaceId::from_name("home")
    }

    #[expect(clippy::unwrap_used, reason = "the test fails by panicking")]
    fn typed(&self, device: usize) -> Collection<Typed> {
        self.replicas[device].space(InMemory::space()).collection(COLLECTION).unwrap()
    }

    #[expect(clippy::unwrap_used, reason = "the test fails by panicking")]
    fn carry(&self, from: usize, to: usize, random: &mut Random) {
        let changes = self.replicas[from].entity_changes(InMemory::space(), self.entity).unwrap();
        let record = |(hash, payload)| ChangeRecord {
            entity: self.entity,
            collection: CollectionName::new(COLLECTION).unwrap(),
            kind: PayloadKind::Change,
            hash,
            payload,
        };
        let mut records: Vec<ChangeRecord> = changes.into_iter().map(record).collect();
        if records.len() < 100 && random.chance(30) {
            random.shuffle(&mut records);
        }
        let merged =
            self.replicas[to].merge(InMemory::space(), MergeRequest { records, position: None }).unwrap();
        assert_eq!(merged.set_aside, 0);
    }
}

#[expect(clippy::unwrap_used, reason = "the test fails by panicking")]
impl Devices for InMemory {
    fn len(&self) -> usize {
        self.replicas.len()
    }

    fn create(&mut self, fields: Map) {
        let first = self.typed(0);
        first.as_dynamic().upsert_all([(self.entity, fields)]).unwrap();
        for device in 1..self.len() {
            self.carry(0, device, &mut Random::new(0));
        }
    }

    fn write(&mut self, device: usize, form: Form, edit: &Edit, random: &mut Random) {
        let items = self.typed(device);
        if form == Form::Text && random.chance(40) {
            let splice = |typed: &mut Typed| {
                for (position, deleted, inserted) in &edit.splices {
                    typed.body.splice(*position, *deleted, inserted);
                }
            };
            items.update(self.entity, splice).unwrap();

            return;
        }
        let whole = match form.render(&edit.after) {
            // Another program's string, and an app's own.
            Value::Text(text) if random.chance(50) => Value::Str(text.to_string()),
            Value::Text(text) if random.chance(50) => {
                items.update(self.entity, |typed| typed.body = text.clone()).unwrap();
                return;
            }
            whole => whole,
        };

        items.as_dynamic().set(self.entity, Map::from([(FIELD.to_owned(), whole)])).unwrap();
    }

    fn meet(&mut self, random: &mut Random) {
        let mut pairs: Vec<(usize, usize)> = (0..self.len())
            .flat_map(|from| (0..self.len()).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        random.shuffle(&mut pairs);
        for (from, to) in pairs {
            self.carry(from, to, random);
        }
    }

    fn read(&mut self, device: usize) -> Value {
        let record = self.typed(device).as_dynamic().get(self.entity).unwrap().unwrap();
        record.fields[FIELD].clone()
    }
}
