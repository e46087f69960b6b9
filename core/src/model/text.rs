use std::fmt;
use std::ops::Deref;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::TEXT_NAME;
use super::text_difference::difference;

/// A string in which concurrent edits merge character by character.
///
/// Positions count characters (Unicode scalar values), as Automerge does. Each edit is remembered until the update that it
/// belongs to is written, so that what merges is the edit itself and not a guess from the two strings.
///
/// ```
/// use headwater::model::Text;
/// let mut notes = Text::from("juicy and sweet");
/// notes.splice(0, 5, "Very juicy");
/// notes.push_str("!");
/// assert_eq!(&*notes, "Very juicy and sweet!");
/// ```
#[derive(Clone, Default)]
pub struct Text {
    content: String,
    splices: Vec<Splice>,
}

/// One edit of a text: at `position`, `deleted` characters go and `inserted` comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Where, in characters from the start.
    pub position: usize,
    /// How many characters go.
    pub deleted: usize,
    /// What comes in their place.
    pub inserted: String,
}

impl Text {
    /// An empty text.
    pub fn new() -> Text {
        Text::default()
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// The length in characters.
    pub fn len_chars(&self) -> usize {
        self.content.chars().count()
    }

    /// Removes `deleted` characters at `position` and puts `inserted` there. A position or count beyond the end means the end.
    pub fn splice(&mut self, position: usize, deleted: usize, inserted: &str) {
        let splice = apply(&mut self.content, position, deleted, inserted);
        if splice.deleted > 0 || !splice.inserted.is_empty() {
            self.splices.push(splice);
        }
    }

    /// Puts `inserted` at `position`.
    pub fn insert(&mut self, position: usize, inserted: &str) {
        self.splice(position, 0, inserted);
    }

    /// Removes `count` characters at `position`.
    pub fn delete(&mut self, position: usize, count: usize) {
        self.splice(position, count, "");
    }

    /// Puts `inserted` at the end.
    pub fn push_str(&mut self, inserted: &str) {
        self.splice(self.len_chars(), 0, inserted);
    }

    /// The edits that lead from `before` to this text: the ones recorded, or, where this text did not grow out of `before`, the
    /// difference of the two.
    ///
    /// Recorded edits that touch are made one: what was typed at one place in several steps is inserted as one run, which nobody
    /// else's run at that place gets into, and what was typed and taken back leaves no trace.
    pub(crate) fn splices_since(&self, before: &str) -> Vec<Splice> {
        let joined = join(&self.splices, before.chars().count());
        let mut replay = before.to_owned();
        for splice in &joined {
            apply(&mut replay, splice.position, splice.deleted, &splice.inserted);
        }
        if replay == self.content { joined } else { difference(before, &self.content) }
    }

    pub(crate) fn from_parts(content: String, splices: Vec<Splice>) -> Text {
        Text { content, splices }
    }
}

/// The same edits with those that touch made one, each at its position when the earlier ones are done.
fn join(splices: &[Splice], before: usize) -> Vec<Splice> {
    if let [_] | [] = splices {
        return splices.to_vec();
    }
    let mut pieces = vec![Piece::Kept(before)];
    for splice in splices {
        let start = cut(&mut pieces, splice.position);
        let end = cut(&mut pieces, splice.position.saturating_add(splice.deleted));
        let gone = pieces[start..end].iter().map(|piece| match piece {
            Piece::Kept(len) | Piece::Gone(len) => *len,
            Piece::Came(_) => 0,
        });
        let between = [Piece::Gone(gone.sum()), Piece::Came(splice.inserted.chars().collect())];
        drop(pieces.splice(start..end, between));
    }
    let mut joined: Vec<Splice> = Vec::new();
    let (mut position, mut is_touching) = (0, false);
    for piece in pieces {
        let (deleted, inserted) = match piece {
            Piece::Kept(0) => continue,
            Piece::Kept(len) => {
                (position, is_touching) = (position + len, false);
                continue;
            }
            Piece::Gone(len) => (len, Vec::new()),
            Piece::Came(letters) => (0, letters),
        };
        if deleted == 0 && inserted.is_empty() {
            continue;
        }
        if !is_touching {
            joined.push(Splice { position, deleted: 0, inserted: String::new() });
            is_touching = true;
        }
        position += inserted.len();
        if let Some(last) = joined.last_mut() {
            last.deleted += deleted;
            last.inserted.extend(inserted);
        }
    }
    joined
}

/// A stretch of a text that edits made of another.
enum Piece {
    /// Letters of the text before, still there.
    Kept(usize),
    /// Letters of the text before, not there any more.
    Gone(usize),
    /// Letters that came.
    Came(Vec<char>),
}

/// Cuts the pieces at a position in what is there now. Returns the first piece behind it.
fn cut(pieces: &mut Vec<Piece>, position: usize) -> usize {
    let mut left = position;
    let mut index = 0;
    while let Some(piece) = pieces.get_mut(index) {
        let len = match piece {
            Piece::Kept(len) => *len,
            Piece::Gone(_) => 0,
            Piece::Came(letters) => letters.len(),
        };
        if left == 0 {
            break;
        }
        if left < len {
            let behind = match piece {
                Piece::Kept(kept) => Piece::Kept(std::mem::replace(kept, left) - left),
                Piece::Came(letters) => Piece::Came(letters.split_off(left)),
                Piece::Gone(_) => Piece::Gone(0),
            };
            pieces.insert(index + 1, behind);
            return index + 1;
        }
        left -= len;
        index += 1;
    }
    index
}

/// Applies one edit and returns it cut to what the string holds.
fn apply(content: &mut String, position: usize, deleted: usize, inserted: &str) -> Splice {
    if content.is_ascii() {
        let start = position.min(content.len());
        let end = start.saturating_add(deleted).min(content.len());
        content.replace_range(start..end, inserted);
        return Splice { position: start, deleted: end - start, inserted: inserted.to_owned() };
    }
    let mut offsets = content.char_indices().map(|(offset, _)| offset).chain([content.len()]);
    let mut start_chars = 0;
    let mut start = 0;
    for (count, offset) in offsets.by_ref().enumerate() {
        (start_chars, start) = (count, offset);
        if count == position {
            break;
        }
    }
    let (mut count, mut end) = (0, start);
    for offset in offsets.take(deleted) {
        count += 1;
        end = offset;
    }
    content.replace_range(start..end, inserted);
    Splice { position: start_chars, deleted: count, inserted: inserted.to_owned() }
}

impl From<&str> for Text {
    fn from(content: &str) -> Text {
        Text { content: content.to_owned(), splices: Vec::new() }
    }
}

impl From<String> for Text {
    fn from(content: String) -> Text {
        Text { content, splices: Vec::new() }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.content
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.content)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.content, f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.content == other.content
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.content == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.content == *other
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TEXT_NAME, &Body(self))
    }
}

