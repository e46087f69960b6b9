//! Random edits, of every kind that an app can make.

use std::collections::BTreeMap;

use headwater::{
    Collection, Counter, DynamicCollection, EditError, EntityId, Keyed, Map, Replica, Text, Value,
};
use serde::{Deserialize, Serialize};

use headwater_storage::SpaceId;

use crate::violation::{Promise, Violation};
use crate::{Random, values};

/// Ids that several devices may create on their own, as when each imports the same file.
const SHARED_IDS: usize = 4;

pub(crate) const TYPED: &str = "items";
pub(crate) const DYNAMIC: &str = "things";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Item {
    title: String,
    rating: f64,
    done: bool,
    maybe: Option<i64>,
    notes: Text,
    tally: Counter,
    tags: Vec<String>,
    steps: Keyed<Step>,
    details: BTreeMap<String, i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Step {
    id: u32,
    name: String,
    seconds: u32,
}

/// A space of a world.
pub(crate) fn space(index: usize) -> SpaceId {
    SpaceId::from_name(["home", "work"][index % 2])
}

/// What an edit came to, seen by the program that made it.
pub(crate) type Seen = Result<(), Violation>;

/// Makes one edit. One that has nothing to apply to fails.
pub(crate) fn edit(replica: &Replica, space: SpaceId, random: &mut Random) -> Result<Seen, EditError> {
    if random.chance(65) {
        edit_typed(replica, space, random).map(Ok)
    } else {
        edit_dynamic(replica, space, random)
    }
}

fn edit_typed(replica: &Replica, space: SpaceId, random: &mut Random) -> Result<(), EditError> {
    let items = replica.space(space).collection::<Item>(TYPED)?;
    let Some(id) = existing(replica, space, TYPED, random) else { return insert_typed(&items, random) };
    match random.below(20) {
        0..3 => insert_typed(&items, random)?,
        3 => drop(items.delete(id)?),
        4..6 => drop(items.restore(id)?),
        // As another program would, without the type.
        6 => drop(items.as_dynamic().set(id, Map::from([("notes".into(), word(random).into())]))?),
        7 => drop(items.as_dynamic().set(id, Map::from([("unknown".into(), value(random, 0))]))?),
        _ => {
            let seed = random.bits();
            // The closure may run twice, and has to do the same then.
            items.update(id, |item| {
                let random = &mut Random::new(seed);
                for _ in 0..=random.below(3) {
                    change(item, random);
                }
            })?;
        }
    }
    Ok(())
}

fn insert_typed(items: &Collection<Item>, random: &mut Random) -> Result<(), EditError> {
    let mut item = Item { title: word(random), ..Item::default() };
    for _ in 0..random.below(4) {
        change(&mut item, random);
    }
    if random.chance(60) {
        items.insert_with_id(shared_id(1, random), &item)?;
    } else {
        items.insert(&item)?;
    }
    Ok(())
}

fn change(item: &mut Item, random: &mut Random) {
    match random.below(12) {
        0 => item.title = word(random),
        1 if random.chance(20) => item.rating = values::float(random),
        1 => item.rating = random.below(10) as f64 / 2.0,
        2 => item.done = !item.done,
        3 => item.maybe = random.chance(60).then(|| random.below(9) as i64),
        4..6 => {
            let position = random.below(item.notes.len_chars() + 1);
            let deleted = if random.chance(40) { random.below(6) } else { 0 };
            item.notes.splice(position, deleted, &word(random));
        }
        6 => item.tally.increment(random.below(7) as i64 - 3),
        7 => item.tags.insert(random.below(item.tags.len() + 1), word(random)),
        8 if !item.tags.is_empty() => drop(item.tags.remove(random.below(item.tags.len()))),
        9 => {
            let step = Step { id: random.below(6) as u32, name: word(random), seconds: 0 };
            item.steps.retain(|other| other.id != step.id);
            let index = random.below(item.steps.len() + 1);
            item.steps.insert(index, step);
        }
        10 if !item.steps.is_empty() => {
            let index = random.below(item.steps.len());
            if random.chance(30) {
                item.steps.remove(index);
            } else if let Some(step) = item.steps.get_mut(index) {
                step.seconds += 1;
                step.name = word(random);
            }
        }
        _ => {
            let key = format!("k{}", random.below(4));
            if random.chance(30) {
                item.details.remove(&key);
            } else {
                item.details.insert(key, random.below(100) as i64);
            }
        }
    }
}

fn edit_dynamic(replica: &Replica, space: SpaceId, random: &mut Random) -> Result<Seen, EditError> {
    let things = replica.space(space).dynamic(DYNAMIC)?;
    let name = |random: &mut Random| format!("f{}", random.below(5));
    let Some(id) = existing(replica, space, DYNAMIC, random) else {
        let fields = Map::from([(name(random), value(random, 0))]);
        let id = shared_id(2, random);
        things.upsert_all(vec![(id, fields)])?;
        return Ok(Ok(()));
    };
    match random.below(12) {
        0 => drop(things.insert(Map::from([(name(random), value(random, 0))]))?),
        1 => drop(things.delete(id)?),
        2 => drop(things.restore(id)?),
        3 => drop(things.unset(id, &[&name(random)])?),
        4 => {
            let both = [shared_id(2, random), id];
            let fields = both.map(|id| (id, Map::from([(name(random), value(random, 0))])));
            // One call must not name an entity twice.
            things
                .upsert_all(fields.into_iter().take(if both[0] == id { 1 } else { 2 }).collect::<Vec<_>>())?;
        }
        _ => {
            let fields = (0..=random.below(2)).map(|_| (name(random), value(random, 0))).collect();
            return set(&things, id, fields);
        }
    }
    Ok(Ok(()))
}

/// Sets fields, and reads them back.
fn set(things: &DynamicCollection, id: EntityId, fields: Map) -> Result<Seen, EditError> {
    things.set(id, fields.clone())?;
    let found = things.get(id)?.map(|record| record.fields).unwrap_or_default();
    let is_kept = |(name, wanted): (&String, &Value)| match (found.get(name), wanted) {
        // Exactly, because comparing is what could be broken.
        (Some(Value::Uint(found)), Value::Uint(wanted)) => found == wanted,
        (Some(found), wanted) => found.same(wanted),
        (None, _) => false,
    };
    Ok(Promise::IntentIsKept.hold(fields.iter().all(is_kept), || format!("{fields:?} reads as {found:?}")))
}

/// A random entity of a collection, deleted or not.
fn existing(replica: &Replica, space: SpaceId, collection: &str, random: &mut Random) -> Option<EntityId> {
    let positions = replica.entity_positions(space, None, usize::MAX).ok()?;
    let ids: Vec<EntityId> = positions
        .into_iter()
        .filter(|position| position.collection.as_str() == collection)
        .map(|position| position.entity)
        .collect();
    random.pick(&ids).copied()
}

fn shared_id(family: u8, random: &mut Random) -> EntityId {
    let mut bytes = [family; 16];
    bytes[15] = random.below(SHARED_IDS) as u8;
    EntityId::from_bytes(bytes)
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth < 3 { 13 } else { 10 }) {
        0 => Value::Null,
        1 => Value::Bool(random.chance(50)),
        2 => Value::Int(random.below(100) as i64 - 50),
        3 => Value::Uint(u64::MAX - random.below(9) as u64),
        4 => Value::Float(values::float(random)),
        5 if random.chance(30) => values::scalar(random),
        5 => Value::Str(word(random)),
        6 => Value::Bytes(random.bits().to_be_bytes().to_vec()),
        7 => Value::Timestamp(random.below(1000) as i64),
        8 => Value::Counter(random.below(20) as i64),
        9 => Value::Text(Text::from(word(random))),
        10 => Value::List((0..random.below(4)).map(|_| value(random, depth + 1)).collect()),
        11 => {
            let element = |random: &mut Random| {
                let id = ("id".to_owned(), Value::Int(random.below(4) as i64));
                Value::Map(Map::from([id, ("v".into(), value(random, depth + 2))]))
            };
            let mut elements: Vec<Value> = (0..random.below(4)).map(|_| element(random)).collect();
            let mut seen = Vec::new();
            elements.retain(|element| {
                let id = element.as_map().and_then(|map| map.get("id")).cloned();
                let is_new = !seen.contains(&id);
                seen.push(id);
                is_new
            });
            Value::Keyed("id".into(), elements)
        }
        _ => Value::Map((0..random.below(4)).map(|n| (format!("m{n}"), value(random, depth + 1))).collect()),
    }
}

/// A short string, with characters of one to four bytes in it.
fn word(random: &mut Random) -> String {
    const LETTERS: [&str; 10] = ["a", "b", "c", " ", "é", "ß", "漢", "🌱", "e\u{301}", "\n"];
    (0..random.below(6)).filter_map(|_| random.pick(&LETTERS).copied()).collect()
}
