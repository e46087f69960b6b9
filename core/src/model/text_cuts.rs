//! Where a text is cut to be compared: behind blocks, and behind words.

use std::ops::Range;

/// Longer runs of letters without anything between them are no words: their letters stand for themselves.
const WORD_LETTERS_MAX: usize = 64;
/// Letters that decide together whether a block ends behind them.
const BLOCK_WINDOW: usize = 4;
/// One in so many places that could end a block does: behind white space, and elsewhere.
const BLOCK_ENDS: (u32, u32) = (8, 128);

/// Cuts behind each line, and within long lines where a few letters say so: wherever the same letters stand, the cut is the same,
/// so that an edit moves no cut but those next to it.
pub(super) fn block_ends(letters: &[char]) -> Vec<usize> {
    let (behind_space, elsewhere) = BLOCK_ENDS;
    let mut ends = Vec::with_capacity(letters.len() / 32 + 1);
    // Within a word no block ends: the same first letters of another word would count as the block's end.
    for end in word_ends(letters) {
        let window = &letters[end.saturating_sub(BLOCK_WINDOW)..end];
        // FNV-1a; its upper bits mix better than its lower ones.
        let mixed = window
            .iter()
            .fold(0x811c_9dc5_u32, |mixed, letter| (mixed ^ u32::from(*letter)).wrapping_mul(0x0100_0193));
        let letter = letters[end - 1];
        let one_in = if letter.is_whitespace() { behind_space } else { elsewhere };
        if letter == '\n' || (mixed >> 8).is_multiple_of(one_in) {
            ends.push(end);
        }
    }
    close(ends, letters.len())
}

/// Cuts behind each word, and behind each letter that is part of none.
pub(super) fn word_ends(letters: &[char]) -> Vec<usize> {
    let mut ends = Vec::with_capacity(letters.len() / 3 + 1);
    let mut start = 0;
    while start < letters.len() {
        let len = letters[start..].iter().take_while(|letter| is_of_word(**letter)).count();
        match len {
            0 => ends.push(start + 1),
            1..=WORD_LETTERS_MAX => ends.push(start + len),
            _ => ends.extend(start + 1..=start + len),
        }
        start += len.max(1);
    }
    close(ends, letters.len())
}

/// Whether a letter makes a word together with its neighbours. Scripts that put no space between words give one letter at a time.
pub(super) fn is_of_word(letter: char) -> bool {
    /// Thai to Khmer, and from the CJK radicals to the Hangul syllables.
    const WITHOUT_SPACES: [std::ops::RangeInclusive<char>; 4] =
        ['\u{e00}'..='\u{eff}', '\u{1000}'..='\u{109f}', '\u{1780}'..='\u{17ff}', '\u{2e80}'..='\u{9fff}'];
    (letter.is_alphanumeric() || letter == '_' || is_mark(letter))
        && !WITHOUT_SPACES.iter().any(|range| range.contains(&letter))
        && letter < '\u{20000}'
}

/// Whether a word stands at `place`, and nothing of it in front.
pub(super) fn begins_word(letters: &[char], place: usize) -> bool {
    letters.get(place).is_some_and(|letter| is_of_word(*letter))
        && place.checked_sub(1).is_none_or(|before| !is_of_word(letters[before]))
}

/// Accents that stand on the letter before them.
fn is_mark(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}')
}

fn close(mut ends: Vec<usize>, len: usize) -> Vec<usize> {
    if ends.last().copied().unwrap_or(0) < len {
        ends.push(len);
    }
    ends
}

/// Where words stand. Scripts without spaces have one in each letter.
pub(super) fn words(letters: &[char]) -> Vec<Range<usize>> {
    let ends = word_ends(letters);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let is_word = |range: &Range<usize>| letters[range.start].is_alphanumeric();
    starts.zip(&ends).map(|(start, end)| start..*end).filter(is_word).collect()
}

pub(super) fn tokens<'a>(letters: &'a [char], ends: &[usize]) -> Vec<&'a [char]> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, end)| &letters[start..*end]).collect()
}

/// The letters of some tokens.
pub(super) fn letters_of(ends: &[usize], tokens: Range<usize>) -> Range<usize> {
    let end_of = |token: usize| token.checked_sub(1).map_or(0, |before| ends[before]);
    end_of(tokens.start)..end_of(tokens.end)
}
