//! Creation in a directory in memory: it crashes, fails and is interrupted by others at every step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod folder;

use std::ffi::OsStr;
use std::path::Path;

use redb::{Durability, StorageBackend, TableDefinition};

use self::folder::{Folder, Links, Locks, NamesLeft};
use super::ensure;
use crate::error::StoreError;
use crate::file::{Format, NewFile, StoreFile, Written};
use crate::meta::OpenError;
use crate::testing::{CrashMode, Fault};

const FORMAT: Format = Format { name: "test", version: 1, cache_bytes: 1 << 20 };
const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
const NAME: &str = "home";
/// What others have in the directory. Both names begin like a temporary one.
const OTHERS: [(&str, &[u8]); 3] =
    [("home.tmp-1234", b"half a letter"), ("home.tmp-notes", b""), ("homes.tmp-1", b"")];
/// The maker whose creation is disturbed, and the one who comes after it.
const FIRST: u64 = 0xa;
const SECOND: u64 = 0xb;

/// Opens the store in `folder`, and makes it if it is not there.
fn open(folder: &Folder, maker: u64) -> Result<StoreFile, OpenError> {
    let init = |txn: &redb::WriteTransaction| {
        txn.open_table(ROWS)?.insert(0, maker)?;
        Ok::<_, StoreError>(())
    };
    let tag = format!("{maker:x}");
    let new = NewFile { created_ms: maker, tag: &tag, init: &init };
    ensure(folder, OsStr::new(NAME), Path::new(NAME), &FORMAT, &new)?;
    let disk = folder.disk(NAME).unwrap_or_else(|| panic!("made, and not there"));
    assert_ne!(disk.len().unwrap(), 0, "an empty file has the name");
    StoreFile::open_backend(disk, &FORMAT, &new)
}

fn maker(store: &StoreFile) -> u64 {
    let row = |txn: &redb::ReadTransaction| Ok(txn.open_table(ROWS)?.get(0)?.map(|row| row.value()));
    store.read(row).unwrap().unwrap_or_else(|| panic!("half a store"))
}

fn write(store: &StoreFile, number: u64) {
    let write = |txn: &redb::WriteTransaction| {
        txn.open_table(ROWS)?.insert(number, number)?;
        Ok(Written::Commit(()))
    };
    store.write(Durability::Immediate, write).unwrap();
}

fn has(store: &StoreFile, number: u64) -> bool {
    store.read(|txn| Ok(txn.open_table(ROWS)?.get(number)?.is_some())).unwrap()
}

fn folder(links: Links) -> Folder {
    let folder = Folder::new(Locks::Work, links);
    OTHERS.into_iter().for_each(|(name, content)| folder.put(name, content));
    folder
}

/// Checks what a disturbed creation left: the next opening works, its writes last, and the files of others are as they were.
fn judge(left: &Folder, tally: &mut Tally) {
    tally.recoveries += 1;
    let made = left.disk(NAME).is_some();
    let store = open(left, SECOND).unwrap();
    assert_eq!(maker(&store), if made { FIRST } else { SECOND }, "not the store that was there");
    write(&store, 7);
    let after = left.crash(NamesLeft::None, CrashMode::Lost, 0);
    drop(store);
    let store = open(&after, SECOND).unwrap();
    assert!(has(&store, 7), "an acknowledged write is lost, or the name of its file");
    if !made {
        assert_eq!(after.names_but(&OTHERS), [NAME], "a dead creation left something");
    }
    for (name, content) in OTHERS {
        assert_eq!(after.content(name), content, "a file of someone else was changed");
    }
}

#[derive(Default)]
struct Tally {
    recoveries: u64,
    faults: u64,
}

/// Crashes `folder`, in which a creation was cut off, in every way.
fn crash(folder: &Folder, seed: u64, tally: &mut Tally) {
    for (number, mode) in CrashMode::ALL.into_iter().enumerate() {
        for names in [NamesLeft::None, NamesLeft::First, NamesLeft::Some, NamesLeft::All] {
            judge(&folder.crash(names, mode, seed * 5 + number as u64), tally);
        }
    }
}

