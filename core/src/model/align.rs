//! What stayed, went and came between two sequences of anything: the stretches that differ, near the fewest, in time near linear.
//!
//! Histogram anchors on what is rare, which is what a person would call the same place, and recurses around it. Where what is
//! left is small, Myers' search finds the shortest difference. Both are the crate `similar`'s; the heuristic form of its Myers is
//! not used, because beyond 512 elements it can replace a whole stretch of which half stayed.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use similar::{Algorithm, DiffTag, capture_diff_slices};

/// Up to this many pairs of elements the shortest difference is searched for.
const SHORTEST_PAIRS_MAX: usize = 1 << 20;

/// Up to this many elements between two stretches are looked at as part of one.
const BETWEEN_MAX: usize = 8;

/// A stretch of one sequence that has another in its place. Either can be empty, but not both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hunk {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// The stretches in which two sequences differ, in order. What lies between them is the same in both.
pub(crate) fn hunks<T: Hash + Eq>(old: &[T], new: &[T]) -> Vec<Hunk> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let mut kept = Vec::new();
    if head < old_end && head < new_end {
        let (old, new) = common(&old[head..old_end], &new[head..new_end]);
        search(&old, &new, &mut kept);
    }
    let mut found = Vec::new();
    let (mut old_at, mut new_at) = (head, head);
    let kept = kept.into_iter().map(|(from, to)| (head + from, head + to));
    for (from, to) in kept.chain([(old_end, new_end)]) {
        if old_at < from || new_at < to {
            push(&mut found, Hunk { old: old_at..from, new: new_at..to }, old, new);
        }
        (old_at, new_at) = (from + 1, to + 1);
    }
    found
}

/// Adds a stretch, as one with the stretch before it where as much stays then: what came as one run must not be taken for two, or
/// somebody else's run could get in between.
fn push<T: Eq>(found: &mut Vec<Hunk>, mut next: Hunk, old: &[T], new: &[T]) {
    while let Some(last) = found.last() {
        let between = next.old.start - last.old.end;
        let (old_start, new_start) = (last.old.start, last.new.start);
        let (old, new) = (&old[old_start..next.old.end], &new[new_start..next.new.end]);
        let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
        if between > BETWEEN_MAX || head + tail < between {
            break;
        }
        next = Hunk { old: head..old.len() - tail, new: head..new.len() - tail }.moved(old_start, new_start);
        found.pop();
    }
    found.push(next);
}

/// An element as a number, so that comparing two of them costs the same whatever they are, and its place.
type Numbered = (u32, usize);

/// The elements of each side that the other one has too. The others can be in no alignment, and would only hide it.
fn common<T: Hash + Eq>(old: &[T], new: &[T]) -> (Vec<Numbered>, Vec<Numbered>) {
    let mut numbers: HashMap<&T, (u32, bool)> = HashMap::with_capacity(old.len());
    for element in old {
        let next = numbers.len() as u32;
        numbers.entry(element).or_insert((next, false));
    }
    let mut shared = Vec::with_capacity(new.len());
    for (place, element) in new.iter().enumerate() {
        if let Some((number, is_shared)) = numbers.get_mut(element) {
            *is_shared = true;
            shared.push((*number, place));
        }
    }
    let numbered = |(place, element)| {
        numbers.get(element).filter(|(_, is_shared)| *is_shared).map(|(number, _)| (*number, place))
    };
    (old.iter().enumerate().filter_map(numbered).collect(), shared)
}

/// Finds which elements of two sequences are the same ones, by their places, in order.
fn search(old: &[Numbered], new: &[Numbered], kept: &mut Vec<(usize, usize)>) {
    let is_small = old.len().saturating_mul(new.len()) <= SHORTEST_PAIRS_MAX;
    let algorithm = if is_small { Algorithm::RawMyers } else { Algorithm::Histogram };
    let numbers = |side: &[Numbered]| side.iter().map(|(number, _)| *number).collect::<Vec<u32>>();
    for step in capture_diff_slices(algorithm, &numbers(old), &numbers(new)) {
        let (old, new) = (&old[step.old_range()], &new[step.new_range()]);
        if step.tag() == DiffTag::Equal {
            kept.extend(old.iter().zip(new).map(|((_, from), (_, to))| (*from, *to)));
        } else if !is_small && old.len().saturating_mul(new.len()) <= SHORTEST_PAIRS_MAX {
            // Histogram leaves a stretch without an anchor as it is.
            search(old, new, kept);
        }
    }
}

