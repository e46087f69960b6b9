//! Where an element stands among others, as a string between two strings.
//!
//! A place is a whole number and digits behind it, written so that the order of the bytes is the order of the places (the scheme
//! of David Greenspan's "Implementing Fractional Indexing"). What one edit inserts as a run gets one place between its neighbours
//! and the editor's mark behind it, and is numbered behind that: two devices that insert at one spot get runs that stand behind
//! one another, never mixed. At creation the places follow from the index alone, so that equal lists have equal bytes.

/// No place is longer, in bytes: a list that would need longer ones gets new places around the spot.
pub(crate) const PLACE_BYTES_MAX: usize = 64;
/// How many digits tell one editor's runs from another's.
pub(crate) const MARK_DIGITS: usize = 3;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The place of the element with this index in a list that is made at once.
pub(crate) fn nth(index: usize) -> String {
    // 'a' has one digit behind it, 'b' two, and so on: a longer number has the greater letter.
    let (mut rest, mut len, mut span) = (index as u128, 1_u8, 62_u128);
    while rest >= span && len < 12 {
        (rest, len, span) = (rest - span, len + 1, span * 62);
    }
    let mut digits = vec![b'0'; usize::from(len)];
    for digit in digits.iter_mut().rev() {
        *digit = digit_of(rest % 62);
        rest /= 62;
    }
    let mut place = String::with_capacity(digits.len() + 1);
    place.push(char::from(b'a' + len - 1));
    place.extend(digits.into_iter().map(char::from));
    place
}

/// The mark of an editor, from the id under which it writes.
pub(crate) fn mark(actor: &[u8]) -> String {
    let number = actor.iter().rev().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let digit = |power: u32| char::from(digit_of(u128::from(number / 62_u64.pow(power) % 62)));
    (0..MARK_DIGITS as u32).map(digit).collect()
}

/// The places of a run of `count` elements after `left` and before `right`, in order. `None` if there is no room: the two are not
/// in order, or not of this scheme.
pub(crate) fn run(left: Option<&str>, right: Option<&str>, count: usize, mark: &str) -> Option<Vec<String>> {
    let well_formed = |place: Option<&str>| place.is_none_or(is_place);
    let in_order = left.is_none() || right.is_none() || left < right;
    if !well_formed(left) || !well_formed(right) || !in_order {
        return None;
    }
    // What is appended to the editor's own run goes on with it.
    if let Some((run, last)) = left.and_then(|left| own_run(left, mark))
        && right.is_none_or(|right| !right.starts_with(run))
    {
        return Some((1..=count).map(|next| format!("{run}{}", nth(last + next))).collect());
    }
    let mut base = between(left, right)?;
    // Whatever is behind the base has to stay before `right`.
    while right.is_some_and(|right| right.starts_with(&base)) {
        base = between(Some(&base), right)?;
    }
    Some((0..count).map(|index| format!("{base}{mark}{}", nth(index))).collect())
}

/// The part of a place that all of its run share, and its number in the run, if it is a run with this mark.
fn own_run<'a>(place: &'a str, mark: &str) -> Option<(&'a str, usize)> {
    // The number is the shortest one behind the last mark that there is.
    let at = place.rfind(mark)? + mark.len();
    let (run, number) = place.split_at_checked(at)?;
    let (head, digits) = (number.bytes().next()?, number.get(1..)?);
    let len = usize::from(head.checked_sub(b'a')?) + 1;
    if digits.len() != len || len > 8 {
        return None;
    }
    let before: usize = (1..len as u32).map(|len| 62_usize.pow(len)).sum();
    let value = digits.bytes().try_fold(0, |value, digit| Some(value * 62 + value_of(digit)?))?;
    Some((run, before + value))
}

/// Whether a string is a place of this scheme. Anything can come from elsewhere.
pub(crate) fn is_place(place: &str) -> bool {
    place.len() <= PLACE_BYTES_MAX
        && whole_part(place).is_some_and(|whole| whole.len() <= place.len())
        && place.bytes().all(|byte| value_of(byte).is_some())
}

/// A place between two that are in order.
fn between(left: Option<&str>, right: Option<&str>) -> Option<String> {
    match (left, right) {
        (None, None) => Some(nth(0)),
        (None, Some(right)) => {
            let whole = whole_part(right)?;
            if whole.len() < right.len() {
                return Some(whole.to_owned());
            }
            match step(whole, Direction::Down) {
                Some(below) => Some(below),
                None => {
                    Some(format!("{whole}{}", fraction("", None)?)).filter(|place| place.as_str() < right)
                }
            }
        }
        (Some(left), None) => {
            let whole = whole_part(left)?;
            match step(whole, Direction::Up) {
                Some(above) => Some(above),
                None => Some(format!("{whole}{}", fraction(&left[whole.len()..], None)?)),
            }
        }
        (Some(left), Some(right)) => {
            let (low, high) = (whole_part(left)?, whole_part(right)?);
            if low == high {
                return Some(format!("{low}{}", fraction(&left[low.len()..], Some(&right[high.len()..]))?));
            }
            match step(low, Direction::Up) {
                Some(above) if above.as_str() < right => Some(above),
                _ => Some(format!("{low}{}", fraction(&left[low.len()..], None)?)),
            }
        }
    }
}

