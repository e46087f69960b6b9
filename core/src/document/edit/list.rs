//! Which elements of a list stayed, went and came.
//!
//! Elements that are the same stay. Between them, an element that took another's place is the same element with other content if
//! it is recognisably so, and otherwise another element: it must not inherit what somebody else does to the one that went.

use std::ops::Range;

use super::likeness::{Names, likeness};
use crate::model::{Hunk, Likeness, Value, best_pairs, fingerprint, hunks};

/// Up to this many pairs of elements each is compared with each.
const COMPARED_PAIRS_MAX: usize = 1 << 12;

/// One step from the old list to the new one, in the order of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListStep {
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

/// Aligns two lists by their content.
pub(crate) fn align(before: &[Value], after: &[Value]) -> Vec<ListStep> {
    let (old, new): (Vec<_>, Vec<_>) =
        (before.iter().map(fingerprint).collect(), after.iter().map(fingerprint).collect());
    let gaps = match hunks(&old, &new) {
        found if cfg!(bug = "list-paired-by-place") && !found.is_empty() => {
            return (0..before.len().max(after.len()))
                .map(|place| match (place < before.len(), place < after.len()) {
                    (true, true) => ListStep::Keep { before: place, after: place },
                    (true, false) => ListStep::Remove { before: place },
                    (false, _) => ListStep::Insert { after: place },
                })
                .collect();
        }
        found => found,
    };
    let has_records = |values: &[Value]| values.iter().any(|value| value.as_map().is_some());
    let replaces_records =
        |gap: &Hunk| has_records(&before[gap.old.clone()]) && has_records(&after[gap.new.clone()]);
    let names = if gaps.iter().any(replaces_records) { Names::of(before, after) } else { None };
    let mut steps = Vec::with_capacity(after.len());
    let (mut old_at, mut new_at) = (0, 0);
    let keep_until = |steps: &mut Vec<ListStep>, old: Range<usize>, new: usize| {
        let keep = |before| ListStep::Keep { before, after: new + before - old.start };
        steps.extend(old.clone().map(keep));
    };
    for gap in gaps {
        keep_until(&mut steps, old_at..gap.old.start, new_at);
        (old_at, new_at) = (gap.old.end, gap.new.end);
        replace(&mut steps, before, after, gap, names.as_ref());
    }
    keep_until(&mut steps, old_at..before.len(), new_at);
    steps
}

/// The steps of a stretch in which nothing is the same.
fn replace(
    steps: &mut Vec<ListStep>,
    before: &[Value],
    after: &[Value],
    gap: Hunk,
    names: Option<&Names<'_>>,
) {
    let (old, new) = (&before[gap.old.clone()], &after[gap.new.clone()]);
    let (mut old_at, mut new_at) = (0, 0);
    let mut leave = |old_end: usize, new_end: usize, steps: &mut Vec<ListStep>| {
        steps.extend((old_at..old_end).map(|index| ListStep::Remove { before: gap.old.start + index }));
        steps.extend((new_at..new_end).map(|index| ListStep::Insert { after: gap.new.start + index }));
        (old_at, new_at) = (old_end + 1, new_end + 1);
    };
    for (from, to) in pairs(old, new, names) {
        leave(from, to, steps);
        steps.push(ListStep::Keep { before: gap.old.start + from, after: gap.new.start + to });
    }
    leave(old.len(), new.len(), steps);
}

/// The elements of two stretches that are the same with other content, in order.
fn pairs(old: &[Value], new: &[Value], names: Option<&Names<'_>>) -> Vec<(usize, usize)> {
    // As many came as went: then a plain value has the place of the one before it.
    let is_even = old.len() == new.len();
    let likeness = |from: usize, to: usize| {
        let (old, new) = (&old[from], &new[to]);
        match likeness(old, new, names) {
            Likeness::Other if is_even && from == to && is_plain(old) && is_plain(new) => Likeness::Similar,
            likeness => likeness,
        }
    };
    if old.len().saturating_mul(new.len()) <= COMPARED_PAIRS_MAX {
        return best_pairs(old.len(), new.len(), likeness);
    }
    // Where records have names, the names say which is which; elsewhere the places do.
    let named = |values: &[Value]| -> Option<Vec<Vec<u8>>> {
        values.iter().map(|value| Some(fingerprint(names?.name_in(value.as_map()?)?))).collect()
    };
    if let (Some(old_names), Some(new_names)) = (named(old), named(new)) {
        let mut kept = Vec::new();
        let (mut from, mut to) = (0, 0);
        for gap in hunks(&old_names, &new_names) {
            kept.extend((from..gap.old.start).zip(to..gap.new.start));
            (from, to) = (gap.old.end, gap.new.end);
        }
        kept.extend((from..old.len()).zip(to..new.len()));
        return kept;
    }
    let places = 0..if is_even { old.len() } else { 0 };
    places.map(|place| (place, place)).filter(|(from, to)| likeness(*from, *to) > Likeness::Other).collect()
}

/// Whether a value is replaced as a whole. Two devices that both replace one then end with one of the two.
fn is_plain(value: &Value) -> bool {
    !matches!(
        value,
        Value::Map(_)
            | Value::List(_)
            | Value::Keyed(..)
            | Value::Text(_)
            | Value::Tuple(_)
            | Value::Variant(..)
    )
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
            prop_assert_eq!(&replay(&before, &after, &align(&before, &after)), &after);
        }
    }
}
