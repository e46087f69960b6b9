//! Giving fields their stored names, and new elements of a list those of their neighbours.

use std::collections::HashMap;

use super::meet::{step, step_to};
use super::{Pairs, Step};
use crate::model::{Map, Value, fingerprint, hunks};

/// Gives what an app made of an entity the names under which its fields are stored. `seen` is what the app saw of it.
pub(super) fn names(pairs: &Pairs, stored: &Value, seen: &Value, made: &mut Value) {
    inside(pairs, Some(stored), Some(seen), made, &mut Vec::new());
}

fn inside(
    pairs: &Pairs,
    stored: Option<&Value>,
    seen: Option<&Value>,
    made: &mut Value,
    place: &mut Vec<Step>,
) {
    let behind = pairs.range(place.clone()..).next();
    if behind.is_none_or(|(place_behind, _)| !place_behind.starts_with(place)) {
        return;
    }
    let here = pairs.get(place.as_slice()).map(Vec::as_slice).unwrap_or_default();
    let mut go = |step: Step, stored: Option<&Value>, seen: Option<&Value>, made: &mut Value| {
        place.push(step);
        inside(pairs, stored, seen, made, place);
        place.pop();
    };
    match made {
        Value::Map(made) => {
            fields(here, stored.and_then(Value::as_map), seen.and_then(Value::as_map), made, go);
        }
        Value::Variant(case, content) => match (stored, seen) {
            (Some(Value::Variant(stored_case, stored)), Some(Value::Variant(seen_case, seen)))
                if seen_case == case =>
            {
                go(Step::Name(stored_case.clone()), Some(stored), Some(seen), content);
                case.clone_from(stored_case);
            }
            (Some(Value::Map(stored)), Some(Value::Variant(seen_case, seen))) if seen_case == case => {
                go(Step::Name(case.clone()), stored.get(case), Some(seen), content);
            }
            (None, _) => go(Step::Name(case.clone()), None, None, content),
            _ => {}
        },
        Value::Tuple(items) => {
            let list = |value: Option<&'_ Value>| value.and_then(Value::as_list).map(<[Value]>::to_vec);
            let (held, seen) = (list(stored), list(seen));
            for (index, item) in items.iter_mut().enumerate() {
                let of = |list: &Option<Vec<Value>>| list.as_ref().and_then(|list| list.get(index)).cloned();
                let step = match stored {
                    Some(stored) => step_to(stored, index),
                    None => Step::Name(index.to_string()),
                };
                go(step, of(&held).as_ref(), of(&seen).as_ref(), item);
            }
        }
        Value::List(_) | Value::Keyed(..) => {
            let held = stored.and_then(Value::as_list).unwrap_or_default();
            let was = seen.and_then(Value::as_list).unwrap_or_default();
            let key = if let Value::Keyed(key, _) = &*made { Some(key.clone()) } else { None };
            let (Value::List(items) | Value::Keyed(_, items)) = &mut *made else { return };
            let origins = origins(was, items, key.as_deref());
            for (item, origin) in items.iter_mut().zip(origins) {
                let of = |list: &'_ [Value]| origin.and_then(|at| list.get(at)).cloned();
                go(Step::Element, of(held).as_ref(), of(was).as_ref(), item);
            }
            if let (Value::Keyed(key, _), Some(Value::Keyed(stored_key, _))) = (made, stored) {
                place.push(Step::Element);
                let is_renamed = |pairs: &Vec<(String, String)>| {
                    pairs.iter().any(|(stored, written)| stored == stored_key && written == key)
                };
                if pairs.get(place.as_slice()).is_some_and(is_renamed) {
                    key.clone_from(stored_key);
                }
                place.pop();
            }
        }
        _ => {}
    }
}

/// Gives the fields of one map their stored names, and those inside of them.
fn fields(
    pairs: &[(String, String)],
    stored: Option<&Map>,
    seen: Option<&Map>,
    made: &mut Map,
    mut go: impl FnMut(Step, Option<&Value>, Option<&Value>, &mut Value),
) {
    let is_stored = |name: &str| stored.is_some_and(|stored| stored.contains_key(name));
    let mut named = Map::new();
    for (name, mut value) in std::mem::take(made) {
        let pair = pairs.iter().find(|(old, written)| {
            *written == name && !is_stored(written) && (stored.is_none() || is_stored(old))
        });
        let stored_name = pair.map_or(&name, |(old, _)| old);
        let step = match stored {
            Some(stored) => step(stored, stored_name),
            None => Step::Name(stored_name.clone()),
        };
        go(
            step,
            stored.and_then(|stored| stored.get(stored_name)),
            seen.and_then(|seen| seen.get(&name)),
            &mut value,
        );
        named.insert(stored_name.clone(), value);
    }
    *made = named;
}

/// For each element of a list the one that it was, or for a new one the one in front of it, whose names it takes.
fn origins(was: &[Value], items: &[Value], key: Option<&str>) -> Vec<Option<usize>> {
    let mut origins: Vec<Option<usize>> = vec![None; items.len()];
    if let Some(key) = key {
        let key_of = |item: &Value| item.as_map().and_then(|element| element.get(key)).map(fingerprint);
        let places: HashMap<_, _> =
            was.iter().enumerate().filter_map(|(at, item)| Some((key_of(item)?, at))).collect();
        for (origin, item) in origins.iter_mut().zip(items) {
            *origin = key_of(item).and_then(|key| places.get(&key).copied());
        }
    } else {
        let prints = |items: &[Value]| items.iter().map(fingerprint).collect::<Vec<_>>();
        let (mut at, mut from) = (0, 0);
        for hunk in hunks(&prints(was), &prints(items)) {
            let kept = (from..hunk.old.start).zip(at..hunk.new.start);
            let changed = hunk.old.clone().zip(hunk.new.clone());
            kept.chain(changed).for_each(|(from, at)| origins[at] = Some(from));
            (from, at) = (hunk.old.end, hunk.new.end);
        }
        (from..was.len()).zip(at..items.len()).for_each(|(from, at)| origins[at] = Some(from));
    }
    let mut last = (!was.is_empty()).then_some(0);
    for origin in &mut origins {
        last = origin.or(last);
        *origin = last;
    }
    origins
}
