//! The long texts of a document that is being typed into, as strings.
//!
//! To read a text the merge engine walks all that was ever typed into it, which at each keystroke costs more than everything else.
//! What a local edit makes of a text is known without: it is what the app made of it. What comes from elsewhere is read.

//!
//! What is known holds for one position of the document, its heads. Whatever else moves the document, by whichever path, moves it
//! away from there, and the texts are read again.

use std::collections::HashMap;

use automerge::{Automerge, ChangeHash, ObjId, ReadDoc, ScalarValueRef, ValueRef};

/// Shorter texts are read in no time, in bytes. Builds that check what is known against what is read do so with nearly all.
const LONG_BYTES_MIN: usize = if cfg!(debug_assertions) { 8 } else { 512 };

/// What the texts of a document hold, of those that were edited here twice with nothing from elsewhere in between.
#[derive(Clone, Default)]
pub(crate) struct Texts {
    /// The heads of the document for which the rest holds.
    at: Vec<ChangeHash>,
    known: HashMap<ObjId, State>,
}

#[derive(Clone)]
enum State {
    /// Edited once: it may have been the only time.
    Edited,
    /// It holds exactly this, one character in each element.
    Is(String),
}

impl Texts {
    /// What is known of the texts of a document.
    pub(crate) fn of(&self, document: &Automerge) -> KnownTexts<'_> {
        let is_current = !self.known.is_empty() && self.at == document.get_heads();
        KnownTexts(is_current.then_some(&self.known))
    }

    /// Before the first step of a local edit.
    pub(crate) fn begin(&mut self, document: &Automerge) {
        if !self.known.is_empty() && self.at != document.get_heads() {
            self.known.clear();
        }
    }

    /// Notes what a local edit is about to make of a text. `document` shows it as it is before.
    pub(crate) fn note(&mut self, document: &impl ReadDoc, text: &ObjId, before: &str, after: &str) {
        if after.len() < LONG_BYTES_MIN {
            if !cfg!(bug = "short-text-stays-known") {
                self.known.remove(text);
            }
            return;
        }
        let state = match self.known.get(text) {
            None => State::Edited,
            Some(State::Edited) if !holds(document, text, before) => return,
            Some(_) => State::Is(after.to_owned()),
        };
        self.known.insert(text.clone(), state);
    }

    /// Notes that a local edit makes of a text what nobody says here.
    pub(crate) fn forget(&mut self, text: &ObjId) {
        self.known.remove(text);
    }

    /// After the last step of a local edit, once it is a change.
    pub(crate) fn end(&mut self, document: &Automerge) {
        if !self.known.is_empty() {
            self.at = document.get_heads();
        }
    }
}

/// What is known of the texts of a document as it is now.
#[derive(Clone, Copy, Default)]
pub(crate) struct KnownTexts<'a>(Option<&'a HashMap<ObjId, State>>);

impl<'a> KnownTexts<'a> {
    pub(crate) fn get(self, text: &ObjId) -> Option<&'a str> {
        match self.0?.get(text) {
            Some(State::Is(content)) => Some(content),
            _ => None,
        }
    }
}

