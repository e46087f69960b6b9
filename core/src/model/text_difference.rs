//! The difference of two texts, whatever their length: blocks first, then words, then letters.
//!
//! Each level looks only at what the one above it found to differ, so that a few corrections in a long text cost what they are.
//! A word that was replaced by an unrelated one is replaced as a whole: were two letters of it kept because both words have them,
//! somebody else's removal of the old word would take them out of the new one.
//!
//! A word that is replaced alone leaves what stands behind it, so that a comma or a word that somebody else puts there stays where
//! it was put. If somebody else removes or replaces the same word together with what stands behind it, nothing is left there. Were it
//! replaced as well, what others put between the two would stand against the next word, and they edited nothing of each other's.

use std::ops::Range;

use super::align::{Hunk, hunks};
use super::text::Splice;
use super::text_cuts::{begins_word, block_ends, is_of_word, letters_of, tokens, word_ends, words};
use super::text_letters::compare_letters;

/// A shorter block says too little of where it stands to be taken for the same one elsewhere.
const BLOCK_LETTERS_MIN: usize = 12;

/// The edits from `before` to `after`, each at its position when the earlier ones are done. What both have in common stays.
pub(crate) fn difference(before: &str, after: &str) -> Vec<Splice> {
    let old: Vec<char> = before.chars().collect();
    let new: Vec<char> = after.chars().collect();
    let mut found = Vec::new();
    compare_blocks(Side { letters: &old, at: 0 }, Side { letters: &new, at: 0 }, &mut found);
    settle(&mut found, &old, &new);
    if cfg!(bug = "text-replaced-between-edits")
        && let (Some(first), Some(last)) = (found.first().cloned(), found.last().cloned())
    {
        found = vec![Hunk { old: first.old.start..last.old.end, new: first.new.start..last.new.end }];
    }
    let mut splices = Vec::with_capacity(found.len());
    let mut shift: isize = 0;
    for Hunk { old: gone, new: came } in found {
        let position = gone.start.saturating_add_signed(shift);
        shift += came.len() as isize - gone.len() as isize;
        let (deleted, inserted) = (gone.len(), new[came.clone()].iter().collect());
        if gone.is_empty() || came.is_empty() || is_of_word(old[gone.start]) {
            splices.push(Splice { position, deleted, inserted });
            continue;
        }
        // What stands between words belongs to the word before it: it comes before what goes, so that what somebody else inserts in
        // front of the next word does not get between. Words that come take the place of the last one that goes, or they would be made
        // one with what somebody else inserts in front of that.
        let last_word = (gone.start + 1..gone.end).rev().find(|place| begins_word(&old, *place));
        let (word, words) = match last_word.filter(|_| is_of_word(new[came.end - 1])) {
            Some(word) => (word, came.clone().find(|place| is_of_word(new[*place])).unwrap_or(came.end)),
            None => (gone.end, came.end),
        };
        let text = |range: Range<usize>| new[range].iter().collect::<String>();
        splices.push(Splice { position, deleted: 0, inserted: text(came.start..words) });
        let position = position + words - came.start;
        splices.push(Splice { position, deleted: word - gone.start, inserted: String::new() });
        splices.push(Splice { position, deleted: gone.end - word, inserted: text(words..came.end) });
    }
    splices.retain(|splice| splice.deleted > 0 || !splice.inserted.is_empty());
    splices
}

/// A stretch of one of the texts, and where in it the stretch begins.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) letters: &'a [char],
    pub(super) at: usize,
}

impl<'a> Side<'a> {
    fn letters_of_each(self, ranges: &[Range<usize>]) -> Vec<&'a [char]> {
        ranges.iter().map(|range| &self.letters[range.clone()]).collect()
    }

    fn part(self, range: Range<usize>) -> Side<'a> {
        Side { letters: &self.letters[range.clone()], at: self.at + range.start }
    }
}

