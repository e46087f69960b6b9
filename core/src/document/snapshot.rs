//! A document as one chunk, and back.
//!
//! A snapshot is used only after it was loaded again and compared: the changes are the truth, and what stands for them has to be
//! all of them.

use std::collections::HashMap;

use automerge::Automerge;
use bytes::Bytes;
use headwater_storage::{ChangeHash, ChangeRecord, PayloadKind, StoredEntity, StoredSnapshot};

use super::Document;
use super::cause::{Alarm, Fault};
use super::show::counters::Counters;
use super::show::read;
use super::show::texts::{KnownTexts, Texts};
use crate::ingest::{Chunk, IngestError, Panicked, check_stored, guarded, prevalidate_document};
use crate::model::{Map, Value};

/// What a chunk of a document has to be multiplied with to come near the bytes of its changes, for want of anything better.
const CHANGES_PER_CHUNK_BYTE: usize = 8;

impl Document {
    /// Builds the document from what is stored of it. Changes whose dependencies are missing wait inside.
    ///
    /// # Errors
    /// When the snapshot or one of the changes is damaged or does not apply.
    pub(crate) fn from_stored(stored: &StoredEntity) -> Result<Document, IngestError> {
        let mut document = match &stored.snapshot {
            Some(snapshot) => Document::from_snapshot(snapshot)?,
            None => Document::new(),
        };
        let checked = stored.changes.iter().map(|change| check_stored(&change.payload));
        let _stamps = document.apply_all(checked.collect::<Result<_, _>>()?, u64::MAX)?;
        Ok(document)
    }

    /// Builds the document from a snapshot that this replica stored.
    ///
    /// # Errors
    /// When it is not what was stored.
    pub(crate) fn from_snapshot(snapshot: &StoredSnapshot) -> Result<Document, IngestError> {
        let mut document = load(&snapshot.payload, snapshot.hash)?;
        document.size_bytes = usize::try_from(snapshot.changes_bytes).unwrap_or(usize::MAX);
        Ok(document)
    }

    /// Builds the document from a snapshot that came from elsewhere.
    ///
    /// # Errors
    /// When it is no snapshot, or does not hold together.
    pub(crate) fn from_record(record: &ChangeRecord) -> Result<Document, IngestError> {
        if record.kind != PayloadKind::Snapshot {
            return Err(IngestError::UnsupportedKind);
        }
        let mut document = load(&record.payload, record.hash)?;
        document.size_bytes = record.payload.len().saturating_mul(CHANGES_PER_CHUNK_BYTE);
        Ok(document)
    }

    /// All changes in a causal order, those included that wait for others.
    ///
    /// # Errors
    /// When the merge engine panics.
    pub(crate) fn all_changes(&self) -> Result<Vec<(ChangeHash, Bytes)>, IngestError> {
        let automerge = &self.automerge;
        let changes =
            guarded(|| automerge.get_changes(&[])).map_err(|Panicked| IngestError::EnginePanicked)?;
        let changes = changes.into_iter().map(|change| {
            (ChangeHash::from_bytes(change.hash().0), Bytes::copy_from_slice(change.raw_bytes()))
        });
        Ok(changes.chain(self.waiting.iter().map(|change| (change.hash(), change.payload.clone()))).collect())
    }

    /// All applied changes as one chunk. It was loaded again, and has the same heads and the same values.
    ///
    /// # Errors
    /// With a cause when the document cannot be read, or does not load again: it is then of no use, and has to be built without the
    /// culprit. With an alarm when what was loaded is not the same.
    pub(crate) fn verified_snapshot(&self) -> Result<Bytes, Fault> {
        let automerge = &self.automerge;
        let made = guarded(|| {
            let values = read::root(automerge, KnownTexts::default(), &Counters::default())?;
            let bytes = automerge.save();
            let again = Automerge::load(&bytes).map_err(Fault::refused)?;
            let same = read::root(&again, KnownTexts::default(), &Counters::default())?;
            if cfg!(bug = "values-compared-as-floats") && values.values().any(differs_as_a_float) {
                return Err(Fault::refused("it has other values"));
            }
            match difference((automerge, &values), (&again, &same)) {
                None => Ok(Bytes::from(bytes)),
                Some(alarm) => Err(Fault::Unnamed(alarm)),
            }
        });
        made.unwrap_or_else(|Panicked| Err(Fault::panics()))
    }

