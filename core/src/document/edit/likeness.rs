//! How an element of a list is recognised whose content is another one: by its name, or by what else is in it.

use std::collections::HashSet;

use crate::model::{Likeness, Map, Value, are_alike};

/// Of two longer strings than this, in bytes, each is taken for the other one, edited: to compare them takes too long.
const NAME_BYTES_MAX: usize = 256;

/// Whether an element that took another's place is that one, edited.
pub(crate) fn likeness(old: &Value, new: &Value, names: Option<&Names<'_>>) -> Likeness {
    let is_similar = match (old, new) {
        (Value::Map(old), Value::Map(new)) => match names.and_then(|names| names.compare(old, new)) {
            Some(Likeness::Similar) => are_mostly_equal(old, new, names),
            Some(likeness) => return likeness,
            None => are_mostly_equal(old, new, names),
        },
        // A list in a list has nothing to be known by but its place, and merges inside.
        (Value::List(_) | Value::Keyed(..) | Value::Tuple(_), _) => {
            std::mem::discriminant(old) == std::mem::discriminant(new)
        }
        (Value::Variant(name, _), Value::Variant(other, _)) => name == other,
        (Value::Text(_), Value::Text(_)) => is_similar_name(old, new),
        _ => false,
    };
    if is_similar { Likeness::Similar } else { Likeness::Other }
}

/// Whether at least half of the fields are the same, the name left aside.
fn are_mostly_equal(old: &Map, new: &Map, names: Option<&Names<'_>>) -> bool {
    let counts = |key: &str| names.is_none_or(|names| names.field != key);
    let is_equal = |(key, value): &(&String, &Value)| new.get(*key).is_some_and(|new| new.same(value));
    let equal = old.iter().filter(|(key, _)| counts(key)).filter(is_equal).count();
    let all = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    2 * equal >= all.filter(|key| counts(key)).count()
}

/// Whether a name is another spelling of the other: at least half of the longer one's letters are in both.
fn is_similar_name(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_str(), new.as_str()) else { return false };
    if old.len().max(new.len()) > NAME_BYTES_MAX {
        return old.len().min(new.len()) > NAME_BYTES_MAX;
    }
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    are_alike(&old, &new)
}

/// What tells the records of two lists apart: a field with a string or whole number that each has and no two share.
pub(crate) struct Names<'a> {
    field: &'a str,
    old: HashSet<Name<'a>>,
    new: HashSet<Name<'a>>,
}

#[derive(PartialEq, Eq, Hash)]
enum Name<'a> {
    Str(&'a str),
    Int(i64),
}

impl<'a> Names<'a> {
    /// Of several fields that could be it, the one whose values most records have in both lists.
    pub(crate) fn of(before: &'a [Value], after: &'a [Value]) -> Option<Names<'a>> {
        let mut best: Option<((usize, bool), Names<'a>)> = None;
        for (field, value) in before.first()?.as_map()? {
            let (Some(old), Some(new)) = (names_in(before, field), names_in(after, field)) else { continue };
            let rank = (old.intersection(&new).count(), value.as_str().is_some());
            if best.as_ref().is_none_or(|(best, _)| *best < rank) {
                best = Some((rank, Names { field, old, new }));
            }
        }
        best.map(|(_, names)| names)
    }

    /// What a record is called.
    pub(crate) fn name_in<'b>(&self, record: &'b Map) -> Option<&'b Value> {
        record.get(self.field)
    }

    /// `None` if one of the two has no name.
    fn compare(&self, old: &Map, new: &Map) -> Option<Likeness> {
        let (old, new) = (self.name_in(old)?, self.name_in(new)?);
        if old.same(new) {
            return Some(Likeness::Same);
        }
        // A record whose name is still in the list, or was there before, is that record and was not renamed.
        let is_elsewhere = self.new.contains(&Name::of(old)?) || self.old.contains(&Name::of(new)?);
        Some(if !is_elsewhere && is_similar_name(old, new) { Likeness::Similar } else { Likeness::Other })
    }
}

impl Name<'_> {
    fn of(value: &Value) -> Option<Name<'_>> {
        match value {
            Value::Str(name) => Some(Name::Str(name)),
            Value::Int(number) => Some(Name::Int(*number)),
            _ => None,
        }
    }
}

/// The values of a field, if every element is a record that has one of its own.
fn names_in<'a>(values: &'a [Value], field: &str) -> Option<HashSet<Name<'a>>> {
    let mut names = HashSet::with_capacity(values.len());
    let all_differ = values.iter().all(|value| {
        let name = value.as_map().and_then(|map| map.get(field)).and_then(Name::of);
        name.is_some_and(|name| names.insert(name))
    });
    all_differ.then_some(names)
}
