//! Opening files: nothing that is not ours is changed, and nothing half made is left.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use headwater_storage::{
    Append, Commit, CommitError, DeviceId, FeedEpoch, InMemoryBackend, NewFeed, NewReplica, OpenError,
    RedbFeed, ReplicaStore, SpaceId, StorageBackend, StoreError,
};
use redb::{Database, Durability, TableDefinition};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta_v1");

fn new_replica(device: u8) -> NewReplica {
    NewReplica { device: DeviceId::from_bytes([device; 16]), created_ms: 1 }
}

fn open(path: &Path) -> Result<ReplicaStore, OpenError> {
    ReplicaStore::open(path, new_replica(1))
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Would give a device a new identity on every start.
#[test]
fn an_existing_file_keeps_its_device() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep").join("er").join("home.headwater");
    drop(open(&path).unwrap());
    let again = ReplicaStore::open(&path, new_replica(2)).unwrap();
    assert_eq!(again.device_id(), DeviceId::from_bytes([1; 16]));
    assert_eq!(names_in(path.parent().unwrap()), ["home.headwater"]);
}

/// Would overwrite someone's photo with a database.
#[test]
fn foreign_files_are_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    for content in [&b""[..], b"x", b"SQLite format 3\0 and so on", &[0; 10_000]] {
        fs::write(&path, content).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert_eq!(names_in(directory.path()), ["file"]);
}

/// Would mix the tables of two programs in one file.
#[test]
fn redb_files_of_others_are_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, u64>::new("other")).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// Would let a relay use a replica's file as its feed.
#[test]
fn a_replica_is_not_a_feed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    drop(open(&path).unwrap());
    let before = fs::read(&path).unwrap();
    match RedbFeed::open(&path, NewFeed { created_ms: 0 }) {
        Err(OpenError::Foreign { found, .. }) => assert!(found.contains("headwater replica"), "{found}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// Opens a file that says that it is of another version, closed and as a crash leaves it. Both stay as they are.
fn refused(version: u64, make: impl Fn(&Path), open: impl Fn(&Path) -> OpenError) -> [OpenError; 2] {
    let directory = tempfile::tempdir().unwrap();
    let (path, crashed) = (directory.path().join("file"), directory.path().join("crashed"));
    make(&path);
    let db = Database::open(&path).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_durability(Durability::Immediate).unwrap();
    txn.open_table(META).unwrap().insert("version", version.to_be_bytes().as_slice()).unwrap();
    txn.commit().unwrap();
    // While it is open the file is what a crash would leave: not closed, in need of a repair.
    fs::copy(&path, &crashed).unwrap();
    drop(db);
    [path, crashed].map(|file| {
        let before = fs::read(&file).unwrap();
        let error = open(&file);
        assert!(fs::read(&file).unwrap() == before, "the file was changed");
        error
    })
}

/// Would let an old program repair, and so change, a file that it does not understand.
#[test]
fn a_newer_file_is_refused_and_untouched_even_after_a_crash() {
    for error in refused(3, |path| drop(open(path).unwrap()), |path| open(path).unwrap_err()) {
        assert!(matches!(error, OpenError::NewerVersion { found: 3, supported: 2, .. }), "{error:?}");
    }
}

/// Would read documents of the format before as if they were of this one, or leave nobody a way to get at them.
#[test]
fn files_of_the_build_before_are_refused_untouched_and_with_the_way_out() {
    let open_feed = |path: &Path| RedbFeed::open(path, NewFeed { created_ms: 0 });
    let replica = refused(1, |path| drop(open(path).unwrap()), |path| open(path).unwrap_err());
    let feed =
        refused(1, |path| drop(open_feed(path).unwrap()), |path| open_feed(path).map(|_| ()).unwrap_err());
    for error in replica.into_iter().chain(feed) {
        assert!(matches!(error, OpenError::OlderVersion { found: 1, supported: 2, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("export its data with the build of Headwater that made it"), "{text}");
    }
}

/// Would lose the last commits of a device that ran out of battery.
#[test]
fn a_file_that_was_not_closed_opens_with_its_last_commit() {
    let directory = tempfile::tempdir().unwrap();
    let (path, crashed) = (directory.path().join("file"), directory.path().join("crashed"));
    let store = open(&path).unwrap();
    store.commit(Commit::new(SpaceId::from_name("home"), 0)).unwrap();
    fs::copy(&path, &crashed).unwrap();
    let reopened = open(&crashed).unwrap();
    assert_eq!(reopened.spaces(), [SpaceId::from_name("home")]);
    reopened.commit(Commit::new(SpaceId::from_name("team"), 0)).unwrap();
    drop(reopened);
    assert_eq!(open(&crashed).unwrap().spaces().len(), 2);
}

/// Would let two processes write one file.
#[test]
fn an_open_file_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let store = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::InUse { .. })));
    drop(store);
    open(&path).unwrap();
}