/// The content as a plain string for formats that people read; with its edits for our own serializer (and other binary ones).
struct Body<'a>(&'a Text);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.0.content)
        } else {
            (&self.0.content, &self.0.splices).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_NAME, TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer).map(Text::from)
        } else {
            <(String, Vec<Splice>)>::deserialize(deserializer)
                .map(|(content, splices)| Text { content, splices })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_are_cut_to_the_text() {
        // Would panic, or split a character, if positions were bytes.
        let mut text = Text::from("äöü");
        text.splice(1, 1, "é");
        assert_eq!(text, "äéü");
        text.splice(99, 5, "!");
        assert_eq!(text, "äéü!");
        text.splice(2, 99, "");
        assert_eq!(text, "äé");
    }

    #[test]
    fn recorded_edits_win_over_a_guess() {
        // "aaa" plus "a" at the front: a difference of the strings would say "at the end".
        let mut text = Text::from("aaa");
        text.insert(0, "a");
        assert_eq!(text.splices_since("aaa"), vec![Splice { position: 0, deleted: 0, inserted: "a".into() }]);
    }

    #[test]
    fn a_replaced_text_falls_back_to_the_difference() {
        // Would write the whole text again, and lose the other device's words, without the difference.
        let text = Text::from("the quick red fox");
        let mut replay = String::from("the slow red fox!");
        for s in text.splices_since("the slow red fox!") {
            apply(&mut replay, s.position, s.deleted, &s.inserted);
        }
        assert_eq!(replay, "the quick red fox");
    }

    #[test]
    fn json_sees_a_plain_string() {
        // Would leak the edit list into an app's JSON.
        let mut text = Text::from("a");
        text.push_str("b");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"ab\"");
        assert_eq!(serde_json::from_str::<Text>("\"ab\"").unwrap(), text);
    }
}
