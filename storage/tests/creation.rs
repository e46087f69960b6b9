//! Creation by real processes: killed at any time, and several at once.
//!
//! A process of its own is this test program again, running only [`child`].

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headwater_storage::testing::Dice;
use headwater_storage::{Commit, DeviceId, NewReplica, OpenError, ReplicaStore, SpaceId};

const PATH: &str = "HEADWATER_CREATE_AT";
const DEVICE: &str = "HEADWATER_CREATE_AS";

fn open(path: &Path, device: u8) -> Result<ReplicaStore, OpenError> {
    let device = DeviceId::from_bytes([device; 16]);
    ReplicaStore::open(path, NewReplica { device, created_ms: 1 })
}

fn space(device: u8) -> SpaceId {
    SpaceId::from_bytes([device; 16])
}

/// Not a test of its own: what the processes do that the tests below start. Ends with success if the store opened, took a write
/// and closed.
#[test]
fn child() {
    let Ok(path) = std::env::var(PATH) else { return };
    let device = std::env::var(DEVICE).unwrap().parse().unwrap();
    let started = Instant::now();
    let store = loop {
        match open(Path::new(&path), device) {
            Ok(store) => break store,
            Err(OpenError::InUse { .. }) if started.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error:?}"),
        }
    };
    store.commit(Commit::new(space(device), 1)).unwrap();
}

fn start(path: &Path, device: u8) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(PATH, path).env(DEVICE, device.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Would leave half a file under the name after a kill, so that the app never starts again, or a leftover that stays for ever.
#[test]
fn a_creation_that_is_killed_leaves_no_store_or_a_whole_one() {
    let kills = std::env::var("HEADWATER_CREATION_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let mut dice = Dice::new(1);
    // The first one is slower than all that follow.
    let longest_us = (0..3).map(|_| undisturbed_us()).min().unwrap();
    let (mut whole, mut leftovers, mut ended) = (0, 0, 0);
    for kill in 0..kills {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("home");
        let mut child = start(&path, 1);
        std::thread::sleep(Duration::from_micros(dice.below(longest_us)));
        child.kill().unwrap();
        ended += u32::from(child.wait().unwrap().success());
        let names = fs::read_dir(directory.path()).unwrap().count();
        let made = path.exists();
        whole += u32::from(made);
        leftovers += names - usize::from(made);
        let store = open(&path, 2).unwrap_or_else(|error| panic!("after kill {kill}: {error:?}"));
        assert_eq!(store.device_id(), DeviceId::from_bytes([if made { 1 } else { 2 }; 16]));
        store.commit(Commit::new(space(2), 1)).unwrap();
        if !made {
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a leftover stays");
        }
    }
    println!(
        "{kills} creations killed: {whole} left a store, {leftovers} a leftover, {ended} had ended; 0 violations"
    );
}

/// How long a whole creation takes, from the start of its process on.
fn undisturbed_us() -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let started = Instant::now();
    assert!(start(&directory.path().join("home"), 1).wait().unwrap().success());
    started.elapsed().as_micros() as u64
}

/// Would leave two programs that started together with a store each, of which one is lost.
#[test]
fn processes_that_create_at_once_end_with_one_store() {
    const PROCESSES: u8 = 4;
    let rounds = 8;
    for _ in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("home");
        let children: Vec<_> = (1..=PROCESSES).map(|device| start(&path, device)).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let store = open(&path, 9).unwrap();
        assert_ne!(store.device_id(), DeviceId::from_bytes([9; 16]));
        let written: Vec<_> = (1..=PROCESSES).map(space).collect();
        assert_eq!(store.spaces(), written, "a write went to a store that is gone");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
    println!("{rounds} times {PROCESSES} processes at once, 0 violations");
}
