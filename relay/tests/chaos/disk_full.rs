//! A disk that is full: under the relay, under a replica, and at the very start of both.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headwater::{
    Direction, EditError, EntityId, Map, OpenError, Replica, SpaceId, StoreError, SyncError, SyncOptions,
    SyncReport, Value,
};
use headwater_storage::{CommitError, NewFeed, RedbFeed};
use tempfile::TempDir;

use crate::feed::{Changes, open_feed, read_feed};
use crate::held;
use crate::kills::varied;
use crate::process::RelayProcess;
use crate::tmpfs::Tmpfs;

const SPACE: &str = "home";
const COLLECTION: &str = "photos";
const DISK_BYTES: usize = 12 << 20;
const BALLAST_BYTES: usize = 4 << 20;
const PHOTO_BYTES: u64 = 48 << 10;
const BLOCK_BYTES: usize = 4096;
/// For whatever happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_disk_is_full_loses_nothing_that_it_acknowledged() {
    // Would lose what an app was told is safe, or every further edit until someone repairs the file by hand.
    let Some(mut full) = FullRelay::new().await else { return };
    let acknowledged = full.acknowledged();
    assert!(held::count(&acknowledged) > 50, "hardly anything had room");
    full.relay.kill();

    match RelayProcess::try_start(&full.data) {
        Ok(relay) => {
            println!("a relay starts on a full disk");
            let fresh = full.replica("fresh on a full disk");
            sync(&fresh, &relay.url).await.unwrap();
            assert!(held::contains(&held::changes(&fresh, space()), &acknowledged), "acknowledged and gone");
        }
        Err(log) => assert!(log.contains("No space left"), "{log}"),
    }

    full.disk.make_room();
    full.relay = RelayProcess::start(&full.data);
    full.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_disk_was_full_goes_on_by_itself_once_there_is_room() {
    // Would leave every device without sync until someone thinks of restarting the relay.
    let Some(full) = FullRelay::new().await else { return };
    full.disk.make_room();
    let deadline = Instant::now() + PATIENCE;
    while full.a.space(SPACE).pending().unwrap() + full.b.space(SPACE).pending().unwrap() > 0 {
        let synced = [sync(&full.a, &full.relay.url).await, sync(&full.b, &full.relay.url).await];
        assert!(Instant::now() < deadline, "there is room, and it takes nothing: {synced:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    full.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_disk_is_full_still_gives_out_what_it_has() {
    // Would keep people from their data because there is no room for more of it.
    let Some(full) = FullRelay::new().await else { return };
    let fresh = full.replica("fresh");
    println!("{:?}", sync(&fresh, &full.relay.url).await);
    assert!(held::contains(&held::changes(&fresh, space()), &full.acknowledged()), "not given out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_with_a_relay_whose_disk_is_full_says_so() {
    // Would tell a person that the data is on the relay when it is only on this device.
    let Some(full) = FullRelay::new().await else { return };
    let refused = full.last.as_ref().expect_err("nothing of it was stored, and it is said to be done");
    assert!(refused.is_retryable(), "{refused:?}");
    for replica in [&full.a, &full.b] {
        match sync(replica, &full.relay.url).await {
            Ok(_) => {
                assert_eq!(replica.space(SPACE).pending().unwrap(), 0, "said to be done");
                let held = held::changes(replica, space());
                assert!(held::contains(&held, &full.acknowledged()), "said to be done");
            }
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_disk_is_full_keeps_every_write_that_returned() {
    // Would lose what the app showed as saved, keep half of a write, or never take another one.
    let Some(disk) = Tmpfs::mount(DISK_BYTES) else { return };
    let path = disk.path().join("replica");
    let mut written: Vec<Vec<EntityId>> = Vec::new();
    let mut replica = Replica::open(&path).unwrap();
    for round in 0..8 {
        disk.fill_but((1 + varied(round, 250) as usize) * BLOCK_BYTES);
        let refused = loop {
            let number = written.len() as u64;
            let ids: Vec<_> = (0..=number % 3).map(|place| id(number * 3 + place)).collect();
            match insert(&replica, &ids, varied(number, 4) * PHOTO_BYTES / 8) {
                Ok(()) => written.push(ids),
                Err(error) => break (ids, error),
            }
        };
        let (refused, error) = refused;
        let EditError::Commit(CommitError::Store(StoreError::Io(cause))) = &error else {
            panic!("round {round}: not a full disk: {error:?}")
        };
        assert_eq!(cause.kind(), ErrorKind::StorageFull, "round {round}");
        let again = insert(&replica, &refused, 0).unwrap_err();
        assert!(
            matches!(&again, EditError::Read(headwater::ReadError::Store(error)) if error.needs_reopen()),
            "{again:?}"
        );

        drop(replica);
        // Reading needs no room.
        assert_holds(&Replica::open(&path).unwrap(), &written, &refused);
        disk.make_room();
        replica = Replica::open(&path).unwrap();
        assert_holds(&replica, &written, &refused);
        insert(&replica, &refused, PHOTO_BYTES).unwrap();
        written.push(refused);
    }
    println!("{} writes, 8 times full", written.len());

    let data = tempfile::tempdir().unwrap();
    let mut relay = RelayProcess::start(data.path());
    sync(&replica, &relay.url).await.unwrap();
    assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
    relay.kill();
    assert!(read_feed(&open_feed(data.path()), space()) == held::changes(&replica, space()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_disk_is_full_pulls_the_rest_once_there_is_room() {
    // Would skip for ever what came while there was no room for it.
    let Some(pull) = PullIntoFull::new(Direction::Both).await else { return };
    let PullIntoFull { replica, path, disk, relay, other, .. } = pull;
    drop(replica);
    disk.make_room();
    let replica = Replica::open(path).unwrap();
    sync(&replica, &relay.url).await.unwrap();
    assert!(held::changes(&replica, space()) == held::changes(&other, space()), "something is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_into_a_replica_whose_disk_is_full_says_so() {
    // Would tell a person that everything is here when nothing of it is.
    let Some(pull) = PullIntoFull::new(Direction::Both).await else { return };
    let error = pull.pulled.expect_err("nothing of it was stored, and it is said to be done");
    assert!(matches!(error, SyncError::Store(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_into_a_replica_whose_disk_is_full_says_so() {
    // Would tell a person that everything is here when nothing of it is.
    let Some(pull) = PullIntoFull::new(Direction::Pull).await else { return };
    let error = pull.pulled.expect_err("nothing of it was stored, and it is said to be done");
    println!("{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_no_room_to_be_made_is_not_in_the_way_later() {
    // Would need someone to find and remove half of a file before the relay or the app starts again.
    let Some(disk) = Tmpfs::mount(DISK_BYTES) else { return };
    assert_not_in_the_way(&disk, "replica", |path| Replica::open(path).map(drop));
    assert_not_in_the_way(&disk, "feed", |path| RedbFeed::open(path, NewFeed { created_ms: 0 }).map(drop));

    let data = disk.path().join("relay");
    disk.fill_but(0);
    let log = RelayProcess::try_start(&data).err().expect("it started without any room");
    assert!(log.contains("No space left"), "{log}");
    disk.make_room();
    drop(RelayProcess::start(&data));
}

/// A store is made with more and more room, until there is enough. What was refused must have left nothing behind.
#[track_caller]
fn assert_not_in_the_way(disk: &Tmpfs, name: &str, open: impl Fn(&Path) -> Result<(), OpenError>) {
    let mut blocks = 0;
    loop {
        let path = disk.path().join(format!("{name} {blocks}")).join("store");
        disk.fill_but(blocks * BLOCK_BYTES);
        let opened = open(&path);
        disk.make_room();
        match opened {
            Ok(()) => break,
            Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {}
            Err(error) => panic!("{name} with room for {blocks} blocks: {error:?}"),
        }
        let left = std::fs::read_dir(path.parent().unwrap()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{name} with room for {blocks} blocks left something behind");
        open(&path).unwrap();
        blocks += 1;
    }
    assert!(blocks > 2, "{name}: the disk was never full");
    println!("{name}: refused with room for less than {blocks} blocks");
}

/// A relay on a disk that got full while two replicas pushed.
struct FullRelay {
    relay: RelayProcess,
    a: Replica,
    b: Replica,
    /// What the sync said that first left something in the outbox.
    last: Result<SyncReport, SyncError>,
    data: PathBuf,
    directory: TempDir,
    /// The last to be dropped, once nothing is open on it any more.
    disk: Tmpfs,
}

impl FullRelay {
    async fn new() -> Option<FullRelay> {
        let disk = Tmpfs::mount(DISK_BYTES)?;
        disk.weigh_down(BALLAST_BYTES);
        let data = disk.path().join("relay");
        let relay = RelayProcess::start(&data);
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
        let mut numbers = 0_u64..;
        let last = loop {
            let number = numbers.next().unwrap();
            let replica = if number % 2 == 0 { &a } else { &b };
            insert(replica, &[id(number)], PHOTO_BYTES).unwrap();
            let synced = sync(replica, &relay.url).await;
            if replica.space(SPACE).pending().unwrap() > 0 {
                println!("entity {number} has no room: {synced:?}");
                break synced;
            }
        };
        Some(FullRelay { relay, a, b, last, data, directory, disk })
    }

    fn replica(&self, name: &str) -> Replica {
        Replica::open(self.directory.path().join(name)).unwrap()
    }

    /// What the two replicas know to be on the relay.
    fn acknowledged(&self) -> Changes {
        let [a, b] = [&self.a, &self.b]
            .map(|replica| held::without(held::changes(replica, space()), &held::outbox(replica, space())));
        held::together(a, b)
    }

    /// There is room again, and the relay takes everything.
    async fn assert_goes_on(mut self) {
        let all = held::together(held::changes(&self.a, space()), held::changes(&self.b, space()));
        let fresh = self.replica("fresh");
        for replica in [&self.a, &self.b, &self.a, &fresh] {
            sync(replica, &self.relay.url).await.unwrap();
        }
        for replica in [&self.a, &self.b, &fresh] {
            assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
            assert!(held::changes(replica, space()) == all, "something is missing");
        }
        self.relay.kill();
        assert!(read_feed(&open_feed(&self.data), space()) == all, "other changes in the feed");
    }
}

/// A replica whose disk got full while it pulled.
struct PullIntoFull {
    replica: Replica,
    pulled: Result<SyncReport, SyncError>,
    path: PathBuf,
    relay: RelayProcess,
    other: Replica,
    _directory: TempDir,
    disk: Tmpfs,
}

impl PullIntoFull {
    async fn new(direction: Direction) -> Option<PullIntoFull> {
        let disk = Tmpfs::mount(DISK_BYTES)?;
        let directory = tempfile::tempdir().unwrap();
        let relay = RelayProcess::start(&directory.path().join("relay"));
        let other = Replica::open(directory.path().join("other")).unwrap();
        for number in 0..50 {
            insert(&other, &[id(number)], PHOTO_BYTES).unwrap();
        }
        sync(&other, &relay.url).await.unwrap();
        let path = disk.path().join("replica");
        let replica = Replica::open(&path).unwrap();
        disk.fill_but(1 << 20);
        let mut options = options();
        options.direction = direction;
        let pulled = replica.sync(&relay.url, options).await;
        Some(PullIntoFull { replica, pulled, path, relay, other, _directory: directory, disk })
    }
}

/// Everything that was written is there. What was refused is there as a whole, or not at all.
#[track_caller]
fn assert_holds(replica: &Replica, written: &[Vec<EntityId>], refused: &[EntityId]) {
    let records = held::records(replica, space(), COLLECTION);
    let held: Vec<_> = records.iter().map(|(id, _)| *id).collect();
    let missing = written.iter().flatten().filter(|id| !held.contains(id)).count();
    assert_eq!(missing, 0, "of {} writes that returned", written.len());
    let kept = refused.iter().filter(|id| held.contains(id)).count();
    assert!(kept == 0 || kept == refused.len(), "half of a write: {kept} of {}", refused.len());
    assert_eq!(held.len(), written.iter().flatten().count() + kept, "something that nobody wrote");
    assert!(held::outbox(replica, space()) == held::changes(replica, space()), "it would not be pushed");
}

/// Writes entities in one call, each with so many bytes that do not get smaller.
fn insert(replica: &Replica, ids: &[EntityId], bytes: u64) -> Result<(), EditError> {
    let photos = replica.space(SPACE).dynamic(COLLECTION).unwrap();
    let entities = ids.iter().map(|id| {
        let [.., low] = id.as_bytes().map(u64::from);
        let photo =
            (0..bytes / 8).flat_map(|at| varied(low << 32 | at, u64::MAX).to_be_bytes()).collect::<Vec<_>>();
        (*id, Map::from([("photo".to_owned(), Value::Bytes(photo))]))
    });
    photos.upsert_all(entities).map(drop)
}

fn id(number: u64) -> EntityId {
    EntityId::from_bytes(u128::from(number).to_be_bytes())
}

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

async fn sync(replica: &Replica, url: &str) -> Result<SyncReport, SyncError> {
    replica.sync(url, options()).await
}

fn options() -> SyncOptions {
    let mut options = SyncOptions::new([space()]);
    options.timeout = PATIENCE;
    options
}
