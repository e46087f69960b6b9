//! The steps of one local edit, as the changes that they become: one, or several where one would be larger than any relay takes.
//!
//! Several changes of one edit are stored in one transaction, so on this device there is all of the edit or nothing of it. They
//! travel one by one: another device can see the first of them for as long as the others are on their way.

use automerge::transaction::{CommitOptions, OwnedTransaction, Transactable};
use automerge::{Automerge, Change, ObjId, ObjType, Prop, ReadDoc, ScalarValue};
use headwater_storage::ChangeHash;

use super::order;
use crate::document::WriteError;
use crate::document::content::again_message;
use crate::document::show::counters::Counters;
use crate::document::show::place::{Place, Shown, unreadable};
use crate::document::show::read::Reader;
use crate::document::show::texts::{KnownTexts, Texts};
use crate::model::{Map, Splice};

/// About what the operations of one change take, in bytes. Well below the limit of 256 KiB, because it is an estimate.
const CHANGE_BYTES: usize = 192 << 10;
/// Operations in one change, below the limit of 100,000.
const CHANGE_OPERATIONS: usize = 90_000;

/// What an operation takes beside its value: where it stands, and what it replaces.
const OPERATION_BYTES: usize = 24;
/// What a letter takes that goes: its place, and a share of the runs around it.
const DELETED_LETTER_BYTES: usize = 6;
/// What a letter takes beside its own bytes that comes as one of a run.
const INSERTED_LETTER_BYTES: usize = 1;

/// Writes into a document, and cuts what it writes into changes.
pub(crate) struct Writer<'a> {
    /// `None` only while one change ends and the next one begins.
    transaction: Option<OwnedTransaction>,
    time_ms: i64,
    again: Option<ChangeHash>,
    made: Vec<Change>,
    /// Of the change that is being made.
    bytes: usize,
    operations: usize,
    texts: &'a mut Texts,
    /// Tells this editor's runs of elements from others'.
    mark: String,
}

impl<'a> Writer<'a> {
    /// `again` is the change that is written again, if it is one.
    pub(crate) fn new(
        document: Automerge,
        time_ms: i64,
        again: Option<ChangeHash>,
        texts: &'a mut Texts,
    ) -> Result<Self, WriteError> {
        texts.begin(&document);
        let mark = order::mark(document.get_actor().to_bytes());
        let transaction = Some(begin(document)?);
        Ok(Writer { transaction, time_ms, again, made: Vec::new(), bytes: 0, operations: 0, texts, mark })
    }

    /// Ends the edit. Returns the document and the changes, in order.
    pub(crate) fn finish(mut self) -> Result<(Automerge, Vec<Change>), WriteError> {
        let document = self.commit()?;
        self.texts.end(&document);
        Ok((document, self.made))
    }

    /// What a reader sees at a place, before this edit has touched it.
    pub(crate) fn shown(&mut self, place: Place<'_>) -> Result<Option<Shown>, WriteError> {
        Ok(place.shown(self.transaction()?)?)
    }

    /// The objects that are the container at a place, if one of this kind is there.
    pub(crate) fn container(
        &mut self,
        place: Place<'_>,
        kind: ObjType,
    ) -> Result<Option<Vec<ObjId>>, WriteError> {
        Ok(match self.shown(place)? {
            Some(Shown::Container(found, objects)) if found == kind => Some(objects),
            _ => None,
        })
    }

    /// The fields of a map that no reader sees now. Counters are left out where only the history tells what they come to.
    pub(crate) fn hidden_fields(&mut self, map: &ObjId) -> Result<Map, WriteError> {
        let (texts, counters) = (KnownTexts::default(), Counters::default());
        let document = &*self.transaction()?;
        let reader = Reader { document, texts, counters: &counters };
        Ok(reader.fields(std::slice::from_ref(map), 0)?)
    }

    pub(crate) fn put(&mut self, place: Place<'_>, value: ScalarValue) -> Result<(), WriteError> {
        let (object, prop) = self.only(place)?;
        if matches!(value, ScalarValue::F64(0.0)) && is_nought(self.transaction()?, object, &prop)? {
            // Automerge takes 0 and -0 for the same value, and would not write the one over the other.
            self.room(1, name_bytes(&prop))?;
            self.transaction()?.put(object, prop.clone(), ScalarValue::Null)?;
        }
        self.room(1, name_bytes(&prop) + value_bytes(&value))?;
        Ok(self.transaction()?.put(object, prop, value)?)
    }

    pub(crate) fn put_object(&mut self, place: Place<'_>, kind: ObjType) -> Result<ObjId, WriteError> {
        let (object, prop) = self.only(place)?;
        self.room(1, name_bytes(&prop))?;
        Ok(self.transaction()?.put_object(object, prop, kind)?)
    }

