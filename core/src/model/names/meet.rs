//! Where a stored name and one that a type writes stand in for one another: the type knows the one and the entity the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{STRUCT_FIELDS_MAX, Step};
use crate::model::{Map, Value};

/// A stored name that the type does not write, and a name that it writes and that is not stored, in one map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Meet {
    pub(super) place: Vec<Step>,
    pub(super) stored: String,
    pub(super) written: String,
}

impl Meet {
    pub(super) fn new(place: &[Step], stored: &str, written: &str) -> Meet {
        Meet { place: place.to_vec(), stored: stored.to_owned(), written: written.to_owned() }
    }
}

/// The names that a type writes, at each place: those of all elements of a list together.
#[derive(Default)]
pub(super) struct Outline<'a> {
    fields: BTreeMap<&'a str, Outline<'a>>,
    elements: Option<Box<Outline<'a>>>,
}

impl<'a> Outline<'a> {
    pub(super) fn add(&mut self, value: &'a Value) {
        match value {
            Value::Map(map) => {
                map.iter().for_each(|(name, value)| self.fields.entry(name).or_default().add(value));
            }
            Value::Variant(case, content) => self.fields.entry(case).or_default().add(content),
            _ => {
                if let Some(items) = value.as_list() {
                    let elements = self.elements.get_or_insert_default();
                    items.iter().for_each(|item| elements.add(item));
                }
            }
        }
    }
}

/// The step from a map to what is stored in it by a name.
pub(super) fn step(map: &Map, name: &str) -> Step {
    if map.len() > STRUCT_FIELDS_MAX { Step::Element } else { Step::Name(name.to_owned()) }
}

/// The step from a list to its element at an index.
pub(super) fn step_to(list: &Value, index: usize) -> Step {
    if matches!(list, Value::Tuple(_)) { Step::Name(index.to_string()) } else { Step::Element }
}

/// Whether anything is stored under a name that the type does not write.
pub(super) fn lacks(stored: &Map, before: &Map) -> bool {
    stored.iter().any(|(name, stored)| before.get(name).is_none_or(|before| is_lacking(stored, before)))
}

fn is_lacking(stored: &Value, before: &Value) -> bool {
    match (stored, before) {
        (Value::Map(stored), Value::Map(before)) => lacks(stored, before),
        (Value::Variant(stored_case, stored), Value::Variant(case, before)) => {
            stored_case != case || is_lacking(stored, before)
        }
        (Value::Map(map), Value::Variant(case, before)) => {
            map.get(case).is_none_or(|stored| is_lacking(stored, before))
        }
        _ => match (stored.as_list(), before.as_list()) {
            (Some(stored), Some(before)) => stored.iter().zip(before).any(|(a, b)| is_lacking(a, b)),
            _ => false,
        },
    }
}

/// Everywhere where a stored name and a written one meet.
pub(super) fn meets(stored: &Value, before: &Value, outline: &Outline<'_>) -> BTreeSet<Meet> {
    let mut found = BTreeSet::new();
    walk(stored, before, outline, &mut Vec::new(), &mut found);
    found
}

fn walk(
    stored: &Value,
    before: &Value,
    outline: &Outline<'_>,
    place: &mut Vec<Step>,
    found: &mut BTreeSet<Meet>,
) {
    let mut go =
        |step: Step, stored: &Value, before: &Value, outline: Option<&Outline<'_>>, place: &mut Vec<Step>| {
            if let Some(outline) = outline {
                place.push(step);
                walk(stored, before, outline, place, found);
                place.pop();
            }
        };
    match (stored, before) {
        (Value::Map(stored), Value::Map(before)) => {
            for (name, value) in stored {
                if let Some(before) = before.get(name) {
                    go(step(stored, name), value, before, outline.fields.get(name.as_str()), place);
                }
            }
            let unread = stored.keys().filter(|name| !outline.fields.contains_key(name.as_str()));
            for unread in unread {
                let missing = outline.fields.keys().filter(|name| !stored.contains_key(**name));
                found.extend(missing.map(|name| Meet::new(place, unread, name)));
            }
        }
        (Value::Variant(stored_case, stored), Value::Variant(case, before)) => {
            go(Step::Name(stored_case.clone()), stored, before, outline.fields.get(case.as_str()), place);
        }
        (Value::Map(map), Value::Variant(case, before)) if map.len() == 1 => {
            if let Some(stored) = map.get(case) {
                go(Step::Name(case.clone()), stored, before, outline.fields.get(case.as_str()), place);
            }
        }
        _ => {
            let (Some(items), Some(before)) = (stored.as_list(), before.as_list()) else { return };
            for (index, (item, before)) in items.iter().zip(before).enumerate() {
                go(step_to(stored, index), item, before, outline.elements.as_deref(), place);
            }
        }
    }
}

/// Calls `each` for every map inside of fields, the innermost first, and for the fields themselves.
pub(super) fn visit_fields(fields: &mut Map, each: &mut dyn FnMut(&[Step], &mut Map)) {
    let mut value = Value::Map(std::mem::take(fields));
    visit(&mut value, &mut Vec::new(), each);
    if let Value::Map(map) = value {
        *fields = map;
    }
}

pub(super) fn visit(value: &mut Value, place: &mut Vec<Step>, each: &mut dyn FnMut(&[Step], &mut Map)) {
    let mut go = |step: Step, value: &mut Value, place: &mut Vec<Step>| {
        place.push(step);
        visit(value, place, each);
        place.pop();
    };
    let is_tuple = matches!(value, Value::Tuple(_));
    match value {
        Value::Map(map) => {
            let is_wide = map.len() > STRUCT_FIELDS_MAX;
            for (name, value) in map.iter_mut() {
                go(if is_wide { Step::Element } else { Step::Name(name.clone()) }, value, place);
            }
            each(place, map);
        }
        Value::Variant(case, content) => go(Step::Name(case.clone()), content, place),
        Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                go(if is_tuple { Step::Name(index.to_string()) } else { Step::Element }, item, place);
            }
        }
        _ => {}
    }
}

/// The place as [`visit`] says it: without the keys of maps that are keyed by data, and with the places of tuples.
pub(super) fn widened(value: &Value, place: &[Step]) -> Vec<Step> {
    let Some((first, rest)) = place.split_first() else { return Vec::new() };
    let (step, inner) = match (value, first) {
        (Value::Map(map), Step::Name(name)) => (step(map, name), map.get(name)),
        (Value::Variant(_, content), _) => (first.clone(), Some(content.as_ref())),
        // Any element stands for all; of a tuple, what is inside is looked for from around it.
        (Value::Tuple(_), _) => return Vec::new(),
        _ => (first.clone(), value.as_list().and_then(<[Value]>::first)),
    };
    let Some(inner) = inner else { return vec![step] };
    let mut widened = vec![step];
    widened.extend(self::widened(inner, rest));
    widened
}
