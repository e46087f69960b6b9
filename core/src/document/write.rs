//! The steps of one local edit, as the changes that they become: one, or several where one would be larger than any relay takes.
//!
//! Several changes of one edit are stored in one transaction, so on this device there is all of the edit or nothing of it. They
//! travel one by one: another device can see the first of them for as long as the others are on their way.

use automerge::transaction::{CommitOptions, OwnedTransaction, Transactable};
use automerge::{Automerge, Change, ObjId, ObjType, Prop, ReadDoc, ScalarValue};
use headwater_storage::ChangeHash;

use super::WriteError;
use super::content::again_message;
use super::texts::Texts;
use crate::model::Splice;

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
pub(super) struct Writer<'a> {
    /// `None` only while one change ends and the next one begins.
    transaction: Option<OwnedTransaction>,
    time_ms: i64,
    again: Option<ChangeHash>,
    made: Vec<Change>,
    /// Of the change that is being made.
    bytes: usize,
    operations: usize,
    texts: &'a mut Texts,
}

impl<'a> Writer<'a> {
    /// `again` is the change that is written again, if it is one.
    pub(super) fn new(
        document: Automerge,
        time_ms: i64,
        again: Option<ChangeHash>,
        texts: &'a mut Texts,
    ) -> Result<Self, WriteError> {
        texts.begin(&document);
        let transaction = Some(begin(document)?);
        Ok(Writer { transaction, time_ms, again, made: Vec::new(), bytes: 0, operations: 0, texts })
    }

    /// Ends the edit. Returns the document and the changes, in order.
    pub(super) fn finish(mut self) -> Result<(Automerge, Vec<Change>), WriteError> {
        let document = self.commit()?;
        self.texts.end(&document);
        Ok((document, self.made))
    }

    /// The object in a field or element, if it holds one.
    pub(super) fn container(&mut self, object: &ObjId, prop: &Prop) -> Result<Option<ObjId>, WriteError> {
        let found = self.transaction()?.get(object, prop.clone())?;
        Ok(found.and_then(|(value, id)| value.is_object().then_some(id)))
    }

    pub(super) fn put(&mut self, object: &ObjId, prop: Prop, value: ScalarValue) -> Result<(), WriteError> {
        self.room(1, name_bytes(&prop) + value_bytes(&value))?;
        Ok(self.transaction()?.put(object, prop, value)?)
    }

    pub(super) fn insert(
        &mut self,
        list: &ObjId,
        index: usize,
        value: ScalarValue,
    ) -> Result<(), WriteError> {
        self.room(1, value_bytes(&value))?;
        Ok(self.transaction()?.insert(list, index, value)?)
    }

    pub(super) fn put_object(
        &mut self,
        object: &ObjId,
        prop: Prop,
        kind: ObjType,
    ) -> Result<ObjId, WriteError> {
        self.room(1, name_bytes(&prop))?;
        Ok(self.transaction()?.put_object(object, prop, kind)?)
    }

    pub(super) fn insert_object(
        &mut self,
        list: &ObjId,
        index: usize,
        kind: ObjType,
    ) -> Result<ObjId, WriteError> {
        self.room(1, 0)?;
        Ok(self.transaction()?.insert_object(list, index, kind)?)
    }

    pub(super) fn delete(&mut self, object: &ObjId, prop: Prop) -> Result<(), WriteError> {
        self.room(1, name_bytes(&prop))?;
        Ok(self.transaction()?.delete(object, prop)?)
    }

    pub(super) fn increment(&mut self, object: &ObjId, prop: Prop, by: i64) -> Result<(), WriteError> {
        self.room(1, name_bytes(&prop))?;
        Ok(self.transaction()?.increment(object, prop, by)?)
    }

    /// Edits a text that holds `before`.
    pub(super) fn edit_text(
        &mut self,
        text: &ObjId,
        before: &str,
        after: &str,
        splices: &[Splice],
    ) -> Result<(), WriteError> {
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

    /// Writes what a new text begins with.
    pub(super) fn fill_text(&mut self, text: &ObjId, content: &str) -> Result<(), WriteError> {
        self.splice(text, 0, 0, content)
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

    fn transaction(&mut self) -> Result<&mut OwnedTransaction, WriteError> {
        self.transaction.as_mut().ok_or_else(no_transaction)
    }
}

fn begin(document: Automerge) -> Result<OwnedTransaction, WriteError> {
    document.into_transaction(None, None).map_err(|error| WriteError::Engine(error.to_string()))
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