    pub(crate) fn delete(&mut self, place: Place<'_>) -> Result<(), WriteError> {
        match place {
            Place::Element { list, index } => self.delete_at(list, Prop::Seq(index)),
            Place::Field { maps: [map], name } => self.delete_at(map, Prop::Map(name.to_owned())),
            Place::Field { maps, name } => self.clear(maps, name),
        }
    }

    /// Takes a field from each of several maps that has it.
    fn clear(&mut self, maps: &[ObjId], name: &str) -> Result<(), WriteError> {
        for map in maps {
            let place = Place::Field { maps: std::slice::from_ref(map), name };
            if place.is_taken(self.transaction()?)? {
                self.delete_at(map, Prop::Map(name.to_owned()))?;
            }
        }
        Ok(())
    }

    fn delete_at(&mut self, object: &ObjId, prop: Prop) -> Result<(), WriteError> {
        self.room(1, name_bytes(&prop))?;
        Ok(self.transaction()?.delete(object, prop)?)
    }

    /// Counts where a counter is shown.
    pub(crate) fn increment(&mut self, place: Place<'_>, by: i64) -> Result<(), WriteError> {
        let (object, prop) = match place {
            Place::Element { list, index } => (list, Prop::Seq(index)),
            Place::Field { maps, name } => {
                let mut holder = maps.last().ok_or_else(no_map)?;
                for map in maps.iter().rev() {
                    let place = Place::Field { maps: std::slice::from_ref(map), name };
                    if matches!(self.shown(place)?, Some(Shown::Counter { .. })) {
                        holder = map;
                        break;
                    }
                }
                (holder, Prop::Map(name.to_owned()))
            }
        };
        self.room(1, name_bytes(&prop))?;
        Ok(self.transaction()?.increment(object, prop, by)?)
    }