fn compare_blocks(old: Side<'_>, new: Side<'_>, found: &mut Vec<Hunk>) {
    let (old_ends, new_ends) = (block_ends(old.letters), block_ends(new.letters));
    for hunk in hunks(&blocks(old, &old_ends, Of::Old), &blocks(new, &new_ends, Of::New)) {
        let (old_part, new_part) = (letters_of(&old_ends, hunk.old), letters_of(&new_ends, hunk.new));
        compare_words(old.part(old_part), new.part(new_part), found);
    }
}

/// Words first, and what stands between them only where the words leave it open: were both alike, two spaces would count for more
/// than a word.
fn compare_words(old: Side<'_>, new: Side<'_>, found: &mut Vec<Hunk>) {
    let (old_words, new_words) = (words(old.letters), words(new.letters));
    let gaps = hunks(&old.letters_of_each(&old_words), &new.letters_of_each(&new_words));
    let (mut old_word, mut new_word) = (0, 0);
    let (mut old_at, mut new_at) = (0, 0);
    let end = Hunk { old: old_words.len()..old_words.len(), new: new_words.len()..new_words.len() };
    for gap in gaps.into_iter().chain([end]) {
        // Up to the gap, word by word, what stands in front of a word that stayed.
        for (from, to) in (old_word..gap.old.start).zip(new_word..gap.new.start) {
            let (old_kept, new_kept) = (&old_words[from], &new_words[to]);
            compare_tokens(old.part(old_at..old_kept.start), new.part(new_at..new_kept.start), found);
            (old_at, new_at) = (old_kept.end, new_kept.end);
        }
        (old_word, new_word) = (gap.old.end, gap.new.end);
    }
    compare_tokens(old.part(old_at..old.letters.len()), new.part(new_at..new.letters.len()), found);
}

/// Stretches that have no word in common: what stands between words can still be the same, as when a text is put into capitals.
fn compare_tokens(old: Side<'_>, new: Side<'_>, found: &mut Vec<Hunk>) {
    if old.letters == new.letters {
        return;
    }
    let (old_ends, new_ends) = (word_ends(old.letters), word_ends(new.letters));
    let (old_tokens, new_tokens) = (tokens(old.letters, &old_ends), tokens(new.letters, &new_ends));
    let mut joined: Vec<Hunk> = Vec::new();
    let (old_words, new_words) = (words_before(&old_tokens), words_before(&new_tokens));
    let (old_all, new_all) = (old_words[old_tokens.len()], new_words[new_tokens.len()]);
    // Between words stands the same only if as many words are in front of it, or behind it: else it was found by chance.
    let is_same_place = |from: usize, to: usize| {
        let (from, to) = (old_words[from], new_words[to]);
        from == to || old_all - from == new_all - to
    };
    for hunk in hunks(&old_tokens, &new_tokens) {
        match joined.last_mut() {
            Some(last) if !is_same_place(last.old.end, last.new.end) => {
                (last.old.end, last.new.end) = (hunk.old.end, hunk.new.end);
            }
            _ => joined.push(hunk),
        }
    }
    for index in 0..joined.len() {
        let (old_next, new_next) = joined
            .get(index + 1)
            .map_or((old_tokens.len(), new_tokens.len()), |next| (next.old.start, next.new.start));
        let hunk = &mut joined[index];
        // Several words go with what stands between them, and with what stands behind them: somebody else's words in their middle
        // would have nothing behind them but that.
        if old_words[hunk.old.end] > old_words[hunk.old.start] + 1 && !hunk.new.is_empty() {
            (hunk.old.end, hunk.new.end) = (old_next, new_next);
        }
        let (old_part, new_part) =
            (letters_of(&old_ends, hunk.old.clone()), letters_of(&new_ends, hunk.new.clone()));
        compare_letters(old.part(old_part), new.part(new_part), found);
    }
}

/// How many words are in front of each token, and of the end.
fn words_before(tokens: &[&[char]]) -> Vec<usize> {
    let is_word = |token: &&[char]| token.first().is_some_and(|letter| letter.is_alphanumeric());
    let mut words = 0;
    let counted = tokens.iter().map(|token| {
        words += usize::from(is_word(token));
        words
    });
    std::iter::once(0).chain(counted).collect()
}

