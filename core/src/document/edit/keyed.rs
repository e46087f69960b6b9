//! Lists whose elements are told apart by a key: a map by key, in which each element says where it stands.
//!
//! A key is there once because a map holds it once. A move writes one register of the element, so it meets an edit of the same
//! element without harm, and two moves end with one of the two places. A removal is a mark, so the element and what others write
//! into it meanwhile are still there when the key is added again.

use std::collections::{HashMap, HashSet};

use automerge::{ObjId, ObjType, ScalarValue};

use super::order::{self, PLACE_BYTES_MAX};
use super::write::Writer;
use super::write_map;
use crate::document::WriteError;
use crate::document::show::keys::key_name;
use crate::document::show::place::{KEYED_KEY, PLACE_KEY, Place, REMOVED_KEY, Shown};
use crate::model::{Map, Value};

/// Checks that each element of a list has a key of its own.
pub(crate) fn check_keys(field: &str, key: &str, items: &[Value]) -> Result<(), WriteError> {
    names(field, key, items).map(|_| ())
}

/// The names of a list's elements.
fn names(field: &str, key: &str, items: &[Value]) -> Result<Vec<String>, WriteError> {
    let mut seen = HashSet::with_capacity(items.len());
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = item.as_map().and_then(|element| key_name(element.get(key)?));
        let Some(name) = name.filter(|name| seen.insert(name.clone())) else {
            return Err(WriteError::BadKey { field: field.to_owned(), key: key.to_owned(), at: names.len() });
        };
        names.push(name);
    }
    Ok(names)
}

/// The elements of a list that takes the place of one with the key `key`. `None` if it is of another kind: told apart by another
/// field, or no list of records.
pub(crate) fn coerced<'a>(
    field: &str,
    key: &str,
    list: &'a Value,
) -> Result<Option<&'a [Value]>, WriteError> {
    match list {
        Value::Keyed(other, items) => Ok((other == key).then_some(items)),
        Value::List(items) if items.iter().any(|item| item.as_map().is_none()) => Ok(None),
        Value::List(items) => {
            check_keys(field, key, items)?;
            Ok(Some(items))
        }
        _ => Ok(None),
    }
}

/// Fills a new map with a whole list. Its bytes follow from the list alone.
pub(crate) fn put_keyed(
    writer: &mut Writer<'_>,
    map: &ObjId,
    key: &str,
    items: &[Value],
) -> Result<(), WriteError> {
    let maps = std::slice::from_ref(map);
    writer.put(Place::Field { maps, name: KEYED_KEY }, key.into())?;
    put_elements(writer, maps, key, items, 0)
}

/// Adds elements behind the first `from` of a list that is made.
pub(crate) fn put_elements(
    writer: &mut Writer<'_>,
    maps: &[ObjId],
    key: &str,
    items: &[Value],
    from: usize,
) -> Result<(), WriteError> {
    for (index, (name, item)) in names("", key, items)?.iter().zip(items).enumerate() {
        put_element(writer, Place::Field { maps, name }, &order::nth(from + index), key, item)?;
    }
    Ok(())
}

fn put_element(
    writer: &mut Writer<'_>,
    place: Place<'_>,
    at: &str,
    key: &str,
    item: &Value,
) -> Result<(), WriteError> {
    let maps = &[writer.put_object(place, ObjType::Map)?];
    writer.put(Place::Field { maps, name: PLACE_KEY }, at.into())?;
    write_map(writer, maps, &Map::new(), &Map::new(), &fields_of(item, key))
}

/// Writes the edit that leads from `before` to `after`, by key.
pub(crate) fn write_keyed(
    writer: &mut Writer<'_>,
    maps: &[ObjId],
    key: &str,
    current: &[Value],
    before: &[Value],
    after: &[Value],
) -> Result<(), WriteError> {
    let here = by_name(current, key);
    let seen = by_name(before, key);
    let names = names("", key, after)?;
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    for item in before {
        let name = item.as_map().and_then(|element| key_name(element.get(key)?));
        if let Some(name) = name.filter(|name| !wanted.contains(name.as_str()) && here.contains_key(name)) {
            for element in elements(writer, Place::Field { maps, name: &name })? {
                let maps = &[element];
                writer.put(Place::Field { maps, name: REMOVED_KEY }, ScalarValue::Boolean(true))?;
            }
        }
    }
    let places = places(writer, maps, &names, &here)?;
    for ((name, item), at) in names.iter().zip(after).zip(places) {
        let place = Place::Field { maps, name };
        let Some(held) = here.get(name) else {
            add(writer, place, at.as_deref(), key, item)?;
            continue;
        };
        let held = &current[*held];
        let before = seen.get(name).map_or(held, |index| &before[*index]);
        let is_edited = !before.satisfies(item);
        if at.is_none() && !is_edited {
            continue;
        }
        let mut elements = elements(writer, place)?;
        if let (Some(at), false) = (&at, elements.is_empty()) {
            if cfg!(bug = "move-drops-an-edit") {
                // As if there were no moves: the element goes, and comes again.
                writer.put_object(place, ObjType::Map).map(|made| elements = vec![made])?;
                let maps = elements.as_slice();
                write_map(writer, maps, &Map::new(), &Map::new(), &fields_of(item, key))?;
            }
            writer.put(Place::Field { maps: &elements, name: PLACE_KEY }, at.as_str().into())?;
        }
        if is_edited {
            let [current, before, after] = [held, before, item].map(|value| fields_of(value, key));
            write_map(writer, &elements, &current, &before, &after)?;
        }
    }
    Ok(())
}

