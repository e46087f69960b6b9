//! Entities with every kind of container, nested in each other, edited apart by devices whose intents are known.
//!
//! 1. `tree`: what an entity holds, and where each word, number and key of it stands.
//! 2. `author`: the edits of one device, and what each was meant to do.
//! 3. `check`: what must have become of them, whatever met, whoever made the entity, and in whatever order it came.
//!
//! [`play`] plays one case. Every word is made once, so it can be told who wrote it.

mod author;
mod check;
mod tree;

use headwater::replica::MergeRequest;
use headwater::{EntityId, Map, Replica, SpaceId};
use headwater_storage::{Bytes, ChangeHash, ChangeRecord, CollectionName, PayloadKind};

use self::author::{Author, Intent};
use crate::{Clock, Random};

const COLLECTION: &str = "things";
/// Edits of one round, over all devices: their changes are delivered in every order.
const EDITS_MAX: usize = 5;
/// Orders in which a case's edits are delivered, unless all are asked for.
const ORDERS: usize = 3;

/// What happens before the devices edit.
enum Began {
    /// One device made the entity, and the others have it.
    Once,
    /// Each device made it, with this.
    Apart(Vec<Map>),
}

/// Whether the edits of a case are delivered in all orders that there are, or in some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    /// In every order: 120 for five edits.
    All,
    /// In a few.
    Some,
}

/// Plays one case: two or three devices, an entity that one of them makes or all of them, two rounds of edits apart.
///
/// # Errors
/// The first intent that was not kept, or what else two replicas disagree on, in words.
///
/// ```
/// use headwater_fuzz::nested::{Orders, play};
/// play(7, Orders::Some).unwrap();
/// ```
pub fn play(seed: u64, orders: Orders) -> Result<(), String> {
    let mut random = Random::new(seed ^ 0x6e65_7374);
    let count = 2 + random.below(2);
    let mut case = Case::new(count, &mut random)?;
    let mut next = 0;
    let mut before = tree::fields(&mut next, &mut random);
    let mut authors = Author::each(count);
    let began = if random.chance(40) {
        let mut begun = vec![before.clone(); count];
        for (device, fields) in begun.iter_mut().enumerate().skip(1) {
            if random.chance(60) {
                // Nobody removes what another one begins with.
                for _ in 0..random.below(3) {
                    authors[device].add(fields, &mut next, &mut random);
                }
            }
        }
        authors = Author::each(count);
        Began::Apart(begun)
    } else {
        Began::Once
    };
    case.begin(&began, &before)?;
    for round in 0..2 {
        let edits = 1 + random.below(EDITS_MAX);
        let mut made = Vec::new();
        for number in 0..edits {
            let device = if number < count { number } else { random.below(count) };
            let held = case.read(device)?;
            let mut after = held.clone();
            authors[device].edit(&mut after, &mut next, &mut random);
            made.extend(case.write(device, &held, &after)?);
        }
        let met = case.meet(&mut random)?;
        case.in_every_order(&made, &met, orders, &mut random)?;
        let intents: Vec<&Intent> = authors.iter().flat_map(|author| &author.intents).collect();
        let apart = match &began {
            Began::Apart(begun) if round == 0 => Some(begun.as_slice()),
            _ => None,
        };
        check::intents(&before, apart, &intents, &met)?;
        before = met;
        authors = Author::each(count);
    }
    case.stands()
}

type Changes = Vec<(ChangeHash, Bytes)>;

/// The devices of a case.
struct Case {
    replicas: Vec<Replica>,
    entity: EntityId,
    /// What all devices have, in the order in which the first one has it.
    base: Changes,
    clocks: Random,
}