/// Whether a text holds exactly this, one character in each element. Others can put more into one, which an edit then cannot part.
fn holds(document: &impl ReadDoc, text: &ObjId, content: &str) -> bool {
    let mut characters = content.chars();
    document.list_range(text, ..).all(|item| match &item.value {
        ValueRef::Scalar(ScalarValueRef::Str(element)) => {
            let mut element = element.chars();
            element.next().is_some_and(|one| characters.next() == Some(one)) && element.next().is_none()
        }
        _ => false,
    }) && characters.next().is_none()
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, AutoCommit, ObjType, ROOT};
    use bytes::Bytes;

    use super::*;
    use crate::document::{Document, LocalEdit, Tombstone};
    use crate::model::{Map, Text, Value as Field};

    const LONG: &str = "Wóshed, juicy; ";

    fn long() -> String {
        LONG.repeat(LONG_BYTES_MIN / LONG.len() + 1)
    }

    /// As the app does it: what it saw, and what it made of it.
    fn type_in(document: &mut Document, position: usize, deleted: usize, inserted: &str) {
        let current = document.fields().unwrap();
        let mut after = current.clone();
        let Some(Field::Text(text)) = after.get_mut("notes") else { panic!("{after:?}") };
        text.splice(position, deleted, inserted);
        let expected = text.as_str().to_owned();
        write(document, &current, &after);
        assert_eq!(document.fields().unwrap().get("notes").and_then(Field::as_str), Some(&*expected));
        assert_eq!(engine(document), expected);
    }

    fn write(document: &mut Document, current: &Map, after: &Map) {
        let edit = LocalEdit {
            new_in: None,
            tombstone: Tombstone::Leave,
            current,
            before: current,
            after,
            again: None,
        };
        document.edit(&[1; 20], 5, &edit).unwrap();
    }

    fn note(content: &str) -> Document {
        let mut document = Document::new();
        let after = Map::from([("notes".to_owned(), Field::Text(Text::from(content)))]);
        write(&mut document, &Map::new(), &after);
        document
    }

    fn id(document: &Document) -> ObjId {
        document.automerge().get(ROOT, "notes").unwrap().unwrap().1
    }

    fn engine(document: &Document) -> String {
        document.automerge().text(id(document)).unwrap()
    }

    fn is_known(document: &Document) -> bool {
        document.texts.of(document.automerge()).get(&id(document)).is_some()
    }

    /// What somebody else does to the text.
    fn from_elsewhere(document: &mut Document, edit: impl FnOnce(&mut AutoCommit, ObjId)) {
        let mut other =
            AutoCommit::load(&document.automerge().save()).unwrap().with_actor(ActorId::from(&[9; 20]));
        let before = other.get_heads();
        edit(&mut other, id(document));
        let changes = other.get_changes(&before);
        document
            .apply(
                &changes.iter().map(|change| Bytes::copy_from_slice(change.raw_bytes())).collect::<Vec<_>>(),
            )
            .unwrap();
    }

    #[test]
    fn a_long_text_that_is_typed_into_is_known_without_reading_it() {
        let mut document = note(&long());
        type_in(&mut document, 3, 2, "x");
        assert!(!is_known(&document), "once is no typing");
        for (position, deleted, inserted) in [(0, 0, "ö"), (5, 1, ""), (9_999, 0, "end"), (1, 3, "√2")] {
            type_in(&mut document, position, deleted, inserted);
            assert!(is_known(&document));
        }
        // Another field's edit says nothing about it.
        let current = document.fields().unwrap();
        let mut after = current.clone();
        after.insert("rating".to_owned(), Field::Int(4));
        write(&mut document, &current, &after);
        assert!(is_known(&document));
        assert_eq!(
            document.fields().unwrap().get("notes").and_then(Field::as_str),
            Some(&*engine(&document))
        );
        // A new text in its place is another one.
        let current = document.fields().unwrap();
        let after = Map::from([("notes".to_owned(), Field::Int(7))]);
        write(&mut document, &current, &after);
        write(&mut document, &after, &current);
        assert!(!is_known(&document));
    }

    #[test]
    fn a_text_that_becomes_short_and_long_again_is_what_was_typed() {
        // Would show the text as it was before it was cleared, and refuse every later edit.
        let mut document = note(&long());
        for round in 0..3 {
            type_in(&mut document, 3, 2, "x");
            type_in(&mut document, 4, 0, "y");
            type_in(&mut document, 0, 9_999, "");
            type_in(&mut document, 0, 0, &"z".repeat(round));
            type_in(&mut document, 0, 0, &long());
            type_in(&mut document, 1, 1, "again");
            type_in(&mut document, 2, 1, "and again");
            assert!(is_known(&document));
        }
    }

    #[test]
    fn what_moves_the_document_by_any_path_ends_what_is_known() {
        // Would answer with a text of before, wherever a path forgot to say that something changed.
        let mut document = note(&long());
        type_in(&mut document, 3, 2, "x");
        type_in(&mut document, 4, 0, "y");
        assert!(is_known(&document));
        let text = id(&document);
        let mut transaction = document.automerge_mut().transaction();
        transaction.splice_text(&text, 0, 5, "").unwrap();
        transaction.commit();
        assert!(!is_known(&document));
        assert_eq!(
            document.fields().unwrap().get("notes").and_then(Field::as_str),
            Some(&*engine(&document))
        );
    }

    #[test]
    fn what_comes_from_elsewhere_is_read() {
        let mut document = note(&long());
        type_in(&mut document, 3, 2, "x");
        type_in(&mut document, 4, 0, "y");
        from_elsewhere(&mut document, |other, text| other.splice_text(&text, 7, 3, "theirs").unwrap());
        assert!(!is_known(&document));
        assert_eq!(
            document.fields().unwrap().get("notes").and_then(Field::as_str),
            Some(&*engine(&document))
        );
        type_in(&mut document, 8, 2, "mine");
        type_in(&mut document, 9, 0, "again");
        assert!(is_known(&document));
    }

    #[test]
    fn an_element_of_several_characters_is_never_taken_for_single_ones() {
        // Would show other text than the document holds, once an edit begins or ends inside such an element.
        let mut document = note(&long());
        from_elsewhere(&mut document, |other, text| other.insert(&text, 4, "several").unwrap());
        for position in [6, 7, 5] {
            let current = document.fields().unwrap();
            let mut after = current.clone();
            let Some(Field::Text(text)) = after.get_mut("notes") else { panic!("{after:?}") };
            text.splice(position, 2, "");
            write(&mut document, &current, &after);
            assert!(!is_known(&document));
            assert_eq!(
                document.fields().unwrap().get("notes").and_then(Field::as_str),
                Some(&*engine(&document))
            );
        }
        assert_eq!(document.automerge().object_type(id(&document)).unwrap(), ObjType::Text);
    }
}
