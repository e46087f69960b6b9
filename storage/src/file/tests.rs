//! Opening a store again after there was no room for a write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redb::TableDefinition;

use super::*;
use crate::testing::{CrashMode, Fault, Operation, SimulatedDisk};

const FORMAT: Format = Format { name: "test", version: 1, cache_bytes: 1 << 20 };
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

fn open(disk: &SimulatedDisk) -> Result<StoreFile, OpenError> {
    let init = |txn: &WriteTransaction| Ok(txn.open_table(ROWS).map(|_| ())?);
    StoreFile::open_backend(disk.clone(), &FORMAT, &NewFile { created_ms: 1, tag: "", init: &init })
}

fn write(store: &StoreFile, number: u64) -> Result<(), StoreError> {
    store.write(Durability::Immediate, |txn| {
        txn.open_table(ROWS)?.insert(number, vec![number as u8; 9_000].as_slice())?;
        Ok(Written::Commit(()))
    })
}

fn rows(store: &StoreFile) -> Result<Vec<u64>, StoreError> {
    store.read(|txn| {
        let rows = txn.open_table(ROWS)?;
        let range = rows.range::<u64>(..)?;
        range.map(|row| Ok(row?.0.value())).collect()
    })
}

/// Would lose what was acknowledged before, or acknowledge afterwards what the full disk never kept.
#[test]
fn a_store_without_room_goes_on_with_what_was_kept() {
    let quiet = SimulatedDisk::new();
    let store = open(&quiet).unwrap();
    write(&store, 1).unwrap();
    let from = quiet.operation_count();
    write(&store, 2).unwrap();
    let to = quiet.operation_count();
    let operations = quiet.operations();
    let mut reopened = 0;
    for at in from..to {
        let disk = SimulatedDisk::new();
        let store = open(&disk).unwrap();
        write(&store, 1).unwrap();
        disk.fail_at(at, Fault::DiskFull);
        let failed = write(&store, 2);
        assert!(failed.is_err() || operations[at as usize] == Operation::Read, "nothing failed");
        if failed.is_ok() {
            continue;
        }
        assert!(matches!(write(&store, 3), Err(StoreError::Poisoned)));
        assert!(matches!(rows(&store), Err(StoreError::Poisoned)));
        store.reopen_if_held_up(|| open(&disk)).unwrap();
        reopened += 1;
        let shown = rows(&store).unwrap();
        assert!(shown == [1] || shown == [1, 2], "{shown:?}");
        let kept = open(&disk.crash(CrashMode::Lost, 0)).unwrap();
        assert_eq!(rows(&kept).unwrap(), shown, "what is shown is not durable");
        write(&store, 3).unwrap();
        for mode in CrashMode::ALL {
            let kept = rows(&open(&disk.crash(mode, at)).unwrap()).unwrap();
            assert_eq!(kept, [&shown[..], &[3]].concat(), "{mode:?}");
        }
    }
    println!("no room at {reopened} operations, 0 acknowledged commits lost");
    assert!(reopened > 3);
}

/// Would answer from a disk in an unknown state, because some other write had no room at about the same time.
#[test]
fn a_store_that_failed_otherwise_stays_poisoned() {
    let no_room = || StoreError::from(io::Error::from(ErrorKind::StorageFull));
    let failed = || StoreError::from(io::Error::other("gone"));
    for errors in
        [vec![failed()], vec![no_room(), failed()], vec![failed(), no_room()], vec![StoreError::Poisoned]]
    {
        let store = open(&SimulatedDisk::new()).unwrap();
        errors.iter().for_each(|error| store.note(error));
        store.reopen_if_held_up(|| panic!("opened again after {errors:?}")).unwrap();
        assert!(matches!(rows(&store), Err(StoreError::Poisoned)));
    }
    let store = open(&SimulatedDisk::new()).unwrap();
    store.note(&no_room());
    assert!(matches!(store.read(|_| -> Result<(), _> { panic!("not read") }), Err(StoreError::Poisoned)));
    store.note(&StoreError::Poisoned);
    let again = SimulatedDisk::new();
    store.reopen_if_held_up(|| open(&again)).unwrap();
    assert!(rows(&store).unwrap().is_empty());
}

/// Would need somebody to restart a relay whose disk was read-only for a minute.
#[test]
fn a_store_goes_on_after_whatever_says_nothing_against_the_disk() {
    let refused = |kind| StoreError::from(io::Error::from(kind));
    for error in [
        refused(ErrorKind::StorageFull),
        refused(ErrorKind::QuotaExceeded),
        refused(ErrorKind::FileTooLarge),
        refused(ErrorKind::ReadOnlyFilesystem),
        StoreError::Gone { path: "feed.redb".into(), what: "nothing has its name" },
    ] {
        let disk = SimulatedDisk::new();
        let store = open(&disk).unwrap();
        write(&store, 1).unwrap();
        store.note(&error);
        assert!(matches!(write(&store, 2), Err(StoreError::Poisoned)), "{error:?}");
        store.reopen_if_held_up(|| open(&disk)).unwrap();
        write(&store, 3).unwrap();
        assert_eq!(rows(&store).unwrap(), [1, 3]);
    }
}

/// Would never go on once there is room, or would panic on a store that is not open.
#[test]
fn opening_again_can_fail_and_be_tried_again() {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
    write(&store, 1).unwrap();
    store.reopen_if_held_up(|| panic!("opened again for nothing")).unwrap();
    store.note(&io::Error::from(ErrorKind::QuotaExceeded).into());
    for _ in 0..3 {
        let opened = store.reopen_if_held_up(|| {
            disk.fail_at(disk.operation_count() + 1, Fault::DiskFull);
            open(&disk)
        });
        assert!(matches!(opened, Err(OpenError::Io { .. })), "{opened:?}");
        disk.spare();
        assert!(matches!(rows(&store), Err(StoreError::Poisoned)));
        assert!(matches!(write(&store, 2), Err(StoreError::Poisoned)));
    }
    store.reopen_if_held_up(|| open(&disk)).unwrap();
    write(&store, 2).unwrap();
    assert_eq!(rows(&store).unwrap(), [1, 2]);
}

/// Would give readers an error that is not theirs to solve, a state that was never there, or no answer at all.
#[test]
fn readers_and_the_swap_do_not_disturb_each_other() {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
    write(&store, 0).unwrap();
    let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let reads = AtomicU64::new(0);
    let swaps = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let least = acknowledged.load(Ordering::Acquire);
                    match rows(&store) {
                        Ok(rows) => {
                            assert!(rows.contains(&least), "{least} was acknowledged, and is gone: {rows:?}")
                        }
                        Err(error) => assert!(error.needs_reopen(), "{error:?}"),
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (started, mut swaps, mut number) = (Instant::now(), 0, 0);
        while swaps < 50 && started.elapsed() < Duration::from_secs(3) {
            number += 1;
            disk.fail_at(disk.operation_count() + number % 7, Fault::DiskFull);
            let written = write(&store, number);
            disk.spare();
            match written {
                Ok(()) => acknowledged.store(number, Ordering::Release),
                Err(error) => {
                    assert!(error.needs_reopen(), "{error:?}");
                    swaps += 1;
                }
            }
            store.reopen_if_held_up(|| open(&disk)).unwrap();
        }
        done.store(true, Ordering::Release);
        swaps
    });
    let kept = rows(&open(&disk.crash(CrashMode::Lost, 0)).unwrap()).unwrap();
    assert!(kept.contains(&acknowledged.into_inner()));
    println!("{swaps} swaps under {} reads, 0 acknowledged commits lost", reads.into_inner());
}