fn space() -> SpaceId {
    SpaceId::from_name("home")
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

impl Case {
    fn new(count: usize, random: &mut Random) -> Result<Case, String> {
        let mut clocks = random.split();
        let replicas = (0..count).map(|_| new_replica(&mut clocks)).collect::<Result<_, _>>()?;
        Ok(Case { replicas, entity: EntityId::from_bytes([7; 16]), base: Vec::new(), clocks })
    }

    fn begin(&mut self, began: &Began, fields: &Map) -> Result<(), String> {
        match began {
            Began::Once => {
                self.create(0, fields)?;
                self.base = self.changes(0)?;
                for device in 1..self.replicas.len() {
                    self.give(&self.replicas[device], &self.base)?;
                }
            }
            Began::Apart(begun) => {
                for (device, fields) in begun.iter().enumerate() {
                    self.create(device, fields)?;
                }
            }
        }
        Ok(())
    }

    fn create(&self, device: usize, fields: &Map) -> Result<(), String> {
        let things = self.replicas[device].space(space()).dynamic(COLLECTION).map_err(failed("dynamic"))?;
        things.upsert(self.entity, fields.clone()).map(drop).map_err(failed("create"))
    }

    fn read(&self, device: usize) -> Result<Map, String> {
        read(&self.replicas[device], self.entity)
    }

    /// Writes the fields that differ. Returns the changes that this made.
    fn write(&self, device: usize, held: &Map, after: &Map) -> Result<Vec<Changes>, String> {
        let things = self.replicas[device].space(space()).dynamic(COLLECTION).map_err(failed("dynamic"))?;
        let known = self.changes(device)?.len();
        let gone: Vec<&str> =
            held.keys().filter(|name| !after.contains_key(*name)).map(String::as_str).collect();
        if !gone.is_empty() {
            things.unset(self.entity, &gone).map_err(failed("unset"))?;
        }
        let set: Map = after
            .iter()
            .filter(|(name, value)| held.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !set.is_empty() {
            things.set(self.entity, set).map_err(failed("set"))?;
        }
        let shown = self.read(device)?;
        if shown != *after {
            return Err(format!("device {device} wrote {after:?} and reads {shown:?}"));
        }
        let made = self.changes(device)?.split_off(known);
        Ok(if made.is_empty() { Vec::new() } else { vec![made] })
    }

    fn changes(&self, device: usize) -> Result<Changes, String> {
        self.replicas[device].entity_changes(space(), self.entity).map_err(failed("changes"))
    }

    fn give(&self, to: &Replica, changes: &Changes) -> Result<(), String> {
        let collection = CollectionName::new(COLLECTION).map_err(failed("name"))?;
        let record = |(hash, payload): &(ChangeHash, Bytes)| ChangeRecord {
            entity: self.entity,
            collection: collection.clone(),
            kind: PayloadKind::Change,
            hash: *hash,
            payload: payload.clone(),
        };
        let records = changes.iter().map(record).collect();
        let merged = to.merge(space(), MergeRequest { records, position: None }).map_err(failed("merge"))?;
        if merged.set_aside > 0 {
            return Err(format!("set aside: {:?}", to.space(space()).set_aside()));
        }
        Ok(())
    }

    /// Brings everything to everybody. Returns what all of them read.
    fn meet(&mut self, random: &mut Random) -> Result<Map, String> {
        let mut pairs: Vec<(usize, usize)> = (0..self.replicas.len())
            .flat_map(|from| (0..self.replicas.len()).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        random.shuffle(&mut pairs);
        for (from, to) in pairs {
            self.give(&self.replicas[to], &self.changes(from)?)?;
        }
        let met = self.read(0)?;
        for device in 1..self.replicas.len() {
            let other = self.read(device)?;
            if other != met {
                return Err(format!("two devices that have met read {met:?} and {other:?}"));
            }
        }
        Ok(met)
    }

    /// Delivers what was made to fresh replicas, each time in another order.
    fn in_every_order(
        &mut self,
        made: &[Changes],
        met: &Map,
        orders: Orders,
        random: &mut Random,
    ) -> Result<(), String> {
        let all = self.changes(0)?;
        let is_made = |hash: &ChangeHash| made.iter().flatten().any(|(made, _)| made == hash);
        let base: Changes = all.iter().filter(|(hash, _)| !is_made(hash)).cloned().collect();
        for order in orders_of(made.len(), orders, random) {
            let replica = new_replica(&mut self.clocks)?;
            self.give(&replica, &base)?;
            for index in &order {
                self.give(&replica, &made[*index])?;
            }
            let read = read(&replica, self.entity)?;
            if read != *met {
                return Err(format!("in the order {order:?} the edits come to {read:?}, and not to {met:?}"));
            }
        }
        self.base = all;
        Ok(())
    }

    /// Whether what everybody has is the same after a snapshot, and by a look at all that is stored.
    fn stands(&self) -> Result<(), String> {
        for (device, replica) in self.replicas.iter().enumerate() {
            let before = self.read(device)?;
            let _made = replica.compact_all().map_err(failed("compact"))?;
            let verified = replica.verify().map_err(failed("verify"))?;
            let is_well =
                verified.rows_repaired == 0 && verified.set_aside.is_empty() && verified.alarms.is_empty();
            if !is_well || self.read(device)? != before {
                return Err(format!("device {device} after a snapshot: {verified:?}"));
            }
        }
        Ok(())
    }
}

fn new_replica(clocks: &mut Random) -> Result<Replica, String> {
    Replica::in_memory(Clock::new(clocks.split(), Default::default(), 0)).map_err(failed("open"))
}

fn read(replica: &Replica, entity: EntityId) -> Result<Map, String> {
    let things = replica.space(space()).dynamic(COLLECTION).map_err(failed("dynamic"))?;
    let record = things.get(entity).map_err(failed("read"))?;
    record.map(|record| record.fields).ok_or_else(|| "the entity is not there".to_owned())
}

fn orders_of(count: usize, orders: Orders, random: &mut Random) -> Vec<Vec<usize>> {
    if orders == Orders::Some {
        let mut order: Vec<usize> = (0..count).collect();
        return (0..ORDERS.min(1 << count))
            .map(|_| {
                random.shuffle(&mut order);
                order.clone()
            })
            .collect();
    }
    let mut all = vec![Vec::new()];
    for next in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, next);
                    longer
                })
            })
            .collect();
    }
    all
}
