//! Fields that a type writes by another name than the one they are stored under: it was renamed, and reads the old name too
//! (`#[serde(alias = "old")]`).
//!
//! Such a field is read and written under its stored name, at every depth. A write of the new name beside the old one would make
//! the entity unreadable for the new version of the app, and the old version would not see the edit.
//!
//! serde tells nobody which names are one field, and hides everything inside enums with tags and flattened structs. So the type
//! itself is asked, with the entity at hand: two names are one field if the type reads the stored value by the other name as the
//! same, and does not read the two side by side. The answer holds for the type, and is kept.

mod carry;
mod meet;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::{DecodeError, Map, Value, fingerprint};
use meet::{Meet, Outline, lacks, meets};

/// Answers that are kept. More than a type can have, unless an app's data is in the names.
const KNOWN_MAX: usize = 4_096;
/// Places that are asked about one by one. Where two names meet at more, the rest are asked about together.
const ASKED_APART_MAX: usize = 64;
/// How often a field that is there twice is looked for in one entity, and how many of its names are tried each time.
const TWICE_MAX: usize = 64;
const TRIES_MAX: usize = 1_024;
/// A map with more entries than this is keyed by data: what is in it is of one type.
const STRUCT_FIELDS_MAX: usize = 32;

/// One step from the root of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field, a key of a map, a case of an enum, a place of a tuple.
    Name(String),
    /// Any element of a list, or any entry of a map keyed by data.
    Element,
}

/// The names that are one field: at each place the stored ones with those that the type writes.
type Pairs = BTreeMap<Vec<Step>, Vec<(String, String)>>;

/// What one type says of the names of its fields.
#[derive(Debug, Default)]
pub(crate) struct StoredNames {
    /// Whether the two names that meet at a place are one field.
    meets: Mutex<HashMap<Meet, bool>>,
    /// Stored names that stand beside another name of the same field, which the type reads in their stead.
    hidden: Mutex<HashSet<Meet>>,
}

impl StoredNames {
    /// Gives what an app saw of an entity, and what it made of it, the names under which the fields are stored.
    ///
    /// `read` reads fields as the type, and says what that writes.
    pub(crate) fn keep(
        &self,
        stored: &Map,
        before: &mut Map,
        after: &mut Map,
        read: impl Fn(Map) -> Option<Map>,
    ) {
        if !lacks(stored, before) {
            return;
        }
        let mut stored = stored.clone();
        self.hide(&mut stored);
        let stored = Value::Map(stored);
        let written = before.clone();
        let (mut seen, mut made) = (Value::Map(std::mem::take(before)), Value::Map(std::mem::take(after)));
        let mut settled = BTreeSet::new();
        // A level at a time: what is inside a renamed field meets once the field has its stored name.
        loop {
            let mut outline = Outline::default();
            outline.add(&seen);
            outline.add(&made);
            let fresh: BTreeSet<Meet> =
                meets(&stored, &seen, &outline).difference(&settled).cloned().collect();
            let pairs = self.pairs(&stored, &written, &fresh, &read);
            if pairs.is_empty() {
                break;
            }
            settled.extend(fresh);
            let was = seen.clone();
            carry::names(&pairs, &stored, &was, &mut made);
            carry::names(&pairs, &stored, &was, &mut seen);
        }
        let map = |value| if let Value::Map(map) = value { map } else { Map::new() };
        (*before, *after) = (map(seen), map(made));
    }

    /// Which of the names that meet are one field.
    fn pairs(
        &self,
        stored: &Value,
        written: &Map,
        meets: &BTreeSet<Meet>,
        read: &impl Fn(Map) -> Option<Map>,
    ) -> Pairs {
        let mut known = self.meets.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > KNOWN_MAX {
            known.clear();
        }
        let asked: Vec<&Meet> = meets.iter().filter(|meet| !known.contains_key(*meet)).collect();
        let (apart, rest) = asked.split_at(asked.len().min(ASKED_APART_MAX));
        let mut groups: Vec<Vec<&Meet>> = apart.iter().map(|meet| vec![*meet]).collect();
        let mut by_names: BTreeMap<_, Vec<&Meet>> = BTreeMap::new();
        for meet in rest {
            by_names.entry((&meet.stored, &meet.written)).or_default().push(meet);
        }
        groups.extend(by_names.into_values());
        for group in groups {
            let is_one = are_one(stored, written, &group, read);
            known.extend(group.into_iter().map(|meet| (meet.clone(), is_one)));
        }
        let mut pairs = Pairs::new();
        for meet in meets.iter().filter(|meet| known.get(*meet).copied().unwrap_or_default()) {
            pairs.entry(meet.place.clone()).or_default().push((meet.stored.clone(), meet.written.clone()));
        }
        pairs
    }

