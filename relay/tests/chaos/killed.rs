//! Relay and replica die at once, at random, while another replica goes on writing. The replica's process is this test binary itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater::sync::Backoff;
use headwater::{ConnectOptions, EntityId, Map, Receipt, Replica, SpaceId, SyncOptions, Value};
use tokio::sync::mpsc;

use crate::feed::{open_feed, read_feed};
use crate::held;
use crate::kills::{kills, varied};
use crate::process::RelayProcess;
use crate::proxy::Proxy;

const SPACE: &str = "home";
const COLLECTION: &str = "lists";
/// The file that the process writes to, and the relay that it syncs with.
const CHILD_FILE: &str = "HEADWATER_CHAOS_FILE";
const CHILD_RELAY: &str = "HEADWATER_CHAOS_RELAY";
const DEADLINE: Duration = Duration::from_secs(60);

/// What was said to be safe, kept outside of everything that is killed.
#[derive(Default)]
struct Journal {
    /// entity -> the highest number whose write returned
    written: BTreeMap<EntityId, i64>,
    /// entity -> the highest number that the relay acknowledged
    acknowledged: BTreeMap<EntityId, i64>,
}

enum Said {
    Wrote(EntityId, i64),
    Acknowledged(EntityId, i64),
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_and_replica_killed_at_once_lose_and_double_nothing() {
    // Would lose what was between the two when a machine that runs both loses power.
    let started = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let (data, path) = (directory.path().join("relay"), directory.path().join("killed"));
    let bystander = Replica::open(directory.path().join("bystander")).unwrap();
    // The relay is at another address after each start. The replicas know only this one.
    let proxy = Proxy::start(([127, 0, 0, 1], 9).into(), None).await;
    let mut options = ConnectOptions::new([space()]);
    options.backoff = Backoff::new(5, 50);
    let connection = bystander.connect(&proxy.url, options).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (writes, mut written) = mpsc::channel(256);
    let writer = {
        let (replica, stop) = (bystander.clone(), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || keep_writing(&replica, &stop, &writes))
    };
    let (mut killed, mut standing) = (Journal::default(), Vec::new());
    let mut known: BTreeSet<EntityId> = BTreeSet::new();
    for round in 0..kills() {
        let mut relay = RelayProcess::start(&data);
        proxy.lead_to(relay.address());
        let (mut child, mut said) = start_child(&path, &proxy.url);
        let mut until_kill = 5 + varied(3 * round, 60);
        while until_kill > 0 {
            let next = tokio::time::timeout(DEADLINE, said.recv()).await;
            let next = next.unwrap_or_else(|_| panic!("kill {round}: nothing is acknowledged any more"));
            let next = next.unwrap_or_else(|| panic!("kill {round}: the process ended before it was killed"));
            until_kill -= u64::from(matches!(next, Said::Acknowledged(..)));
            killed.note(next);
        }
        // Which of them is first, and by how much, is different each time.
        let pause = Duration::from_micros(varied(3 * round + 1, 20_000));
        match varied(3 * round + 2, 3) {
            0 => relay.kill(),
            1 => child.kill().unwrap(),
            _ => {}
        }
        tokio::time::sleep(pause).await;
        relay.kill();
        // One that has ended by itself is as dead.
        let _ended = child.kill().is_err();
        child.wait().unwrap();
        while let Some(next) = said.recv().await {
            killed.note(next);
        }
        while let Ok((entity, receipt)) = written.try_recv() {
            standing.push((entity, receipt));
        }
        standing.retain(|(entity, receipt): &(EntityId, Receipt)| {
            let is_safe = receipt.is_on_relay().unwrap();
            known.extend(is_safe.then_some(*entity));
            !is_safe
        });

        let feed = read_feed(&open_feed(&data), space());
        let lost = known
            .iter()
            .chain(killed.acknowledged.keys())
            .filter(|entity| !feed.contains_key(entity))
            .count();
        assert_eq!(lost, 0, "kill {round}: acknowledged and gone");
        let replica = Replica::open(&path).unwrap();
        killed.assert_held(round, &replica);
        // What it has is on the relay already, or will be pushed.
        let mut safe = held::outbox(&replica, space());
        safe = held::together(safe, feed);
        assert!(held::contains(&safe, &held::changes(&replica, space())), "kill {round}: never to be pushed");
    }

    let mut relay = RelayProcess::start(&data);
    proxy.lead_to(relay.address());
    stop.store(true, Ordering::Relaxed);
    while let Some((entity, receipt)) = written.recv().await {
        standing.push((entity, receipt));
    }
    writer.await.unwrap();
    for (entity, receipt) in standing {
        tokio::time::timeout(DEADLINE, receipt.on_relay()).await.unwrap().unwrap();
        known.insert(entity);
    }
    connection.disconnect().await;
    let [replica, fresh] = [&path, &directory.path().join("fresh")].map(|path| Replica::open(path).unwrap());
    for replica in [&replica, &bystander, &fresh] {
        replica.sync(&relay.url, SyncOptions::new([space()])).await.unwrap();
        assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
    }
    let all = held::changes(&fresh, space());
    for replica in [&replica, &bystander] {
        assert!(held::changes(replica, space()) == all, "a fresh replica has other changes");
        assert!(held::records(replica, space(), COLLECTION) == held::records(&fresh, space(), COLLECTION));
    }
    killed.assert_held(kills(), &fresh);
    relay.kill();
    assert!(read_feed(&open_feed(&data), space()) == all, "other changes in the feed");
    println!(
        "{} kills of both, {} entities acknowledged to the one that was killed, {} to the other; {:?}",
        kills(),
        killed.acknowledged.len(),
        known.len(),
        started.elapsed()
    );
}

/// Not a test on its own: the process that is killed. Says what it wrote once the write has returned, and what is on the relay
/// once that has acknowledged it.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_writes_and_syncs() {
    // Would end the parent's reading at once if it wrote without being asked to.
    let (Some(path), Ok(url)) = (std::env::var_os(CHILD_FILE), std::env::var(CHILD_RELAY)) else { return };
    let replica = Replica::open(path).unwrap();
    let mut options = ConnectOptions::new([space()]);
    options.backoff = Backoff::new(5, 50);
    let _connection = replica.connect(&url, options).unwrap();
    let (receipts, mut written) = mpsc::channel::<(EntityId, i64, Receipt)>(32);
    let writer = tokio::task::spawn_blocking(move || {
        let lists = replica.space(SPACE).dynamic(COLLECTION).unwrap();
        let mut last: Option<(EntityId, i64)> = None;
        for turn in 0_u64.. {
            // Every third write changes the entity before it, so that changes depend on each other.
            let (id, number, receipt) = match last.filter(|_| turn % 3 == 2) {
                Some((id, number)) => (id, number + 1, lists.set(id, numbered(number + 1)).unwrap()),
                None => {
                    let written = lists.insert(numbered(0)).unwrap();
                    (written.id, 0, written.receipt)
                }
            };
            last = Some((id, number));
            say("wrote", id, number);
            if receipts.blocking_send((id, number, receipt)).is_err() {
                return;
            }
        }
    });
    while let Some((id, number, receipt)) = written.recv().await {
        receipt.on_relay().await.unwrap();
        say("acknowledged", id, number);
    }
    writer.await.unwrap();
}