/// Would leave a name that leads to half a file, which no later start can open, or lose a store that was written to.
#[test]
fn a_crash_during_creation_leaves_no_store_or_a_whole_one() {
    let mut tally = Tally::default();
    for links in [Links::Work, Links::Unsupported] {
        let whole = folder(links);
        drop(open(&whole, FIRST).unwrap());
        for step in 0..=whole.steps() {
            let folder = folder(links);
            folder.fail_power_at(step);
            let _ = open(&folder, FIRST);
            crash(&folder, step, &mut tally);
        }
    }
    println!("{} recoveries of a creation, 0 violations", tally.recoveries);
}

/// Would leave something behind that blocks the next start, once the disk works again or has room.
#[test]
fn a_fault_during_creation_is_reported_and_the_next_one_works() {
    let mut tally = Tally::default();
    let whole = folder(Links::Work);
    drop(open(&whole, FIRST).unwrap());
    for step in 0..whole.steps() {
        for fault in [Fault::Eio, Fault::DiskFull, Fault::FailedSync] {
            tally.faults += 1;
            let folder = folder(Links::Work);
            folder.fail_at(step, fault);
            match open(&folder, FIRST) {
                Ok(store) => assert_eq!(maker(&store), FIRST),
                Err(OpenError::Io { .. }) => {}
                Err(other) => panic!("a failing disk was reported as {other:?}"),
            }
            crash(&folder, step, &mut tally);
            judge(&folder, &mut tally);
        }
    }
    println!("{} faults, {} recoveries of a creation, 0 violations", tally.faults, tally.recoveries);
}

/// Would let the slower of two starting programs replace the file that the faster one already writes to.
#[test]
fn a_creation_never_replaces_the_store_of_another_one() {
    for (locks, links) in [(Locks::Unsupported, Links::Work), (Locks::Unsupported, Links::Unsupported)] {
        let whole = Folder::new(locks, links);
        drop(open(&whole, FIRST).unwrap());
        // Without links, this is the one step that cannot look whether the name is taken.
        let steps = (0..whole.steps()).filter(|step| whole.renamed_at() != Some(*step));
        for step in steps {
            let folder = Folder::new(locks, links);
            folder.before(step, |folder| {
                let store = open(folder, SECOND).unwrap();
                write(&store, 7);
            });
            let store = open(&folder, FIRST).unwrap();
            assert!(has(&store, 7), "step {step}: the store of another process was replaced");
            assert_eq!(folder.names_but(&[]), [NAME], "step {step}");
        }
    }
}

/// Would overwrite someone's photo with a database.
#[test]
fn a_file_that_takes_the_name_meanwhile_is_not_touched() {
    let whole = folder(Links::Work);
    drop(open(&whole, FIRST).unwrap());
    let mut refused = 0;
    for step in 0..whole.steps() {
        let folder = folder(Links::Work);
        folder.before(step, |folder| {
            if folder.disk(NAME).is_none() {
                folder.put(NAME, b"a photo");
            }
        });
        match open(&folder, FIRST) {
            Ok(store) => assert_eq!(maker(&store), FIRST),
            Err(OpenError::Foreign { .. }) => {
                refused += 1;
                assert_eq!(folder.content(NAME), b"a photo", "step {step}");
            }
            Err(other) => panic!("step {step}: {other:?}"),
        }
    }
    assert!(refused > 5);
}

/// Would never start again where directories cannot be locked, and leftovers therefore stay.
#[test]
fn a_leftover_that_cannot_be_removed_blocks_nobody() {
    let folder = Folder::new(Locks::Unsupported, Links::Work);
    folder.put("home.tmp-a", b"");
    folder.put("home.tmp-a-1", b"redb");
    assert_eq!(maker(&open(&folder, FIRST).unwrap()), FIRST);
    assert_eq!(folder.names_but(&[]), [NAME, "home.tmp-a", "home.tmp-a-1"]);
    assert_eq!(folder.content("home.tmp-a-1"), b"redb");
}
