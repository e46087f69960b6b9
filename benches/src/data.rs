//! Real input, which is not part of the repository.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::OrExit;

/// Inflates a file of the data in `HEADWATER_DATA`, or says that what needs it is skipped.
pub fn read(name: &str) -> Option<String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("HEADWATER_DATA").map_or_else(beside, PathBuf::from).join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: {} is not there; set HEADWATER_DATA", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).or_exit("inflating");
    Some(text)
}
