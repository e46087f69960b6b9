//! The verb `import`: [`source`] finds the records of a file, [`underscore`] sees to names that are
//! Headwater's own, [`identity`] says which entity a record is about, [`importer`] stores them.

mod identity;
mod importer;
mod source;
mod underscore;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use crate::args::{Import, Options};
use crate::export::is_standard;
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::{Format, Output, counted};
use crate::stop::Stop;
use identity::Identities;
use importer::{BadLines, Importer};
use source::{Raw, Source};
pub(crate) use underscore::Underscore;

/// Records that are read ahead while others are stored: so many, or so many bytes, and one such portion
/// waits.
const READ_AHEAD_RECORDS_MAX: usize = 500;
const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// How soon a signal is noticed while the input has nothing to say.
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn import(options: &Options, import: Import, output: &mut Output) -> Result<(), Failure> {
    let (input, size) = open(&import.file)?;
    let entities = options.open_collection(Missing::Create, &import.collection)?;
    let stop = Stop::listen()?;
    let progress = progress_bar(output.format(), size);
    let bad_lines = BadLines::new(import.skip_bad, output.format(), progress.clone());
    let identities = Identities::new(entities.clone(), import.key);
    let mut importer = Importer::new(entities, identities, import.underscore, bad_lines);
    let ran = run(&import.file, input, &mut importer, &stop, &progress);
    progress.finish_and_clear();
    ran?;
    let name = import.collection.as_str();
    let Importer { imported, renamed, bad_lines, .. } = importer;
    let human = || {
        let mut lines = vec![format!("imported {} into {name}", counted(imported, "record", "records"))];
        if bad_lines.skipped > 0 {
            lines.push(format!("skipped {}", bad_lines.skipped));
        }
        lines.extend(renamed.iter().map(|(before, after)| match after {
            Some(after) => format!("`{before}` is now called `{after}`"),
            None => format!("`{before}` was left out"),
        }));
        lines.join("\n")
    };
    let mut json = json!({ "imported": imported, "collection": name });
    if import.skip_bad {
        json["skipped"] = bad_lines.skipped.into();
        json["bad"] = bad_lines.first.iter().map(|(place, reason)| entry(*place, reason)).collect();
    }
    if !renamed.is_empty() {
        json["renamed"] = renamed.iter().map(|(before, after)| (before.clone(), json!(after))).collect();
    }
    output.result(human, &json)?;
    match bad_lines.skipped {
        0 => Ok(()),
        skipped => Err(Failure::Skipped { skipped }),
    }
}

/// A bad record as a program sees it.
fn entry(place: source::Place, reason: &str) -> Json {
    let mut entry = json!({ "line": place.line, "reason": reason });
    if let Some(record) = place.record {
        entry["record"] = record.into();
    }
    entry
}

/// Imports all that the input has, or says how far it came.
fn run(
    path: &Path,
    input: Box<dyn BufRead + Send>,
    importer: &mut Importer,
    stop: &Stop,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    let portions = read_ahead(input);
    loop {
        match portions.recv_timeout(POLL) {
            Ok(Ok(portion)) => {
                for raw in portion {
                    if stop.asked().is_some() {
                        break;
                    }
                    progress.set_position(raw.bytes_read);
                    importer.add(raw)?;
                }
            }
            Ok(Err(error)) => {
                importer.store()?;
                return Err(importer.came_this_far(Failure::file(path, error)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return importer.store(),
        }
        if let Some(signal) = stop.asked() {
            importer.store()?;
            return Err(importer.came_this_far(Failure::Stopped(signal)));
        }
    }
}

/// Reads on a thread of its own: a signal has to be heard while standard input is silent.
fn read_ahead(input: Box<dyn BufRead + Send>) -> Receiver<io::Result<Vec<Raw>>> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        if let Err(error) = read_portions(input, &sender) {
            // Nobody is left to tell where the import has ended.
            let _is_told = sender.send(Err(error)).is_ok();
        }
    });
    receiver
}

fn read_portions(
    input: Box<dyn BufRead + Send>,
    portions: &SyncSender<io::Result<Vec<Raw>>>,
) -> io::Result<()> {
    let mut source = Source::new(input)?;
    loop {
        let mut portion = Vec::new();
        let mut bytes = 0;
        while portion.len() < READ_AHEAD_RECORDS_MAX && bytes < READ_AHEAD_BYTES_MAX {
            match source.next() {
                Ok(Some(raw)) => {
                    bytes += raw.text.as_ref().map_or(0, Vec::len);
                    portion.push(raw);
                }
                end => {
                    // What was read before an error is good.
                    let _is_wanted = portions.send(Ok(portion)).is_ok();
                    return end.map(|_| ());
                }
            }
        }
        if portions.send(Ok(portion)).is_err() {
            return Ok(());
        }
    }
}

/// The input, and how many bytes it has.
fn open(path: &Path) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    if is_standard(path) {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).map_err(|error| Failure::file(path, error))?;
    let size = file.metadata().ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
    Ok((Box::new(BufReader::new(file)), size))
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
