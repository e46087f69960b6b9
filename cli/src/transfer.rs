//! The verbs that move many entities: `import` and `export`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use headwater::{DynamicCollection, EditError, EntityId, Map};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use uuid::Uuid;

use crate::args::{Export, Import, Options};
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::{Format, Output, write_json_line};
use crate::record::{Incoming, Outgoing};

/// Records in one transaction, at most this many: each transaction waits for the disk once.
const BATCH_RECORDS_MAX: usize = 500;
/// And at most this many bytes of JSON in one.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A longer line is refused before it is read whole.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) fn import(options: &Options, import: &Import, output: &mut Output) -> Result<(), Failure> {
    let (mut input, size): (Box<dyn BufRead>, Option<u64>) = if is_standard(&import.file) {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&import.file).map_err(|error| Failure::file(&import.file, error))?;
        let size = file.metadata().ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        (Box::new(BufReader::new(file)), size)
    };
    let progress = progress_bar(output.format(), size);
    let entities = options.open_collection(Missing::Create, &import.collection)?;
    let mut importer =
        Importer { entities, batch: Vec::new(), ids: HashSet::new(), batch_bytes: 0, imported: 0 };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let len = input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::file(&import.file, error))?;
        if len == 0 {
            break;
        }
        importer.add(number, &line)?;
        progress.inc(len as u64);
    }
    importer.store()?;
    progress.finish_and_clear();
    let Importer { imported, .. } = importer;
    let name = import.collection.as_str();
    output.result(
        || format!("imported {imported} records into {name}"),
        &json!({ "imported": imported, "collection": name }),
    )
}

pub(crate) fn export(options: &Options, export: &Export, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_collection(Missing::Refuse, &export.collection)?;
    let Some(path) = export.file.as_deref().filter(|path| !is_standard(path)) else {
        for record in entities.iter() {
            output.json_line(&Outgoing(&record?))?;
        }
        return Ok(());
    };
    let exported = write_file(path, &entities)?;
    let human = || format!("exported {exported} records to {}", path.display());
    output.result(human, &json!({ "exported": exported, "file": path.to_string_lossy() }))
}

struct Importer {
    entities: DynamicCollection,
    /// Line number, id and fields, in the order of the file.
    batch: Vec<(u64, EntityId, Map)>,
    /// The ids in the batch: an id that comes twice has to see its first record stored.
    ids: HashSet<EntityId>,
    batch_bytes: usize,
    imported: u64,
}

impl Importer {
    fn add(&mut self, number: u64, line: &[u8]) -> Result<(), Failure> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let incoming = match parse(line) {
            Ok(incoming) => incoming,
            Err(reason) => {
                self.store()?;
                return Err(Failure::BadLine { line: number, imported: self.imported, reason });
            }
        };
        // A new UUIDv7 is greater than the one before it, so an export has new records in the order of their lines.
        let id = incoming.id.unwrap_or_else(|| EntityId::from_uuid(Uuid::now_v7()));
        if self.ids.contains(&id) {
            self.store()?;
        }
        self.ids.insert(id);
        self.batch.push((number, id, incoming.fields));
        self.batch_bytes += line.len();
        if self.batch.len() >= BATCH_RECORDS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
            self.store()?;
        }
        Ok(())
    }

    /// Stores the batch in one transaction.
    fn store(&mut self) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        self.ids.clear();
        self.batch_bytes = 0;
        let records = batch.iter().map(|(_, id, fields)| (*id, fields.clone()));
        match self.entities.upsert_all(records) {
            Ok(_) => {
                self.imported += batch.len() as u64;
                Ok(())
            }
            Err(error) if is_about_a_record(&error) => self.store_singly(batch),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores record by record, up to the one that cannot be stored, so that it can be named.
    fn store_singly(&mut self, batch: Vec<(u64, EntityId, Map)>) -> Result<(), Failure> {
        for (line, id, fields) in batch {
            match self.entities.upsert_all(vec![(id, fields)]) {
                Ok(_) => self.imported += 1,
                Err(error) if is_about_a_record(&error) => {
                    return Err(Failure::BadLine {
                        line,
                        imported: self.imported,
                        reason: error.to_string(),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether a write failed because of what was to be written, and not because of the disk.
fn is_about_a_record(error: &EditError) -> bool {
    !matches!(error, EditError::Commit(_) | EditError::Read(_))
}

fn parse(line: &[u8]) -> Result<Incoming, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {} MiB", LINE_BYTES_MAX / 1024 / 1024));
    }
    let json = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    Incoming::parse(json).map_err(|error| error.to_string())
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(format: Format, size: Option<u64>) -> ProgressBar {
    if format == Format::Json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    match size {
        Some(size) => {
            let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}");
            ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        }
        None => ProgressBar::new_spinner(),
    }
}

/// Writes a file that is complete or not there: beside its final name first, so that a failure leaves an older export alone.
fn write_file(path: &Path, entities: &DynamicCollection) -> Result<u64, Failure> {
    // What is there and no plain file (a pipe, a terminal) is written to as it is.
    let is_special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let partial = if is_special { path.to_owned() } else { beside(path) };
    let written = File::create(&partial).map_err(|error| Failure::file(&partial, error)).and_then(|file| {
        let exported = write_records(&file, entities)?;
        if !is_special {
            file.sync_all()
                .and_then(|()| fs::rename(&partial, path))
                .map_err(|error| Failure::file(path, error))?;
        }
        Ok(exported)
    });
    if written.is_err() && !is_special {
        // The failure that is reported says more than a leftover that cannot be removed.
        let _is_left = fs::remove_file(&partial).is_err();
    }
    written
}

fn write_records(file: &File, entities: &DynamicCollection) -> Result<u64, Failure> {
    let mut out = BufWriter::new(file);
    let mut exported = 0;
    for record in entities.iter() {
        write_json_line(&mut out, &Outgoing(&record?))?;
        exported += 1;
    }
    out.flush()?;
    Ok(exported)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}