    /// As [`Document::verified_snapshot`], ready to be stored.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn to_snapshot(&self) -> Result<StoredSnapshot, Fault> {
        let payload = self.verified_snapshot()?;
        let hash = Chunk::single(&payload)?.hash();
        let (changes, changes_bytes) = (self.changes_len(), self.size_bytes as u64);
        Ok(StoredSnapshot { hash, changes, changes_bytes, payload })
    }
}

/// How a document that was loaded again differs from what it was made from.
fn difference(made_from: (&Automerge, &Map), loaded: (&Automerge, &Map)) -> Option<Alarm> {
    let sorted = |automerge: &Automerge| {
        let mut heads = automerge.get_heads();
        heads.sort_unstable();
        heads
    };
    if sorted(made_from.0) != sorted(loaded.0) {
        return Some(Alarm::OtherHeads);
    }
    let (values, same) = (made_from.1, loaded.1);
    let field = values.keys().chain(same.keys()).find(|key| values.get(*key) != same.get(*key))?;
    Some(Alarm::OtherValue { field: field.clone() })
}

/// Whether the value differs from itself where NaN does.
fn differs_as_a_float(value: &Value) -> bool {
    match value {
        Value::Float(float) => float.is_nan(),
        Value::List(items) => items.iter().any(differs_as_a_float),
        Value::Map(map) => map.values().any(differs_as_a_float),
        _ => false,
    }
}

/// Loads a chunk, checks that its changes are numbered behind those that they build on, and notes which they are.
fn load(payload: &Bytes, hash: ChangeHash) -> Result<Document, IngestError> {
    let header = prevalidate_document(payload)?;
    let actual = Chunk::single(payload)?.hash();
    if actual != hash {
        return Err(IngestError::WrongHash { claimed: hash, actual });
    }
    let loaded = guarded(|| {
        let automerge =
            Automerge::load(payload).map_err(|error| IngestError::Malformed(error.to_string()))?;
        let mut known: HashMap<ChangeHash, u64> = HashMap::new();
        let mut max_op = 0;
        for change in automerge.get_changes_meta(&[]) {
            let before = change.deps.iter().map(|dep| known.get(&ChangeHash::from_bytes(dep.0)));
            let before =
                before.collect::<Option<Vec<_>>>().ok_or_else(|| malformed("a dependency is missing"))?;
            if before.into_iter().max().is_some_and(|before| change.start_op <= *before)
                && change.max_op >= change.start_op
            {
                return Err(malformed("operations are numbered out of order"));
            }
            max_op = max_op.max(change.max_op);
            known.insert(ChangeHash::from_bytes(change.hash.0), change.max_op);
        }
        Ok(Document {
            automerge,
            known,
            waiting: Vec::new(),
            max_op,
            size_bytes: payload.len(),
            texts: Texts::default(),
            counted_max: header.counted_max,
        })
    });
    let document = loaded.unwrap_or(Err(IngestError::EnginePanicked))?;
    if document.known.is_empty() {
        return Err(malformed("it stands for nothing"));
    }
    if document.heads() == header.heads {
        Ok(document)
    } else {
        Err(malformed("its heads are not those of its changes"))
    }
}

fn malformed(why: &str) -> IngestError {
    IngestError::Malformed(why.to_owned())
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{AutoCommit, ROOT};

    use super::*;

    fn document(rating: f64) -> (Automerge, Map) {
        let mut document = AutoCommit::new().with_actor(automerge::ActorId::from(&[1; 24][..]));
        document.put(ROOT, "rating", rating).unwrap();
        document.commit();
        (document.document().clone(), Map::from([("rating".into(), Value::Float(rating))]))
    }

    #[test]
    fn a_difference_is_an_alarm_that_names_the_field_and_nan_is_none() {
        // Would blame a change for what a comparison made of it.
        let (nan, values) = document(f64::NAN);
        assert_eq!(difference((&nan, &values), (&nan, &values)), None);
        let other = Map::from([("rating".into(), Value::Float(4.0))]);
        let alarm = Alarm::OtherValue { field: "rating".into() };
        assert_eq!(difference((&nan, &values), (&nan, &other)), Some(alarm.clone()));
        assert_eq!(difference((&nan, &Map::new()), (&nan, &other)), Some(alarm));
        let (four, _) = document(4.0);
        assert_eq!(difference((&nan, &values), (&four, &values)), Some(Alarm::OtherHeads));
    }
}
