//! The verb `export`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use headwater::DynamicCollection;
use headwater::model::JsonStyle;
use serde_json::json;

use crate::args::{Export, Options};
use crate::failure::Failure;
use crate::output::{Output, counted, write_json_line};
use crate::record::Outgoing;

pub(crate) fn export(options: &Options, export: &Export, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_existing_collection(&export.collection)?;
    let style = if export.plain { JsonStyle::Plain } else { JsonStyle::Kinds };
    let Some(path) = export.file.as_deref().filter(|path| !is_standard(path)) else {
        for record in entities.iter() {
            output.json_line(&Outgoing { record: &record?, style })?;
        }
        return Ok(());
    };
    let exported = write_file(path, &entities, style)?;
    let human = || format!("exported {} to {}", counted(exported, "record", "records"), path.display());
    output.result(human, &json!({ "exported": exported, "file": path.to_string_lossy() }))
}

/// Writes a file that is complete or not there: beside its final name first, so that a failure leaves an
/// older export alone.
fn write_file(path: &Path, entities: &DynamicCollection, style: JsonStyle) -> Result<u64, Failure> {
    // What is there and no plain file (a pipe, a terminal) is written to as it is.
    let is_special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let partial = if is_special { path.to_owned() } else { beside(path) };
    let written = File::create(&partial).map_err(|error| Failure::file(&partial, error)).and_then(|file| {
        let exported = write_records(&file, entities, style)?;
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

fn write_records(file: &File, entities: &DynamicCollection, style: JsonStyle) -> Result<u64, Failure> {
    let mut out = BufWriter::new(file);
    let mut exported = 0;
    for record in entities.iter() {
        write_json_line(&mut out, &Outgoing { record: &record?, style })?;
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

/// Whether a path stands for standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}