/// Adds an element whose key no reader sees: a new one, or one that was removed.
fn add(
    writer: &mut Writer<'_>,
    place: Place<'_>,
    at: Option<&str>,
    key: &str,
    item: &Value,
) -> Result<(), WriteError> {
    let at = at.unwrap_or_default();
    let removed = elements(writer, place)?;
    let Some(element) = removed.last() else { return put_element(writer, place, at, key, item) };
    let maps = std::slice::from_ref(element);
    // What it held when it was removed, and what others wrote into it since, goes where the new content says something else. It goes
    // whole, so that another device which adds the key again, with less in it, takes nothing away from what is new.
    let mut hidden = writer.hidden_fields(element)?;
    hidden.retain(|name, _| name != PLACE_KEY && name != REMOVED_KEY);
    let after = fields_of(item, key);
    let is_left = |name: &String, held: &Value| after.get(name).is_none_or(|after| held.satisfies(after));
    let left: Map = hidden.iter().filter(|(name, held)| is_left(name, held)).map(owned).collect();
    if !cfg!(bug = "generation-reused") {
        writer.put(Place::Field { maps, name: REMOVED_KEY }, ScalarValue::Boolean(false))?;
    }
    writer.put(Place::Field { maps, name: PLACE_KEY }, at.into())?;
    write_map(writer, maps, &left, &hidden, &after)
}

/// The maps that are the element at a place.
fn elements(writer: &mut Writer<'_>, place: Place<'_>) -> Result<Vec<ObjId>, WriteError> {
    Ok(writer.container(place, ObjType::Map)?.unwrap_or_default())
}

/// The fields of an element that are stored in it. Its key is the name under which it is stored.
fn fields_of(item: &Value, key: &str) -> Map {
    item.as_map().into_iter().flatten().filter(|(name, _)| *name != key).map(owned).collect()
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// name -> index
fn by_name(items: &[Value], key: &str) -> HashMap<String, usize> {
    let name = |item: &Value| item.as_map().and_then(|element| key_name(element.get(key)?));
    items.iter().enumerate().filter_map(|(index, item)| Some((name(item)?, index))).collect()
}

/// The new places of the elements that need one, so that all stand in the order of `names`.
fn places(
    writer: &mut Writer<'_>,
    maps: &[ObjId],
    names: &[String],
    here: &HashMap<String, usize>,
) -> Result<Vec<Option<String>>, WriteError> {
    let held: Vec<Option<usize>> = names.iter().map(|name| here.get(name).copied()).collect();
    let mut stays = longest_increasing(&held);
    let mut places: Vec<Option<String>> = vec![None; names.len()];
    let mark = writer.mark().to_owned();
    let mut at = 0;
    while at < names.len() {
        if stays[at] {
            at += 1;
            continue;
        }
        let (mut start, mut end) = (at, end_of_run(&stays, at));
        loop {
            let left = match start.checked_sub(1) {
                Some(left) if !stays[left] => places[left].clone().map(Ok),
                Some(left) => Some(place_of(writer, maps, &names[left])),
                None => None,
            };
            let right = (end < names.len()).then(|| place_of(writer, maps, &names[end]));
            let (left, right) = (left.transpose()?, right.transpose()?);
            let found = order::run(left.as_deref(), right.as_deref(), end - start, &mark);
            let is_short = |place: &String| place.len() <= PLACE_BYTES_MAX;
            if let Some(found) = found.filter(|found| found.iter().all(is_short)) {
                for (place, found) in places[start..end].iter_mut().zip(found) {
                    *place = Some(found);
                }
                break;
            }
            // There is no room between the two: their neighbours get new places too.
            if end < names.len() {
                stays[end] = false;
                end = end_of_run(&stays, end);
            } else if start > 0 {
                start -= 1;
                stays[start] = false;
            } else {
                for (index, place) in places.iter_mut().enumerate() {
                    *place = Some(order::nth(index));
                }
                break;
            }
        }
        at = end;
    }
    Ok(places)
}

fn end_of_run(stays: &[bool], from: usize) -> usize {
    stays[from..].iter().position(|stays| *stays).map_or(stays.len(), |len| from + len)
}

/// Where an element stands now. Empty where it does not say.
fn place_of(writer: &mut Writer<'_>, maps: &[ObjId], name: &str) -> Result<String, WriteError> {
    let elements = elements(writer, Place::Field { maps, name })?;
    let place = Place::Field { maps: &elements, name: PLACE_KEY };
    Ok(match writer.shown(place)? {
        Some(Shown::Scalar(ScalarValue::Str(place), _)) => place.to_string(),
        _ => String::new(),
    })
}

/// Marks a longest strictly increasing run of the present numbers (patience sorting).
fn longest_increasing(numbers: &[Option<usize>]) -> Vec<bool> {
    let mut tails: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = vec![None; numbers.len()];
    for (position, number) in numbers.iter().enumerate() {
        let Some(number) = number else { continue };
        let pile = tails.partition_point(|tail| numbers[*tail].is_some_and(|tail| tail < *number));
        previous[position] = pile.checked_sub(1).map(|left| tails[left]);
        if pile == tails.len() {
            tails.push(position);
        } else {
            tails[pile] = position;
        }
    }
    let mut kept = vec![false; numbers.len()];
    let mut at = tails.last().copied();
    while let Some(position) = at {
        kept[position] = true;
        at = previous[position];
    }
    kept
}