    /// Reads fields as a type. Of a field that is there by two of its names, the type gets the one that it writes: two devices with
    /// different versions of the app can each have written theirs.
    ///
    /// `read` reads fields; `again` gives them once more, should they be needed.
    pub(crate) fn read<T, E>(
        &self,
        mut fields: Map,
        read: impl Fn(Map) -> Result<T, DecodeError>,
        again: impl FnOnce() -> Result<Option<Map>, E>,
    ) -> Result<Result<T, DecodeError>, E> {
        self.hide(&mut fields);
        let mut error = match read(fields) {
            Err(error) if error.twice().is_some() => error,
            result => return Ok(result),
        };
        let Some(mut fields) = again()? else { return Ok(Err(error)) };
        for _ in 0..TWICE_MAX {
            self.hide(&mut fields);
            error = match read(fields.clone()) {
                Err(error) if error.twice().is_some() => error,
                result => return Ok(result),
            };
            let Some(found) = double(&fields, &error, |fields| read(fields).err()) else { break };
            let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
            if hidden.len() > KNOWN_MAX {
                hidden.clear();
            }
            hidden.insert(found);
        }
        Ok(Err(error))
    }

    /// Leaves out the names beside which another name of the same field stands.
    fn hide(&self, fields: &mut Map) {
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if !hidden.is_empty() {
            meet::visit_fields(fields, &mut |place, map| {
                for meet in hidden.iter().filter(|meet| meet.place == place) {
                    if map.contains_key(&meet.written) {
                        map.remove(&meet.stored);
                    }
                }
            });
        }
    }
}

/// Whether two names are one field, everywhere where they meet.
fn are_one(stored: &Value, written: &Map, meets: &[&Meet], read: &impl Fn(Map) -> Option<Map>) -> bool {
    let reads_the_same = |change: fn(&mut Map, &Meet)| {
        let mut fields = stored.clone();
        meet::visit(&mut fields, &mut Vec::new(), &mut |place, map| {
            for meet in meets {
                if meet.place == place && map.contains_key(&meet.stored) && !map.contains_key(&meet.written) {
                    change(map, meet);
                }
            }
        });
        let Value::Map(fields) = fields else { return false };
        read(fields).is_some_and(|read| alike(&Value::Map(read), written))
    };
    let renamed = |map: &mut Map, meet: &Meet| {
        if let Some(value) = map.remove(&meet.stored) {
            map.insert(meet.written.clone(), value);
        }
    };
    let beside = |map: &mut Map, meet: &Meet| {
        if let Some(value) = map.get(&meet.stored).cloned() {
            map.insert(meet.written.clone(), value);
        }
    };
    reads_the_same(renamed) && !reads_the_same(beside)
}

/// Whether two readings say the same. The elements of a set come in any order.
fn alike(a: &Value, b: &Map) -> bool {
    let Value::Map(a) = a else { return false };
    a.len() == b.len() && a.iter().zip(b).all(|((a_name, a), (b_name, b))| a_name == b_name && same(a, b))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Map(_), Value::Map(b)) => alike(a, b),
        (Value::Variant(a_name, a), Value::Variant(b_name, b)) => a_name == b_name && same(a, b),
        (Value::List(a), Value::List(b)) if a != b => {
            let sorted = |items: &[Value]| {
                let mut items: Vec<Vec<u8>> = items.iter().map(fingerprint).collect();
                items.sort_unstable();
                items
            };
            a.len() == b.len() && sorted(a) == sorted(b)
        }
        _ => a == b,
    }
}

/// Finds the name that has to be left out, so that a field is there by one name only.
fn double(fields: &Map, error: &DecodeError, read: impl Fn(Map) -> Option<DecodeError>) -> Option<Meet> {
    let (place, name) = error.twice()?;
    let place = meet::widened(&Value::Map(fields.clone()), &place);
    let mut candidates = BTreeSet::new();
    let mut copy = fields.clone();
    meet::visit_fields(&mut copy, &mut |at, map| {
        // What is behind a tag, or flattened, is read from the place of the tag or of the outer struct.
        if at.starts_with(&place) {
            let has_name = map.contains_key(name);
            for other in map.keys().filter(|other| *other != name) {
                let beside = if has_name {
                    Some(name)
                } else {
                    map.keys().map(String::as_str).rfind(|last| last != other)
                };
                candidates.extend(beside.map(|beside| (!has_name, Meet::new(at, other, beside))));
            }
        }
    });
    let helps = |meet: &Meet| {
        let mut fields = fields.clone();
        meet::visit_fields(&mut fields, &mut |at, map| {
            if at == meet.place && map.contains_key(&meet.written) {
                map.remove(&meet.stored);
            }
        });
        read(fields).is_none_or(|after| after.twice() != error.twice() && after.twice().is_some())
    };
    candidates.into_iter().take(TRIES_MAX).map(|(_, meet)| meet).find(helps)
}
