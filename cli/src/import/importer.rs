//! Stores records, many in one transaction, and keeps count of them.

use std::collections::HashSet;

use headwater::{DynamicCollection, EditError, EntityId, Map};
use indicatif::ProgressBar;
use serde_json::json;
use uuid::Uuid;

use super::entry;
use super::identity::{Identities, Identity, Unclear};
use super::source::{Place, Raw};
use super::underscore::{Renamed, Underscore, settle};
use crate::failure::Failure;
use crate::output::{Format, tell};
use crate::record::Incoming;

/// Records in one transaction, at most this many: each transaction waits for the disk once.
const BATCH_RECORDS_MAX: usize = 500;
/// And at most this many bytes of JSON in one.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bad records that the report to a program holds. Each of them is a line on stderr too.
const BAD_LISTED_MAX: usize = 1000;

/// Stores records in the order in which they come.
pub(super) struct Importer {
    entities: DynamicCollection,
    identities: Identities,
    underscore: Option<Underscore>,
    batch: Vec<Waiting>,
    /// The ids in the batch: a record of an entity that is in it has to see the earlier one stored.
    ids: HashSet<EntityId>,
    batch_bytes: usize,
    /// Records that are stored.
    pub(super) imported: u64,
    /// Those of them that would be added a second time if they came again.
    unknown: u64,
    pub(super) renamed: Renamed,
    pub(super) bad_lines: BadLines,
}

/// A record that waits for its transaction.
struct Waiting {
    place: Place,
    id: EntityId,
    is_known: bool,
    fields: Map,
}

impl Importer {
    pub(super) fn new(
        entities: DynamicCollection,
        identities: Identities,
        underscore: Option<Underscore>,
        bad_lines: BadLines,
    ) -> Importer {
        Importer {
            entities,
            identities,
            underscore,
            batch: Vec::new(),
            ids: HashSet::new(),
            batch_bytes: 0,
            imported: 0,
            unknown: 0,
            renamed: Renamed::new(),
            bad_lines,
        }
    }

    /// Takes a record, and stores the batch that is full with it.
    ///
    /// # Errors
    /// The first bad record, unless those are passed over; and whatever makes it impossible to go on.
    pub(super) fn add(&mut self, raw: Raw) -> Result<(), Failure> {
        let Raw { place, text, .. } = raw;
        let read = text.and_then(|text| Ok((self.parse(&text)?, text.len())));
        let (incoming, len) = match read {
            Ok(read) => read,
            Err(reason) => return self.refuse(place, reason),
        };
        let (id, is_known) = match self.identify(&incoming)? {
            Ok(Identity::Known(id)) => (id, true),
            // A new UUIDv7 is greater than the one before it, so an export has new records in the order of
            // their lines.
            Ok(Identity::New) => (EntityId::from_uuid(Uuid::now_v7()), false),
            Err(reason) => return self.refuse(place, reason),
        };
        self.ids.insert(id);
        self.batch.push(Waiting { place, id, is_known, fields: incoming.fields });
        self.batch_bytes += len;
        if self.batch.len() >= BATCH_RECORDS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
            self.store()?;
        }
        Ok(())
    }

    /// Stores what waits.
    pub(super) fn store(&mut self) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        self.ids.clear();
        self.batch_bytes = 0;
        self.store_all(batch)
    }

    /// The failure, with how far the import came.
    pub(super) fn came_this_far(&self, failure: Failure) -> Failure {
        Failure::Unfinished { imported: self.imported, unknown: self.unknown, failure: Box::new(failure) }
    }

    fn parse(&mut self, text: &[u8]) -> Result<Incoming, String> {
        let mut fields = headwater::model::map_from_json_text(text).map_err(|error| error.to_string())?;
        settle(&mut fields, self.underscore, &mut self.renamed).map_err(|name| {
            let name: String = name.chars().take(40).collect();
            format!("the field name `{name}` is reserved; --underscore skip leaves such fields out, --underscore rename gives them another name")
        })?;
        Incoming::new(fields).map_err(|error| error.to_string())
    }

    fn identify(&mut self, incoming: &Incoming) -> Result<Result<Identity, String>, Failure> {
        let identified = match self.identities.candidates(incoming) {
            Ok(candidates) => {
                if candidates.iter().any(|id| self.ids.contains(id)) {
                    self.store()?;
                }
                self.identities.resolve(incoming)
            }
            Err(unclear) => Err(unclear),
        };
        match identified {
            Ok(identity) => Ok(Ok(identity)),
            Err(Unclear::Read(error)) => Err(self.came_this_far(error.into())),
            Err(unclear) => Ok(Err(unclear.to_string())),
        }
    }

    /// Stores in one transaction, or, if a record is at fault, in two halves, until that one is found.
    fn store_all(&mut self, mut batch: Vec<Waiting>) -> Result<(), Failure> {
        let records = batch.iter().map(|waiting| (waiting.id, waiting.fields.clone()));
        match self.entities.upsert_all(records) {
            Ok(_) => {
                self.imported += batch.len() as u64;
                self.unknown += batch.iter().filter(|waiting| !waiting.is_known).count() as u64;
                Ok(())
            }
            Err(error) if !is_about_a_record(&error) => Err(self.came_this_far(error.into())),
            Err(error) => match batch.as_slice() {
                [only] => {
                    let place = only.place;
                    self.bad_lines.add(place, error.to_string(), self.imported)
                }
                _ => {
                    let behind = batch.split_off(batch.len() / 2);
                    self.store_all(batch)?;
                    self.store_all(behind)
                }
            },
        }
    }

    fn refuse(&mut self, place: Place, reason: String) -> Result<(), Failure> {
        if !self.bad_lines.are_skipped {
            // Those before it go in first, so that it can be said how many did.
            self.store()?;
        }
        self.bad_lines.add(place, reason, self.imported)
    }
}

/// Whether a write failed because of what was to be written, and not because of the disk.
fn is_about_a_record(error: &EditError) -> bool {
    !matches!(error, EditError::Commit(_) | EditError::Read(_))
}

/// The records that could not be stored.
pub(super) struct BadLines {
    are_skipped: bool,
    format: Format,
    progress: ProgressBar,
    pub(super) skipped: u64,
    /// The first of them, for the report to a program.
    pub(super) first: Vec<(Place, String)>,
}

impl BadLines {
    pub(super) fn new(are_skipped: bool, format: Format, progress: ProgressBar) -> BadLines {
        BadLines { are_skipped, format, progress, skipped: 0, first: Vec::new() }
    }

    fn add(&mut self, place: Place, reason: String, imported: u64) -> Result<(), Failure> {
        if !self.are_skipped {
            return Err(Failure::BadLine { place: place.to_string(), imported, reason });
        }
        self.progress.suspend(|| match self.format {
            Format::Human => tell(format_args!("{place}: {reason}")),
            Format::Json => tell(json!({ "skipped": entry(place, &reason) })),
        });
        self.skipped += 1;
        if self.first.len() < BAD_LISTED_MAX {
            self.first.push((place, reason));
        }
        Ok(())
    }
}
