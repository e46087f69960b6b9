//! One id that devices give in two collections. What was written into the collection that gives way is set aside;
//! once an app makes it again, everybody has every word that anybody wrote.

use std::collections::BTreeSet;

use headwater::replica::AsideCause;
use headwater::{EditError, EntityId, Map, ReapplyError, Replica, SpaceId, Value};
use headwater_storage::StoreError;

use crate::Random;
use crate::violation::{Promise, Violation};

const COLLECTIONS: [&str; 2] = ["left", "right"];
/// A new one is worth more than an old one: what clashes, clashes once.
const IDS: usize = 4;

fn id(number: usize) -> EntityId {
    EntityId::from_bytes([0x40 + number as u8; 16])
}

/// Whether changes of an entity can leave the devices that made them, because its id is in two collections.
pub(crate) fn is_clashing(entity: EntityId) -> bool {
    (0..IDS).any(|number| id(number) == entity)
}

/// Writes a word that nobody else has, and says which.
pub(crate) fn edit(replica: &Replica, space: SpaceId, random: &mut Random) -> Result<String, EditError> {
    let id = id(random.below(IDS));
    let held = replica.collection_of(space, id)?;
    let first = *random.pick(&COLLECTIONS).unwrap_or(&COLLECTIONS[0]);
    let collection = held.as_ref().map_or(first, |held| held.as_str());
    let word = format!("w{:016x}", random.bits());
    let fields = Map::from([(word.clone(), Value::Bool(true))]);
    let things = replica.space(space).dynamic(collection)?;
    if things.exists(id)? {
        things.set(id, fields)?;
    } else {
        things.upsert(id, fields)?;
    }
    Ok(word)
}

/// Makes again what gave way, as an app does once it hears of it.
pub(crate) fn make_again(replica: &Replica, space: SpaceId) -> Result<(), ReapplyError> {
    for aside in replica.space(space).set_aside()? {
        if aside.direction == AsideCause::OtherCollection {
            match replica.space(space).reapply(aside.record.entity, aside.record.hash) {
                // The feed has come back to the collection, and it was made again before.
                Ok(_) | Err(ReapplyError::Done(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What is set aside although nothing clashes.
pub(crate) fn set_aside(replica: &Replica, space: SpaceId) -> Result<Vec<String>, StoreError> {
    let aside = replica.space(space).set_aside()?.into_iter();
    let aside = aside.filter(|aside| {
        let may_be = matches!(aside.direction, AsideCause::OtherCollection | AsideCause::Refused);
        !(may_be && is_clashing(aside.record.entity))
    });
    Ok(aside.map(|aside| format!("{aside:?}")).collect())
}

/// Every word is there, on a replica that has heard of everything.
pub(crate) fn check<'a>(
    replica: &Replica,
    space: SpaceId,
    words: impl Iterator<Item = &'a BTreeSet<String>>,
) -> Result<(), Violation> {
    let mut there = BTreeSet::new();
    for collection in COLLECTIONS {
        let things = replica.space(space).dynamic(collection).map_err(Violation::failed("open"))?;
        for record in things.iter() {
            there.extend(record.map_err(Violation::failed("read"))?.fields.into_keys());
        }
    }
    for word in words.flatten() {
        Promise::IntentIsKept.hold(there.contains(word), || format!("{word} is in neither collection"))?;
    }
    Ok(())
}
