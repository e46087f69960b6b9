//! The files that commands name: records, and lists of document ids.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Result;

/// A record, and the edits that follow its creation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Item {
    /// All fields, each a scalar: one change makes the document with them.
    pub fields: Map<String, Value>,
    /// One field each: every edit is a change of its own.
    pub edits: Vec<Map<String, Value>>,
}

/// The first `count` records of the dataset.
pub fn records(file: &Path, count: usize) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = serde_json::from_slice(&read(file)?)?;
    if items.len() < count {
        return Err(format!("{} has {} records, not {count}", file.display(), items.len()).into());
    }
    items.truncate(count);
    Ok(items)
}

/// The first record of the dataset.
pub fn first_record(file: &Path) -> Result<Item> {
    records(file, 1)?.pop().ok_or_else(|| "no record".into())
}

/// The document ids in a file that [`write_ids`] wrote.
pub fn read_ids(file: &Path) -> Result<Vec<String>> {
    Ok(serde_json::from_slice(&read(file)?)?)
}

/// Writes document ids as a JSON array.
pub fn write_ids(file: &Path, ids: &[String]) -> Result<()> {
    fs::write(file, serde_json::to_vec(ids)?)
        .map_err(|error| format!("writing {}: {error}", file.display()))?;
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| format!("reading {}: {error}", file.display()).into())
}