/// Moves what only came or only went to where it begins with a word or a line, if it can stand there as well.
///
/// Of `w1 w2` that becomes `w1 x w2`, both `x ` and ` x` can be what came. Were it ` x` on one device while another one removes
/// `w1 `, nothing would stand between `x` and `w2`.
fn settle(found: &mut [Hunk], old: &[char], new: &[char]) {
    for index in 0..found.len() {
        let start =
            index.checked_sub(1).map_or((0, 0), |before| (found[before].old.end, found[before].new.end));
        let end =
            found.get(index + 1).map_or((old.len(), new.len()), |next| (next.old.start, next.new.start));
        let hunk = found[index].clone();
        // The letters of the side that has any, and where they can move.
        let (letters, at, room) = match (hunk.old.is_empty(), hunk.new.is_empty()) {
            (true, false) => (new, hunk.new.clone(), start.1..end.1),
            (false, true) => (old, hunk.old.clone(), start.0..end.0),
            _ => continue,
        };
        let back =
            (room.start..at.start).rev().zip((at.start..at.end).rev().chain((room.start..at.start).rev()));
        let back = back.take_while(|(before, last)| letters[*before] == letters[*last]).count();
        let on = (at.end..room.end)
            .zip(at.start..)
            .take_while(|(behind, first)| letters[*behind] == letters[*first]);
        let places = at.start - back..=at.start + on.count();
        // Both where it begins and where it ends, since something begins there again.
        let ends = |place: usize| (beginning(letters, place), beginning(letters, place + at.len()));
        let rank = |(start, end): (u8, u8)| (start.min(end), start.max(end));
        let best = places.max_by_key(|place| (rank(ends(*place)), *place));
        // Within a word, one place is as good as another, and none is better than where the letters were found.
        let Some(best) = best.filter(|place| rank(ends(*place)).0 > 0) else { continue };
        let moved = |range: &Range<usize>| {
            let shift = |place: usize| (place + best).saturating_sub(at.start);
            shift(range.start)..shift(range.end)
        };
        found[index] = Hunk { old: moved(&hunk.old), new: moved(&hunk.new) };
    }
}

/// How much a place looks like where something begins.
fn beginning(letters: &[char], place: usize) -> u8 {
    match place.checked_sub(1).map(|before| letters[before]) {
        None | Some('\n') => 3,
        Some(letter) if letter.is_whitespace() => 2,
        Some(letter) if !is_of_word(letter) => 1,
        Some(_) => 0,
    }
}

/// Which of the two texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Old,
    New,
}

/// A stretch of letters, as it is compared.
#[derive(PartialEq, Eq, Hash)]
enum Block<'a> {
    Letters(&'a [char]),
    /// Too short to be the same as any other, by its place.
    Alone(Of, usize),
}