/// Whether at least half of the longer sequence is in both.
pub(crate) fn are_alike<T: Hash + Eq>(old: &[T], new: &[T]) -> bool {
    let gone: usize = hunks(old, new).iter().map(|hunk| hunk.old.len()).sum();
    2 * (old.len() - gone) >= old.len().max(new.len())
}

/// How much an element is another one. One that is the same weighs more than any number of similar ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    Other = 0,
    Similar = 1,
    Same = 1 << 20,
}

/// The pairs of two sequences, in order, that are most alike together, by the table of Needleman and Wunsch. Of equal ones the first.
pub(crate) fn best_pairs(
    old: usize,
    new: usize,
    likeness: impl Fn(usize, usize) -> Likeness,
) -> Vec<(usize, usize)> {
    // How much is alike from here to the end, row by row.
    let mut best = vec![vec![0_usize; new + 1]; old + 1];
    let mut alike = vec![vec![0_usize; new]; old];
    for from in (0..old).rev() {
        for to in (0..new).rev() {
            alike[from][to] = likeness(from, to) as usize;
            let with = best[from + 1][to + 1] + alike[from][to];
            best[from][to] = with.max(best[from + 1][to]).max(best[from][to + 1]);
        }
    }
    let mut found = Vec::new();
    let (mut from, mut to) = (0, 0);
    while from < old && to < new {
        if alike[from][to] > 0 && best[from][to] == best[from + 1][to + 1] + alike[from][to] {
            found.push((from, to));
            (from, to) = (from + 1, to + 1);
        } else if best[from + 1][to] >= best[from][to + 1] {
            from += 1;
        } else {
            to += 1;
        }
    }
    found
}

impl Hunk {
    /// The same stretch in sequences that have so many more elements in front.
    pub(crate) fn moved(self, old: usize, new: usize) -> Hunk {
        Hunk { old: self.old.start + old..self.old.end + old, new: self.new.start + new..self.new.end + new }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts the new stretches in the place of the old ones.
    fn replay<T: Clone>(old: &[T], new: &[T], hunks: &[Hunk]) -> Vec<T> {
        let mut result = Vec::new();
        let mut at = 0;
        for hunk in hunks {
            result.extend_from_slice(&old[at..hunk.old.start]);
            result.extend_from_slice(&new[hunk.new.clone()]);
            at = hunk.old.end;
        }
        result.extend_from_slice(&old[at..]);
        result
    }

    fn changed(hunks: &[Hunk]) -> usize {
        hunks.iter().map(|hunk| hunk.old.len() + hunk.new.len()).sum()
    }

    proptest! {
        #[test]
        fn the_difference_leads_from_one_to_the_other(
            old in prop::collection::vec(0u8..5, 0..60), new in prop::collection::vec(0u8..5, 0..60),
        ) {
            // Would lose or double an element if the stretches did not fit the sequences.
            let hunks = hunks(&old, &new);
            prop_assert_eq!(replay(&old, &new, &hunks), new);
            prop_assert!(hunks.iter().all(|hunk| !hunk.old.is_empty() || !hunk.new.is_empty()));
        }
    }

    #[test]
    fn a_few_edits_in_a_long_sequence_touch_only_what_they_change() {
        // Would replace everything between the first edit and the last one, whoever else edits in between.
        let old: Vec<usize> = (0..30_000).collect();
        let mut new = old.clone();
        for place in (0..100).rev() {
            new.insert(place * 300, 100_000 + place);
        }
        new.remove(15_000);
        assert_eq!(changed(&hunks(&old, &new)), 101);
        let twice: Vec<usize> = old.iter().map(|number| number % 7).collect();
        let mut edited = twice.clone();
        edited.remove(9_000);
        edited.insert(20_000, 99);
        assert_eq!(changed(&hunks(&twice, &edited)), 2);
    }

    #[test]
    fn the_shortest_difference_is_found_at_every_small_size() {
        // Would replace the whole, and move what others put into its middle, from some length on.
        for len in [100, 512, 513, 900, 1_024, 1_500] {
            let old: Vec<usize> = (0..len).collect();
            let new: Vec<usize> = old.iter().map(|n| if n % 5 == 0 { *n } else { *n + 1_000_000 }).collect();
            let kept = len.div_ceil(5);
            assert_eq!(changed(&hunks(&old, &new)), 2 * (len - kept), "{len}");
        }
    }
}
