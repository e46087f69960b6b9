//! The difference of two stretches of text that have no word in common, letter by letter.
//!
//! Letters stay only where they stay in a word of their own. Somebody else may insert words in front of any word that was there, and
//! must find nothing there that a word of theirs becomes one with.

use std::ops::Range;

use super::align::{Hunk, hunks};
use super::text_cuts::{begins_word, is_of_word};
use super::text_difference::Side;

/// Up to this many pairs of letters a replaced stretch is looked at letter by letter.
const LETTER_PAIRS_MAX: usize = 1 << 20;

/// What differs between two stretches that are words of each other's, or else the whole of them.
pub(super) fn compare_letters(old: Side<'_>, new: Side<'_>, found: &mut Vec<Hunk>) {
    let whole = || Hunk { old: 0..old.letters.len(), new: 0..new.letters.len() }.moved(old.at, new.at);
    let (longer, shorter) =
        (old.letters.len().max(new.letters.len()), old.letters.len().min(new.letters.len()));
    if shorter == 0 || longer.saturating_mul(shorter) > LETTER_PAIRS_MAX {
        found.push(whole());
        return;
    }
    let mut inside = hunks(old.letters, new.letters);
    let kept = old.letters.len() - inside.iter().map(|hunk| hunk.old.len()).sum::<usize>();
    let is_one_in_the_other = matches!(&*inside, [hunk] if hunk.old.is_empty() || hunk.new.is_empty());
    let is_alike = is_one_in_the_other || 2 * kept >= longer;
    let joins = |hunk: &Hunk| joins_words(old.letters, new.letters, hunk);
    let is_joined = match &*inside {
        [hunk] if hunk.new.is_empty() => joins(hunk) && leaves_halves(old.letters, &hunk.old),
        hunks => hunks.iter().any(joins),
    };
    if is_alike && !is_joined {
        // What comes in front of a word takes the first letter along: it belongs to that word, and not to what somebody else
        // inserts in front of it.
        for hunk in &mut inside {
            let begins = begins_word(old.letters, hunk.old.start) && ends_in_word(new.letters, hunk.new.end);
            if hunk.old.is_empty() && (hunk.old.start == 0 || begins) {
                (hunk.old.end, hunk.new.end) = (hunk.old.end + 1, hunk.new.end + 1);
            }
        }
        found.extend(inside.into_iter().map(|hunk| hunk.moved(old.at, new.at)));
    } else {
        found.push(whole());
    }
}

/// Whether what somebody else inserts in front of an old word would get to the end of a new one: of `w1 x2` that becomes `wq2`, neither
/// word can be said to have stayed.
fn joins_words(old: &[char], new: &[char], Hunk { old: gone, new: came }: &Hunk) -> bool {
    ends_in_word(new, came.end) && (gone.start + 1..=gone.end).any(|place| begins_word(old, place))
}

fn ends_in_word(letters: &[char], end: usize) -> bool {
    letters[..end].last().is_some_and(|last| is_of_word(*last))
}

/// Whether what is taken out begins and ends within words, wherever it could be taken out as well.
fn leaves_halves(old: &[char], gone: &Range<usize>) -> bool {
    let is_cut = gone.start > 0
        && [gone.start, gone.end - 1, gone.end]
            .iter()
            .all(|place| old.get(*place).is_some_and(|letter| is_of_word(*letter)));
    is_cut && old[gone.start] != old[gone.end] && old[gone.start - 1] != old[gone.end - 1]
}

#[cfg(test)]
mod tests {
    use crate::model::Text;
    use crate::model::text_difference::difference;