fn blocks<'a>(side: Side<'a>, ends: &[usize], of: Of) -> Vec<Block<'a>> {
    let block = |letters: &'a [char], place| match letters.len() {
        0..BLOCK_LETTERS_MIN => Block::Alone(of, place),
        _ => Block::Letters(letters),
    };
    tokens(side.letters, ends).into_iter().enumerate().map(|(place, letters)| block(letters, place)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Text;

    fn replay(before: &str, splices: &[Splice]) -> String {
        let mut text = Text::from(before);
        for splice in splices {
            text.splice(splice.position, splice.deleted, &splice.inserted);
        }
        text.to_string()
    }

    fn touched(splices: &[Splice]) -> usize {
        splices.iter().map(|splice| splice.deleted + splice.inserted.chars().count()).sum()
    }

    /// Words, separators, scripts without spaces, accents, and runs without an end.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            8 => "[a-c]{1,4}",
            6 => " |\n|, |\\.",
            2 => "漢|字|é|e\u{301}|🌱",
            1 => "[ab]{60,80}",
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_edits_lead_from_one_text_to_the_other(before in texts(), after in texts()) {
            // Would write another text than the app handed over.
            prop_assert_eq!(replay(&before, &difference(&before, &after)), after);
        }

        #[test]
        fn an_insertion_or_a_removal_touches_nothing_else(text in texts(), at in 0usize..200, came in "[x-z]{1,9} ") {
            // Would touch what others edit meanwhile.
            let at = text.char_indices().nth(at).map_or(text.len(), |(index, _)| index);
            let with = [&text[..at], &came, &text[at..]].concat();
            prop_assert_eq!(touched(&difference(&text, &with)), came.chars().count());
            prop_assert_eq!(touched(&difference(&with, &text)), came.chars().count());
        }
    }

    fn words(len: usize) -> String {
        (0..len)
            .map(|n| format!("w{:x}{}", n * 7_919 % 65_536, if n % 12 == 0 { "\n" } else { " " }))
            .collect()
    }

    #[test]
    fn scattered_corrections_in_a_long_text_cost_what_they_are() {
        // Would replace everything between the first correction and the last one.
        for separator in ["\n", " ", "x"] {
            let before = words(40_000).replace('\n', separator);
            let mut letters: Vec<char> = before.chars().collect();
            for place in 0..100 {
                letters[place * 1_999 + 5] = 'Q';
            }
            let after: String = letters.iter().collect();
            let splices = difference(&before, &after);
            assert_eq!(replay(&before, &splices), after);
            assert!(touched(&splices) <= 100 * 2 * 7, "{separator:?} {}", touched(&splices));
        }
    }

    #[test]
    fn a_text_without_words_or_lines_is_compared_all_the_same() {
        // Would replace the whole of a text in which nothing marks a place.
        let letters = |n: usize| char::from(b'a' + ((n * n * 31 + n * 7) >> 3) as u8 % 26);
        let before: String = (0..200_000).map(letters).collect();
        for before in [before, "a".repeat(200_000), "漢字".repeat(50_000)] {
            let mut edited: Vec<char> = before.chars().collect();
            for place in 0..50 {
                edited.insert(place * 1_777, 'Q');
            }
            let after: String = edited.iter().collect();
            let splices = difference(&before, &after);
            assert_eq!(replay(&before, &splices), after);
            assert!(touched(&splices) < 1_000, "{}", touched(&splices));
        }
    }

    #[test]
    fn words_that_all_change_leave_what_stands_between_them() {
        // Would take a word that another device puts into the middle to the end.
        for len in [100, 513, 3_000] {
            let before = words(len).to_lowercase();
            let after = before.to_uppercase();
            let between = before.chars().filter(|letter| letter.is_whitespace()).count();
            let splices = difference(&before, &after);
            assert_eq!(replay(&before, &splices), after);
            assert!(splices.len() >= between - 2, "{} of {between}", splices.len());
        }
    }

    #[test]
    fn what_comes_or_goes_begins_with_a_word_or_a_line() {
        // Would join two words once somebody else removes the word in front, with the space behind it.
        let came = |before: &str, after: &str| difference(before, after).remove(0);
        let splice =
            |position, deleted, inserted: &str| Splice { position, deleted, inserted: inserted.into() };
        assert_eq!(came("one two", "one x two"), splice(4, 0, "x "));
        assert_eq!(came("one x two", "one two"), splice(4, 2, ""));
        assert_eq!(came("one\n\ntwo", "one\n\nx\n\ntwo"), splice(5, 0, "x\n\n"));
        assert_eq!(came("a, b, c", "a, x, b, c"), splice(3, 0, "x, "));
        assert_eq!(came("one", "one two"), splice(3, 0, " two"));
    }

    #[test]
    fn a_corrected_word_keeps_its_letters_and_another_word_keeps_none() {
        // Would let somebody's removal of the old word take letters out of the new one.
        assert_eq!(touched(&difference("I recieve it", "I receive it")), 2);
        let in_front = Splice { position: 2, deleted: 1, inserted: "unp".into() };
        assert_eq!(difference("I pack it", "I unpack it"), [in_front]);
        assert_eq!(
            difference("pack the tent now", "pack the stove now"),
            [Splice { position: 9, deleted: 4, inserted: "stove".into() }]
        );
    }
}
