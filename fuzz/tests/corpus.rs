//! The corpus of the fuzz targets: every file of it is replayed, so that what a fuzzer once found stays fixed on machines that have
//! none. New findings go into `fuzz/corpus/<target>/` by hand; the seeds that fuzzers begin with are written by code:
//!
//! ```sh
//! cargo test -p headwater-fuzz --test corpus -- --ignored
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod seeds;

use std::path::PathBuf;

use bytes::Bytes;
use headwater::ingest::{ChangeLimits, check_change, prevalidate_document};
use headwater::sync::check_sync_message;
use headwater_fuzz::targets::TARGETS;

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", target].iter().collect()
}

fn files(target: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(target)).map(Iterator::collect::<Result<Vec<_>, _>>);
    let mut files: Vec<PathBuf> = match entries {
        Ok(entries) => entries.unwrap().into_iter().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    files
}

fn replay(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let files = files(name);
    assert!(!files.is_empty(), "{} is empty", folder(name).display());
    for file in files {
        // Printed if it panics.
        println!("{}", file.display());
        target(&std::fs::read(&file).unwrap());
    }
}

macro_rules! replays {
    ($($target:ident)+) => {
        $(#[test]
        fn $target() {
            // Would let a defect that a fuzzer found come back.
            replay(stringify!($target));
        })+

        #[test]
        fn every_target_is_replayed() {
            // Would leave out a new target and not say so.
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($target)),+]);
        }
    };
}

replays! { frame chunk snapshot ingest sync_message relay_stream json intent nested convergence sim }

#[test]
fn the_corpus_is_small() {
    // Would make everyone who clones the project carry what only fuzzers need.
    let sizes =
        TARGETS.map(|(name, _)| files(name).iter().map(|file| file.metadata().unwrap().len()).sum::<u64>());
    assert!(sizes.iter().sum::<u64>() < 100 << 10, "{sizes:?} bytes");
}

#[test]
fn every_target_has_a_program() {
    // Would never fuzz a target that is only in the table.
    for (name, _) in TARGETS {
        let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "cargo-fuzz", "fuzz_targets"].iter().collect();
        let program = std::fs::read_to_string(root.join(name).with_extension("rs")).unwrap();
        assert!(program.contains(&format!("alone({name}, data)")), "{name}");
    }
}

#[test]
fn seeds_get_as_far_as_they_should() {
    // Would leave fuzzers at the first check, where there is little to find.
    let seed = |target: &str, name: &str| Bytes::from(std::fs::read(folder(target).join(name)).unwrap());
    for name in ["change-00", "change-05", "no-operations"] {
        assert!(check_change(&seed("chunk", name), &ChangeLimits::default()).is_ok(), "{name}");
    }
    for name in ["one-change", "whole", "run-of-all-rows"] {
        assert!(prevalidate_document(&seed("snapshot", name)).is_ok(), "{name}");
    }
    for name in ["from-nothing", "from-half", "from-all", "needs-known", "probes-at-the-limit"] {
        assert_eq!(check_sync_message(&seed("sync_message", name)), Ok(()), "{name}");
    }
}

#[test]
#[ignore = "writes the seeds into the source tree; for when a format changes"]
fn write_seeds() {
    for (target, seeds) in seeds::all() {
        std::fs::create_dir_all(folder(target)).unwrap();
        for (name, bytes) in seeds {
            std::fs::write(folder(target).join(name), bytes).unwrap();
        }
    }
}
