//! An app that never reads a list again: what it makes of the patches has to be what reads answer.

use std::collections::BTreeMap;

use headwater::replica::Patches;
use headwater::{EntityId, Map, PatchKind, ReadError, Replica, SpaceId};

use crate::violation::{Promise, Violation};

/// Space, collection, and id.
type Key = (SpaceId, String, EntityId);
/// What there is of each entity: its fields, or none where it is deleted.
type Known = BTreeMap<Key, Option<Map>>;

pub(crate) struct Listener {
    patches: Patches,
    known: Known,
}

impl Listener {
    /// Reads everything once, and only listens from then on.
    pub(crate) fn new(replica: &Replica) -> Result<Listener, ReadError> {
        Ok(Listener { patches: replica.patches(), known: read(replica)? })
    }

    /// Takes in what it was told, and compares.
    pub(crate) fn hear(&mut self, replica: &Replica) -> Result<Result<(), Violation>, ReadError> {
        while let Some(patch) = self.patches.try_next() {
            let Ok(patch) = patch else {
                return Ok(Err(Violation::new(Promise::ListenersKnow, "patches were missed")));
            };
            let collection = patch.collection.to_string();
            let now = match replica.space(patch.space).dynamic(&collection) {
                Ok(collection) => collection.get(patch.entity)?.map(|record| record.fields),
                Err(error) => return Ok(Err(Violation::failed("collection")(error))),
            };
            // Whether it is there the patch says, and nothing that is read.
            let now = now.unwrap_or_default();
            let read = patch.fields.iter().filter_map(|field| Some((field.clone(), now.get(field)?.clone())));
            let key = (patch.space, collection, patch.entity);
            match patch.kind {
                PatchKind::Updated => {
                    let fields = self.known.entry(key).or_default().get_or_insert_default();
                    fields.retain(|field, _| !patch.fields.contains(field));
                    fields.extend(read);
                }
                PatchKind::Deleted => {
                    self.known.insert(key, None);
                }
                PatchKind::Withdrawn => {
                    self.known.remove(&key);
                }
                _ => {
                    self.known.insert(key, Some(read.collect()));
                }
            }
        }
        let there = self::read(replica)?;
        Ok(Promise::ListenersKnow.hold(self.known == there, || {
            let differs = |key: &&Key| self.known.get(*key) != there.get(*key);
            let all: Vec<&Key> = self.known.keys().chain(there.keys()).filter(differs).collect();
            let first = all.first().map(|key| (self.known.get(*key), there.get(*key)));
            format!("{all:?}: told and read: {first:?}")
        }))
    }
}

/// What reads answer.
fn read(replica: &Replica) -> Result<Known, ReadError> {
    let mut known = Known::new();
    for space in replica.spaces() {
        for name in replica.space(space).collections() {
            let Ok(collection) = replica.space(space).dynamic(name.as_str()) else { continue };
            for record in collection.iter() {
                let record = record?;
                known.insert((space, name.to_string(), record.id), Some(record.fields));
            }
        }
        for position in replica.entity_positions(space, None, usize::MAX)? {
            let key = (space, position.collection.to_string(), position.entity);
            if known.contains_key(&key) {
                continue;
            }
            let Ok(collection) = replica.space(space).dynamic(&key.1) else { continue };
            if collection.meta(position.entity)?.is_some() {
                known.insert(key, None);
            }
        }
    }
    Ok(known)
}
