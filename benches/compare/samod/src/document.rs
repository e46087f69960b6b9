//! A document of samod, and its change events.

use std::pin::Pin;

use automerge::transaction::Transactable;
use automerge::{Automerge, AutomergeError, ChangeHash, ROOT, ReadDoc, ScalarValue};
use futures_util::{Stream, StreamExt};
use headwater_compare_adapter::{Changes, Document, Result};
use samod::DocHandle;
use serde_json::{Map, Value};

/// A handle of samod.
pub(crate) struct SamodDocument {
    pub(crate) handle: DocHandle,
}

impl SamodDocument {
    /// The hashes of all its changes.
    pub(crate) fn change_hashes(&self) -> Vec<ChangeHash> {
        self.handle
            .with_document(|document| document.get_changes(&[]).iter().map(|change| change.hash()).collect())
    }
}

/// An Automerge document of these fields, made with one change.
pub(crate) fn automerge(fields: &Map<String, Value>) -> Result<Automerge> {
    let mut document = Automerge::new();
    put(&mut document, fields.iter().map(|(field, value)| (field.as_str(), value)))?;
    Ok(document)
}

impl Document for SamodDocument {
    type Changes = SamodChanges;

    fn id(&self) -> String {
        self.handle.document_id().to_string()
    }

    // As samod's introduction does it, in the calling task: the document is stored and sent by the tasks behind it.
    async fn edit(&self, field: &str, value: &Value) -> Result<()> {
        self.handle.with_document(|document| put(document, [(field, value)]))
    }

    fn rating(&self) -> Result<f64> {
        rating(&self.handle)
    }

    fn changes(&self) -> Result<SamodChanges> {
        Ok(SamodChanges { handle: self.handle.clone(), events: Box::pin(self.handle.changes().map(drop)) })
    }
}

/// samod's events say only which heads a document has now, so the value is read from the document.
pub(crate) struct SamodChanges {
    handle: DocHandle,
    events: Pin<Box<dyn Stream<Item = ()> + Send>>,
}

impl Changes for SamodChanges {
    async fn next(&mut self) -> Result<f64> {
        self.events.next().await.ok_or("the repository has stopped")?;
        rating(&self.handle)
    }
}

fn rating(handle: &DocHandle) -> Result<f64> {
    let value = handle.with_document(|document| {
        let value = document.get(ROOT, "rating")?;
        Ok::<_, AutomergeError>(value.and_then(|(value, _)| value.as_scalar().and_then(ScalarValue::as_f64)))
    })?;
    value.ok_or_else(|| format!("document {} has no number as its rating", handle.document_id()).into())
}

/// Sets fields with one change.
fn put<'a>(document: &mut Automerge, fields: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<()> {
    let fields: Result<Vec<_>> =
        fields.into_iter().map(|(field, value)| Ok((field, scalar(value)?))).collect();
    let fields = fields?;
    document
        .transact(|change| fields.into_iter().try_for_each(|(field, value)| change.put(ROOT, field, value)))
        .map_err(|failure| failure.error)?;
    Ok(())
}

/// Strings are scalars here, as records have them: not texts to be edited by the letter.
fn scalar(value: &Value) -> Result<ScalarValue> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        Value::Number(value) => match value.as_i64() {
            Some(value) => value.into(),
            None => value.as_f64().ok_or("a number that is too large")?.into(),
        },
        Value::Array(_) | Value::Object(_) => return Err("a field that is not a scalar".into()),
    })
}