/// Digits between two rows of digits behind one number; `None` at the right is the end. `None` if nothing is between.
fn fraction(left: &str, right: Option<&str>) -> Option<String> {
    let (left, right) = (left.as_bytes(), right.map(str::as_bytes));
    let mut found = Vec::new();
    let mut is_bound = true;
    for at in 0.. {
        let low = left.get(at).map_or(Some(0), |digit| value_of(*digit))?;
        let high = match right.filter(|_| is_bound) {
            // All of the right one is used up, so whatever follows is behind it.
            Some(right) => value_of(*right.get(at)?)?,
            None => 62,
        };
        if high < low {
            return None;
        }
        let middle = low + (high - low).div_ceil(2);
        if middle > low && middle < high {
            found.push(digit_of(middle as u128));
            return String::from_utf8(found).ok();
        }
        found.push(digit_of(low as u128));
        is_bound &= low == high;
    }
    None
}

enum Direction {
    Up,
    Down,
}

/// The whole number after or before one. `None` at the ends of the range.
fn step(whole: &str, direction: Direction) -> Option<String> {
    let (head, digits) = (whole.bytes().next()?, whole.get(1..)?);
    let mut digits: Vec<u8> = digits.bytes().collect();
    let (full, empty) = match direction {
        Direction::Up => (b'z', b'0'),
        Direction::Down => (b'0', b'z'),
    };
    for digit in digits.iter_mut().rev() {
        if *digit != full {
            let value = value_of(*digit)?;
            let next = if full == b'z' { value + 1 } else { value - 1 };
            *digit = digit_of(next as u128);
            return String::from_utf8([&[head][..], &digits].concat()).ok();
        }
        *digit = empty;
    }
    // From 'z' upwards and from 'A' downwards there is no letter for a longer number; between 'Z' and 'a' the sign changes.
    let (head, len) = match (direction, head) {
        (Direction::Up, b'z') | (Direction::Down, b'A') => return None,
        (Direction::Up, b'Z') => (b'a', 1),
        (Direction::Down, b'a') => (b'Z', 1),
        (Direction::Up, head) => (head + 1, digits_behind(head + 1)?),
        (Direction::Down, head) => (head - 1, digits_behind(head - 1)?),
    };
    String::from_utf8([vec![head], vec![empty; len]].concat()).ok()
}

/// The whole number that a place begins with.
fn whole_part(place: &str) -> Option<&str> {
    let len = digits_behind(place.bytes().next()?)?;
    place.get(..=len)
}

fn digits_behind(head: u8) -> Option<usize> {
    match head {
        b'a'..=b'z' => Some(usize::from(head - b'a') + 1),
        b'A'..=b'Z' => Some(usize::from(b'Z' - head) + 1),
        _ => None,
    }
}

fn digit_of(value: u128) -> u8 {
    DIGITS.get(value as usize).copied().unwrap_or(b'z')
}

fn value_of(digit: u8) -> Option<usize> {
    match digit {
        b'0'..=b'9' => Some(usize::from(digit - b'0')),
        b'A'..=b'Z' => Some(usize::from(digit - b'A') + 10),
        b'a'..=b'z' => Some(usize::from(digit - b'a') + 36),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_places_of_a_new_list_are_in_order_and_never_change() {
        // Would make two devices' equal lists two lists, or sort the tenth element in front of the second.
        let places: Vec<String> = (0..5_000).map(nth).collect();
        assert!(places.is_sorted_by(|a, b| a < b));
        assert_eq!([&*places[0], &places[61], &places[62], &places[4_000]], ["a0", "az", "b00", "c01W"]);
        assert!(is_place(&nth(usize::MAX)));
    }

    #[test]
    fn two_runs_at_one_spot_do_not_mix() {
        // Would interleave what two devices add at the end while they are apart.
        let (left, ours, theirs) = (nth(4), mark(&[1; 24]), mark(&[2; 24]));
        let mut runs = [ours, theirs].map(|mark| run(Some(&left), None, 3, &mark).unwrap());
        for (run_of, actor) in runs.iter_mut().zip([[1; 24], [2; 24]]) {
            // One at a time goes on with the same run.
            let next = run(run_of.last().map(String::as_str), None, 2, &mark(&actor)).unwrap();
            run_of.extend(next);
            assert!(run_of.is_sorted_by(|a, b| a < b), "{run_of:?}");
        }
        assert!(runs[0].last() < runs[1].first() || runs[1].last() < runs[0].first(), "{runs:?}");
    }

    proptest! {
        #[test]
        fn any_insertions_stay_in_order(spots in prop::collection::vec((0usize..1000, 1usize..4, 1u8..4), 1..120)) {
            // Would put an element elsewhere than where the app put it.
            let mut places: Vec<String> = (0..3).map(nth).collect();
            for (spot, count, actor) in spots {
                let spot = spot % (places.len() + 1);
                let (left, right) = (spot.checked_sub(1).map(|left| &*places[left]), places.get(spot).map(|right| &**right));
                if let Some(run) = run(left, right, count, &mark(&[actor; 24])) {
                    prop_assert_eq!(run.len(), count);
                    prop_assert!(run.iter().all(|place| place.len() > PLACE_BYTES_MAX || is_place(place)));
                    places.splice(spot..spot, run);
                }
                prop_assert!(places.is_sorted_by(|a, b| a < b), "{:?}", places);
            }
        }

        #[test]
        fn strings_from_elsewhere_do_no_harm(left in "[ -~]{0,9}", right in "[ -~]{0,9}", count in 0usize..3) {
            // Would panic, or put a run where it does not belong, on a place that another program made.
            for (left, right) in [(Some(&*left), Some(&*right)), (None, Some(&*right)), (Some(&*left), None)] {
                for place in run(left, right, count, "abc").unwrap_or_default() {
                    prop_assert!(left.is_none_or(|left| left < &*place) && right.is_none_or(|right| &*place < right));
                }
            }
        }
    }
}