/// Would fill the directory with the remains of crashes.
#[test]
fn leftovers_of_a_crashed_creation_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("home");
    fs::write(directory.path().join("home.tmp-12345"), b"redb\x1A\x0A\xA9\x0D\x0Ahalf a file").unwrap();
    fs::write(directory.path().join("home.tmp-abc-1"), [0; 5000]).unwrap();
    let others = ["home.tmp-1", "home.tmp-letter", "homes.tmp-1"];
    others.iter().for_each(|name| fs::write(directory.path().join(name), b"someone else's").unwrap());
    drop(open(&path).unwrap());
    assert_eq!(names_in(directory.path()), [&["home"][..], &others].concat());
}

/// Would let the slower of two starting programs replace the file of the faster one.
#[test]
fn creating_at_the_same_time_makes_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("home");
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|device| {
                let path = &path;
                scope.spawn(move || ReplicaStore::open(path, new_replica(device)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let devices: Vec<_> = opened.iter().flatten().map(ReplicaStore::device_id).collect();
    assert_eq!(devices.len(), 1, "{opened:?}");
    drop(opened);
    assert_eq!(open(&path).unwrap().device_id(), devices[0]);
}

/// Would let damage crash the program instead of being reported.
#[test]
fn damaged_files_are_errors_and_not_panics() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let store = open(&path).unwrap();
    store.commit(Commit::new(SpaceId::from_name("home"), 0)).unwrap();
    drop(store);
    let good = fs::read(&path).unwrap();
    for len in [9, 10, 100, 4096, 8192, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        assert!(open(&path).is_err(), "cut to {len}");
    }
    for at in (9..320).chain((4096..good.len()).step_by(997)) {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        fs::write(&path, &bad).unwrap();
        let _ = open(&path);
    }
}

/// A disk that stops working when told to.
#[derive(Debug)]
struct Failing {
    inner: InMemoryBackend,
    broken: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Failing {
    fn check(&self) -> std::io::Result<()> {
        match self.broken.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(std::io::Error::other("the disk is gone")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.inner.write(offset, data)
    }
}

/// Would retry over a disk whose contents nobody knows, and report success.
#[test]
fn after_an_io_error_nothing_more_is_answered() {
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let backend = |broken: &std::sync::Arc<_>| Failing {
        inner: InMemoryBackend::new(),
        broken: std::sync::Arc::clone(broken),
    };
    let space = SpaceId::from_name("home");
    let store = ReplicaStore::open_backend(backend(&broken), new_replica(1)).unwrap();
    let feed = RedbFeed::open_backend(backend(&broken), NewFeed { created_ms: 0 }).unwrap();
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let failed = store.commit(Commit::new(space, 0));
    assert!(matches!(failed, Err(CommitError::Store(StoreError::Io(_)))), "{failed:?}");
    let append = Append {
        space,
        origin: DeviceId::from_bytes([1; 16]),
        pusher: headwater_storage::Pusher::default(),
        received_ms: 0,
        epoch_if_new: FeedEpoch::from_bytes([1; 16]),
        entries: vec![],
    };
    assert!(feed.append_all(vec![append.clone()]).is_err());
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(store.commit(Commit::new(space, 0)), Err(CommitError::Store(StoreError::Poisoned))));
    assert!(matches!(store.position(space), Err(StoreError::Poisoned)));
    assert!(feed.append_all(vec![append]).is_err());
    assert!(matches!(feed.head(space), Err(StoreError::Poisoned)));
}