    /// Where something new goes: into the last of several maps that are one, and out of the others.
    fn only<'p>(&mut self, place: Place<'p>) -> Result<(&'p ObjId, Prop), WriteError> {
        Ok(match place {
            Place::Element { list, index } => (list, Prop::Seq(index)),
            Place::Field { maps, name } => {
                let (last, others) = maps.split_last().ok_or_else(no_map)?;
                self.clear(others, name)?;
                (last, Prop::Map(name.to_owned()))
            }
        })
    }

    pub(crate) fn insert(
        &mut self,
        list: &ObjId,
        index: usize,
        value: ScalarValue,
    ) -> Result<(), WriteError> {
        self.room(1, value_bytes(&value))?;
        Ok(self.transaction()?.insert(list, index, value)?)
    }

    pub(crate) fn insert_object(
        &mut self,
        list: &ObjId,
        index: usize,
        kind: ObjType,
    ) -> Result<ObjId, WriteError> {
        self.room(1, 0)?;
        Ok(self.transaction()?.insert_object(list, index, kind)?)
    }

    /// Edits a text that holds `before`; several that are one text hold it together.
    pub(crate) fn edit_text(
        &mut self,
        texts: &[ObjId],
        before: &str,
        after: &str,
        splices: &[Splice],
    ) -> Result<(), WriteError> {
        let [text] = texts else { return self.edit_parts(texts, splices) };
        if let Some(transaction) = &self.transaction {
            self.texts.note(transaction, text, before, after);
        }
        for Splice { position, deleted, inserted } in splices {
            match deleted.checked_sub(1) {
                // Behind the first letter that goes, so that what others insert in front of the letters stays in front, and what
                // they insert behind them stays behind.
                Some(rest) if !inserted.is_empty() => {
                    self.splice(text, position + 1, rest, inserted)?;
                    self.splice(text, *position, 1, "")?;
                }
                _ => self.splice(text, *position, *deleted, inserted)?,
            }
        }
        Ok(())
    }

    /// Edits a text of several parts: each letter in the part that it stands in.
    fn edit_parts(&mut self, texts: &[ObjId], splices: &[Splice]) -> Result<(), WriteError> {
        let mut lens = Vec::with_capacity(texts.len());
        for text in texts {
            self.texts.forget(text);
            lens.push(self.transaction()?.text(text).map_err(unreadable)?.chars().count());
        }
        for Splice { position, deleted, inserted } in splices {
            let (mut position, mut deleted, mut inserted) = (*position, *deleted, inserted.as_str());
            for (text, len) in texts.iter().zip(&mut lens) {
                let is_inside = position < *len || (position == *len && !inserted.is_empty() && deleted == 0);
                if !is_inside {
                    position -= (*len).min(position);
                    continue;
                }
                let goes = deleted.min(*len - position);
                self.splice(text, position, goes, inserted)?;
                *len = *len - goes + inserted.chars().count();
                (deleted, inserted, position) = (deleted - goes, "", 0);
                if deleted == 0 {
                    break;
                }
            }
            if !inserted.is_empty()
                && let Some((text, len)) = texts.last().zip(lens.last_mut())
            {
                self.splice(text, *len, 0, inserted)?;
                *len += inserted.chars().count();
            }
        }
        Ok(())
    }

    /// How many elements the parts of a list have.
    pub(crate) fn lens(&mut self, lists: &[ObjId]) -> Result<Vec<usize>, WriteError> {
        let document = self.transaction()?;
        Ok(lists.iter().map(|list| document.length(list)).collect())
    }

    /// The mark of this editor's runs.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// Writes what a new text begins with.
    pub(crate) fn fill_text(&mut self, text: &ObjId, content: &str) -> Result<(), WriteError> {
        self.splice(text, 0, 0, content)
    }

    /// Adds letters behind the `at` letters that a text has.
    pub(crate) fn append_text(&mut self, text: &ObjId, at: usize, content: &str) -> Result<(), WriteError> {
        self.splice(text, at, 0, content)
    }

    /// Replaces letters of a text, in as many steps as changes have room for.
    fn splice(
        &mut self,
        text: &ObjId,
        mut position: usize,
        mut deleted: usize,
        mut inserted: &str,
    ) -> Result<(), WriteError> {
        while deleted > 0 || !inserted.is_empty() {
            let room = |writer: &Self| {
                (CHANGE_OPERATIONS - writer.operations, CHANGE_BYTES.saturating_sub(writer.bytes))
            };
            let (operations, bytes) = room(self);
            let goes = deleted.min(operations).min(bytes / DELETED_LETTER_BYTES);
            let (operations, bytes) = (operations - goes, bytes - goes * DELETED_LETTER_BYTES);
            let (comes, letters) =
                if goes == deleted { beginning(inserted, operations, bytes) } else { (0, 0) };
            if goes == 0 && letters == 0 {
                self.next_change()?;
                continue;
            }
            self.operations += goes + letters;
            self.bytes += goes * DELETED_LETTER_BYTES + comes + letters * INSERTED_LETTER_BYTES;
            let transaction = self.transaction()?;
            transaction.splice_text(text, position, goes as isize, &inserted[..comes])?;
            (position, deleted, inserted) = (position + letters, deleted - goes, &inserted[comes..]);
        }
        Ok(())
    }

    /// Begins another change if so many more operations and bytes do not fit into this one.
    fn room(&mut self, operations: usize, bytes: usize) -> Result<(), WriteError> {
        let bytes = bytes + operations * OPERATION_BYTES;
        let fits = self.operations + operations <= CHANGE_OPERATIONS && self.bytes + bytes <= CHANGE_BYTES;
        if !fits && self.operations > 0 {
            self.next_change()?;
        }
        self.operations += operations;
        self.bytes += bytes;
        Ok(())
    }

    fn next_change(&mut self) -> Result<(), WriteError> {
        let document = self.commit()?;
        self.transaction = Some(begin(document)?);
        (self.bytes, self.operations) = (0, 0);
        Ok(())
    }

    /// Ends the change that is being made, if anything is in it.
    fn commit(&mut self) -> Result<Automerge, WriteError> {
        let transaction = self.transaction.take().ok_or_else(no_transaction)?;
        let mut options = CommitOptions::default().with_time(self.time_ms);
        if let Some(again) = self.again {
            options = options.with_message(again_message(again));
        }
        let (document, hash, _patches) = transaction.commit_with(options);
        if hash.is_some() {
            self.made.extend(document.get_last_local_change());
        }
        Ok(document)
    }

    pub(crate) fn transaction(&mut self) -> Result<&mut OwnedTransaction, WriteError> {
        self.transaction.as_mut().ok_or_else(no_transaction)
    }
}

fn begin(document: Automerge) -> Result<OwnedTransaction, WriteError> {
    document.into_transaction(None, None).map_err(|error| WriteError::Engine(error.to_string()))
}

/// Whether a float at a place is 0 or -0.
fn is_nought(transaction: &OwnedTransaction, object: &ObjId, prop: &Prop) -> Result<bool, WriteError> {
    let found = transaction.get(object, prop.clone())?;
    let Some((automerge::Value::Scalar(found), _)) = found else { return Ok(false) };
    Ok(matches!(*found, ScalarValue::F64(0.0)))
}

fn no_map() -> WriteError {
    WriteError::Engine("a field is in a map".to_owned())
}

fn no_transaction() -> WriteError {
    WriteError::Engine("an earlier step of the edit failed".to_owned())
}

/// How many bytes, and how many letters, of the beginning of a text fit.
fn beginning(text: &str, letters_max: usize, bytes_max: usize) -> (usize, usize) {
    let (mut bytes, mut letters) = (0, 0);
    for letter in text.chars() {
        let len = letter.len_utf8();
        if letters == letters_max || bytes + len + (letters + 1) * INSERTED_LETTER_BYTES > bytes_max {
            break;
        }
        (bytes, letters) = (bytes + len, letters + 1);
    }
    (bytes, letters)
}

fn name_bytes(prop: &Prop) -> usize {
    match prop {
        Prop::Map(name) => name.len(),
        Prop::Seq(_) => 0,
    }
}

fn value_bytes(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::Str(text) => text.len(),
        ScalarValue::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}