fn say(what: &str, id: EntityId, number: i64) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{what} {id} {number}.").unwrap();
    stdout.flush().unwrap();
}

fn start_child(path: &Path, url: &str) -> (Child, mpsc::UnboundedReceiver<Said>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_writes_and_syncs", "--nocapture"])
        .env(CHILD_FILE, path)
        .env(CHILD_RELAY, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (says, said) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        // What the test harness prints around it is not ours, and a line that was cut was not said.
        for said in stdout.lines().map_while(Result::ok).filter_map(|line| parsed(&line)) {
            if says.send(said).is_err() {
                return;
            }
        }
    });
    (child, said)
}

fn parsed(line: &str) -> Option<Said> {
    // The harness names the test on the line that the first word comes in.
    let at = line.find("wrote ").or_else(|| line.find("acknowledged "))?;
    let mut words = line[at..].strip_suffix('.')?.split(' ');
    let (what, id, number) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(if what == "wrote" { Said::Wrote(id, number) } else { Said::Acknowledged(id, number) })
}

impl Journal {
    fn note(&mut self, said: Said) {
        let (entities, id, number) = match said {
            Said::Wrote(id, number) => (&mut self.written, id, number),
            Said::Acknowledged(id, number) => (&mut self.acknowledged, id, number),
        };
        let highest = entities.entry(id).or_insert(number);
        *highest = number.max(*highest);
    }

    #[track_caller]
    fn assert_held(&self, round: u64, replica: &Replica) {
        let records: BTreeMap<_, _> = held::records(replica, space(), COLLECTION).into_iter().collect();
        for (id, number) in &self.written {
            let found = records.get(id).and_then(|fields| fields.get("number"));
            // One more may have been written and not been said.
            let holds = [*number, number + 1].iter().any(|number| found == Some(&Value::Int(*number)));
            assert!(holds, "kill {round}: {id}: said {number}, found {found:?}");
        }
    }
}

fn keep_writing(replica: &Replica, stop: &AtomicBool, writes: &mpsc::Sender<(EntityId, Receipt)>) {
    let lists = replica.space(SPACE).dynamic(COLLECTION).unwrap();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let written = lists.insert(numbered(number)).unwrap();
        if writes.blocking_send((written.id, written.receipt)).is_err() {
            return;
        }
        // It writes the whole time, and the test reads all of it again after each kill.
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn numbered(number: i64) -> Map {
    Map::from([("number".to_owned(), Value::Int(number))])
}

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}
