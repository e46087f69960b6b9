//! The data for tests, which is not part of the repository.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Inflates a file of the test data, or says that the test is skipped.
pub(crate) fn test_data(name: &str) -> Option<String> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("HEADWATER_DATA").map_or_else(beside, PathBuf::from).join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: {} is not there; set HEADWATER_DATA", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}
