//! A store that goes away under a running relay: its folder is removed, a backup is copied over it, the disk takes no
//! writes any more. What is acknowledged is on a disk that is still there after a restart.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use headwater::{ConnectOptions, Map, Replica, SpaceId, SyncError, SyncOptions, SyncReport, Value};
use tempfile::TempDir;

use crate::feed::{open_feed, read_feed};
use crate::held;
use crate::kills::varied;
use crate::process::RelayProcess;

const SPACE: &str = "home";
/// For whatever happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay, and a replica that has pushed something to it.
struct Bed {
    relay: RelayProcess,
    replica: Replica,
    data: PathBuf,
    log: PathBuf,
    directory: TempDir,
}

impl Bed {
    async fn new() -> Bed {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("relay");
        let log = directory.path().join("log");
        let relay = RelayProcess::start_logging(&data, &log);
        let replica = Replica::open(directory.path().join("replica")).unwrap();
        let bed = Bed { relay, replica, data, log, directory };
        bed.write(1);
        bed.sync().await.unwrap();
        assert_eq!(bed.health(), 200);
        bed
    }

    fn write(&self, number: i64) {
        self.insert(Value::Int(number));
    }

    fn insert(&self, value: Value) {
        let things = self.replica.space(SPACE).dynamic("things").unwrap();
        things.insert(Map::from([("value".to_owned(), value)])).unwrap();
    }

    async fn sync(&self) -> Result<SyncReport, SyncError> {
        sync(&self.replica, &self.relay.url).await
    }

    /// The status that a supervisor gets.
    fn health(&self) -> u16 {
        let mut stream = TcpStream::connect(self.relay.address()).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
    }

    /// Nothing that is written now counts as stored, and whoever looks is told.
    async fn assert_takes_nothing(&self) {
        let waiting = self.replica.space(SPACE).pending().unwrap();
        self.write(2);
        let Err(error) = self.sync().await else { panic!("it is said to be stored") };
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(self.replica.space(SPACE).pending().unwrap(), waiting + 1, "it is said to be stored");
        assert_eq!(self.health(), 503);
        self.wait_for("the log says so", || self.log().contains("nothing is acknowledged")).await;
    }

    /// By itself, and with everything that the replica holds.
    async fn assert_goes_on(mut self) {
        self.wait_for("the relay works again", || self.health() == 200).await;
        self.sync().await.unwrap();
        assert_eq!(self.replica.space(SPACE).pending().unwrap(), 0);
        let fresh = Replica::open(self.directory.path().join("fresh")).unwrap();
        sync(&fresh, &self.relay.url).await.unwrap();
        let all = held::changes(&self.replica, space());
        assert!(held::changes(&fresh, space()) == all, "something is missing");
        self.relay.kill();
        assert!(read_feed(&open_feed(&self.data), space()) == all, "other changes on the disk");
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not yet: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_folder_is_removed_acknowledges_nothing_until_it_is_back() {
    // Would tell people for weeks that their edits are safe, and hold none of them after a restart.
    let bed = Bed::new().await;
    let away = bed.directory.path().join("away");
    fs::rename(&bed.data, &away).unwrap();
    bed.assert_takes_nothing().await;
    // Nor what is known there already.
    let copy = Replica::open(bed.directory.path().join("copy")).unwrap();
    sync(&copy, &bed.relay.url).await.expect_err("there is nothing to read from");
    fs::rename(&away, &bed.data).unwrap();
    bed.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_file_is_replaced_goes_on_with_the_other_one() {
    // Would write on into a file that nobody can open any more, beside the one that was restored.
    let bed = Bed::new().await;
    let live = Replica::open(bed.directory.path().join("live")).unwrap();
    let connection = live.connect(&bed.relay.url, ConnectOptions::new([space()])).unwrap();
    bed.wait_for("the other device has it", || !held::changes(&live, space()).is_empty()).await;
    let backup = bed.directory.path().join("backup.redb");
    fs::copy(bed.data.join("feed.redb"), &backup).unwrap();
    bed.write(2);
    bed.sync().await.unwrap();
    fs::rename(&backup, bed.data.join("feed.redb")).unwrap();
    bed.write(3);
    let deadline = Instant::now() + PATIENCE;
    while bed.sync().await.is_err() {
        assert!(Instant::now() < deadline, "{}", bed.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What the backup lacks comes back from those who hold it, and reaches whoever stayed connected.
    let all = held::changes(&bed.replica, space());
    bed.wait_for("the other device has all", || held::changes(&live, space()) == all).await;
    drop(connection);
    bed.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_folder_is_gone_for_good_starts_again_with_what_replicas_hold() {
    // Would need every device to be set up again.
    let mut bed = Bed::new().await;
    fs::remove_dir_all(&bed.data).unwrap();
    bed.assert_takes_nothing().await;
    bed.relay.kill();
    bed.relay = RelayProcess::start_logging(&bed.data, &bed.log);
    bed.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_file_may_not_grow_goes_on_once_it_may() {
    // Would end the relay with a signal, or leave every device without sync until someone restarts it.
    let bed = Bed::new().await;
    let may_have = |bytes: &str| {
        let limit = ["--pid", &bed.relay.id().to_string(), &format!("--fsize={bytes}:")].map(str::to_owned);
        Command::new("prlimit").args(limit).status().is_ok_and(|status| status.success())
    };
    if !may_have(&fs::metadata(bed.data.join("feed.redb")).unwrap().len().to_string()) {
        println!("skipped: prlimit is not here, or not permitted");
        return;
    }
    let mut photos = 0;
    let refused = loop {
        let photo = (0..64 << 10).map(|place| varied(photos, place + 1) as u8).collect();
        bed.insert(Value::Bytes(photo));
        photos += 1;
        match bed.sync().await {
            Ok(_) => assert!(photos < 1_000, "it may grow"),
            Err(error) => break error,
        }
    };
    assert!(refused.is_retryable(), "{refused:?}");
    bed.assert_takes_nothing().await;
    assert!(may_have("unlimited"));
    bed.assert_goes_on().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_data_is_nobody_elses_on_the_machine() {
    // Would let every account of the machine read what people write.
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new().await;
    for file in [bed.data.join("feed.redb"), bed.directory.path().join("replica")] {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

async fn sync(replica: &Replica, url: &str) -> Result<SyncReport, SyncError> {
    let mut options = SyncOptions::new([space()]);
    options.timeout = PATIENCE;
    replica.sync(url, options).await
}