    /// The text after one author's whole text, and somebody else's words in front of an old word, whose first letter is at `place` and may
    /// be gone by then.
    fn with_words_in_front(before: &str, after: &str, place: usize, words: &str) -> String {
        // Letters that went leave a mark where they stood, as they do in the document.
        let mut letters: Vec<(Option<usize>, char, bool)> =
            before.chars().enumerate().map(|(place, letter)| (Some(place), letter, true)).collect();
        for splice in difference(before, after) {
            let at = |letters: &[(Option<usize>, char, bool)], position: usize| {
                let there = letters.iter().enumerate().filter(|(_, (_, _, is_there))| *is_there);
                there.map(|(index, _)| index).nth(position).unwrap_or(letters.len())
            };
            let mut came_at = match splice.position.checked_sub(1) {
                Some(last) => at(&letters, last) + 1,
                None => 0,
            };
            for count in 0..splice.deleted {
                let gone = at(&letters, splice.position);
                letters[gone].2 = false;
                if count == 0 {
                    came_at = gone + 1;
                }
            }
            let came = splice.inserted.chars().map(|letter| (None, letter, true));
            letters.splice(came_at..came_at, came);
        }
        let index = letters.iter().position(|(old, _, _)| *old == Some(place)).unwrap();
        letters.splice(index..index, words.chars().map(|letter| (None, letter, true)));
        letters.into_iter().filter(|(_, _, is_there)| *is_there).map(|(_, letter, _)| letter).collect()
    }

    #[test]
    fn words_that_take_the_place_of_others_join_nothing_that_somebody_else_inserts() {
        // Would make one word of half of a new one and somebody else's, and nobody would have written it.
        for (before, after) in [
            ("kae\nkie\nkoe\n\ntae", "kae\nkqoe\n\ntae"),
            ("kae\nkie koe", "kikie koe"),
            ("mie\nmoe nae", "makie nae"),
            ("kikie kae\n\nkie ", "kqokie\ntakie tikie\n\n"),
            ("nae\n\nnie\n\nnoe sae", "nae\n\nmikie\nmokie\nnakie\n\nnqie\n\ntikie sae"),
            ("sae kqie koe nae", "sae kqoe nae"),
        ] {
            let starts =
                (0..before.len()).filter(|at| *at == 0 || !before.as_bytes()[at - 1].is_ascii_alphabetic());
            for place in starts.filter(|at| before.as_bytes()[*at].is_ascii_alphabetic()) {
                let text = with_words_in_front(before, after, place, "their own ");
                let mut found: Vec<&str> = text.split_whitespace().collect();
                let mut wanted: Vec<&str> = after.split_whitespace().chain(["their", "own"]).collect();
                found.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(found, wanted, "{before:?} {after:?} {place} {text:?}");
            }
        }
    }

    #[test]
    fn a_word_that_begins_like_its_neighbour_is_inserted_whole() {
        // Would take letters of the neighbour for the word's, and give them away when somebody else corrects the neighbour.
        let syllables = ["ka", "ki", "ko", "ta", "ti", "to", "ma", "mi", "mo", "na", "ni", "no"];
        let pairs = syllables.iter().flat_map(|first| syllables.iter().map(move |second| (*first, *second)));
        let words: Vec<String> = pairs.map(|(first, second)| [second, first, "e "].concat()).collect();
        let before = words.concat();
        for at in 0..words.len() {
            let came = [&words[at][..2], "sie\n\n"].concat();
            let after = [&words[..at].concat(), &*came, &words[at..].concat()].concat();
            let splices = difference(&before, &after);
            let gone: usize = splices.iter().map(|splice| splice.deleted).sum();
            assert_eq!((gone, splices.len()), (0, 1), "{at} {came:?} {splices:?}");
        }
    }

    #[test]
    fn words_that_are_put_together_or_taken_apart_keep_their_letters() {
        // Would take a word away from whoever corrects it meanwhile.
        for (before, after) in [("a foo bar b", "a foobar b"), ("a foobar b", "a foo bar b")] {
            let splices = difference(before, after);
            let touched: usize =
                splices.iter().map(|splice| splice.deleted + splice.inserted.chars().count()).sum();
            assert_eq!(touched, 1, "{splices:?}");
            let mut text = Text::from(before);
            for splice in &splices {
                text.splice(splice.position, splice.deleted, &splice.inserted);
            }
            assert_eq!(text, after);
        }
    }
}
