//! Which elements of a list stayed, went and came.

use std::collections::HashMap;

use crate::model::{Value, fingerprint};

/// Above this many comparisons (the product of both lengths) the middle is replaced element by element instead of aligned.
const COMPARISONS_MAX: usize = 16_000_000;

/// One step from the old list to the new one, in the order of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListStep {
    /// The same element, perhaps with other content.
    Keep {
        before: usize,
        after: usize,
    },
    Remove {
        before: usize,
    },
    Insert {
        after: usize,
    },
}

/// Aligns two lists: by the field `key` of their elements where one is named, by their content otherwise.
pub(super) fn align(before: &[Value], after: &[Value], key: Option<&str>) -> Vec<ListStep> {
    match key {
        Some(key) => by_key(before, after, key),
        None => by_content(before, after),
    }
}

fn by_content(before: &[Value], after: &[Value]) -> Vec<ListStep> {
    if before.len().saturating_mul(after.len()) > COMPARISONS_MAX {
        return replaced(0, before.len(), 0, after.len()).collect();
    }
    let (old, new): (Vec<_>, Vec<_>) =
        (before.iter().map(fingerprint).collect(), after.iter().map(fingerprint).collect());
    let mut steps = Vec::with_capacity(after.len());
    for op in similar::capture_diff_slices(similar::Algorithm::Myers, &old, &new) {
        let (old, new) = (op.old_range(), op.new_range());
        steps.extend(replaced(old.start, old.len(), new.start, new.len()));
    }
    steps
}

/// Pairs as many elements as both sides have, so that an edit inside an element stays inside it.
fn replaced(before: usize, removed: usize, after: usize, inserted: usize) -> impl Iterator<Item = ListStep> {
    let kept = removed.min(inserted);
    (0..kept)
        .map(move |n| ListStep::Keep { before: before + n, after: after + n })
        .chain((kept..removed).map(move |n| ListStep::Remove { before: before + n }))
        .chain((kept..inserted).map(move |n| ListStep::Insert { after: after + n }))
}

fn by_key(before: &[Value], after: &[Value], key: &str) -> Vec<ListStep> {
    let key_of = |value: &Value| value.as_map().and_then(|map| map.get(key)).map(fingerprint);
    // key -> position in the old list. Of two elements with one key the first is the one that stays.
    let mut positions: HashMap<Vec<u8>, usize> = HashMap::with_capacity(before.len());
    for (position, value) in before.iter().enumerate() {
        if let Some(key) = key_of(value) {
            positions.entry(key).or_insert(position);
        }
    }
    let matched: Vec<Option<usize>> =
        after.iter().map(|value| key_of(value).and_then(|key| positions.remove(&key))).collect();
    // Automerge has no move: what stands in another order than before is removed and inserted again, as little as possible.
    let kept = longest_increasing(&matched);
    let mut steps = Vec::with_capacity(after.len());
    let mut next = 0;
    for (position, old) in matched.iter().enumerate() {
        match old {
            Some(old) if kept[position] => {
                steps.extend((next..*old).map(|before| ListStep::Remove { before }));
                steps.push(ListStep::Keep { before: *old, after: position });
                next = old + 1;
            }
            _ => steps.push(ListStep::Insert { after: position }),
        }
    }
    steps.extend((next..before.len()).map(|before| ListStep::Remove { before }));
    steps
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Map;

    fn replay(before: &[Value], after: &[Value], steps: &[ListStep]) -> Vec<Value> {
        let mut seen_before = Vec::new();
        let mut result = Vec::new();
        for step in steps {
            match step {
                ListStep::Keep { before: b, after: a } => {
                    seen_before.push(*b);
                    result.push(after[*a].clone());
                }
                ListStep::Remove { before: b } => seen_before.push(*b),
                ListStep::Insert { after: a } => result.push(after[*a].clone()),
            }
        }
        assert_eq!(
            seen_before,
            (0..before.len()).collect::<Vec<_>>(),
            "every old element is accounted for, in order"
        );
        result
    }

    proptest! {
        #[test]
        fn any_two_lists_align(before in prop::collection::vec(0i64..6, 0..12), after in prop::collection::vec(0i64..6, 0..12)) {
            // Would lose or double an element if the steps did not cover both lists.
            let map = |n: &i64| Value::Map(Map::from([("id".to_owned(), Value::Int(*n))]));
            let (before, after): (Vec<_>, Vec<_>) = (before.iter().map(map).collect(), after.iter().map(map).collect());
            for key in [None, Some("id")] {
                prop_assert_eq!(&replay(&before, &after, &align(&before, &after, key)), &after);
            }
        }
    }

    #[test]
    fn an_insert_at_the_front_of_a_keyed_list_touches_nothing_else() {
        // Would rewrite the list, and lose the other device's edit of an element, if positions were compared.
        let item = |id: i64, n: i64| {
            Value::Map(Map::from([("id".to_owned(), Value::Int(id)), ("n".to_owned(), Value::Int(n))]))
        };
        let steps = align(&[item(1, 0), item(2, 0)], &[item(9, 0), item(1, 5), item(2, 6)], Some("id"));
        let kept = |before, after| ListStep::Keep { before, after };
        assert_eq!(steps, vec![ListStep::Insert { after: 0 }, kept(0, 1), kept(1, 2)]);
    }
}
