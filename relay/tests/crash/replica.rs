//! A replica's process dies during writes. The process is this test binary itself, started with a file to write to.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use headwater::{Counter, EntityId, Replica, SpaceId, SyncOptions};
use headwater_storage::OutboxSeq;
use serde::{Deserialize, Serialize};

use crate::kills::{kills, varied};
use crate::process::RelayProcess;

const SPACE: &str = "home";
const CHILD: &str = "HEADWATER_CRASH_CHILD";
const ENTITIES: usize = 50;

#[derive(Serialize, Deserialize)]
struct Tally {
    count: Counter,
    note: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_has_every_write_that_returned() {
    // Would lose an edit that the app showed as saved, or leave it on this device for ever.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    // entity -> the highest count whose write returned
    let mut acknowledged: BTreeMap<EntityId, i64> = BTreeMap::new();
    for round in 0..kills() {
        let mut until_kill = 10 + varied(round, 150);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replica::the_process_that_writes", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // What the test harness prints around it is not ours.
            let Some(line) = line.as_deref().unwrap().strip_prefix("wrote ").map(str::to_owned) else {
                continue;
            };
            // The last line may be cut; what was not said in full was not acknowledged.
            let Some((id, count)) = line.strip_suffix('.').and_then(|line| line.split_once(' ')) else {
                continue;
            };
            acknowledged.insert(id.parse().unwrap(), count.parse().unwrap());
            until_kill = until_kill.saturating_sub(1);
            if until_kill == 0 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "the process ended before it was killed");
        let replica = Replica::open(&path).unwrap();
        assert_holds(&replica, &acknowledged);
    }

    let relay = RelayProcess::start(&directory.path().join("relay"));
    let replica = Replica::open(&path).unwrap();
    replica.sync(&relay.url, SyncOptions::new([SpaceId::from_name(SPACE)])).await.unwrap();
    assert_eq!(replica.space(SPACE).pending().unwrap(), 0);
    let fresh = Replica::open(directory.path().join("b")).unwrap();
    fresh.sync(&relay.url, SyncOptions::new([SpaceId::from_name(SPACE)])).await.unwrap();
    let totals = |replica: &Replica| {
        let tallies = replica.space(SPACE).collection::<Tally>("tallies").unwrap().list().unwrap();
        tallies.into_iter().map(|(id, tally)| (id, tally.count.value(), tally.note)).collect::<Vec<_>>()
    };
    assert_eq!(totals(&replica), totals(&fresh));
    println!("{} kills, {} entities", kills(), acknowledged.len());
}

/// Not a test on its own: the process that is killed. Says what it wrote once the write has returned.
#[test]
fn the_process_that_writes() {
    // Would end the parent's reading at once if it wrote without being asked to.
    let Some(path) = std::env::var_os(CHILD) else { return };
    let replica = Replica::open(path).unwrap();
    let tallies = replica.space(SPACE).collection::<Tally>("tallies").unwrap();
    let mut ids: Vec<EntityId> = tallies.list().unwrap().into_iter().map(|(id, _)| id).collect();
    let say = |id: EntityId, count: i64| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "wrote {id} {count}.").unwrap();
        stdout.flush().unwrap();
    };
    for turn in 0_usize.. {
        if ids.len() < ENTITIES && turn % 2 == 0 {
            let id = tallies.insert(&Tally { count: Counter::new(0), note: String::new() }).unwrap().id;
            ids.push(id);
            say(id, 0);
        } else {
            let id = ids[turn % ids.len()];
            let mut count = 0;
            let edit = |tally: &mut Tally| {
                tally.count.increment(1);
                count = tally.count.value();
                // Written together with the count, and must be found together with it.
                tally.note = count.to_string();
            };
            tallies.update(id, edit).unwrap();
            say(id, count);
        }
    }
}

#[track_caller]
fn assert_holds(replica: &Replica, acknowledged: &BTreeMap<EntityId, i64>) {
    let tallies = replica.space(SPACE).collection::<Tally>("tallies").unwrap();
    let space = SpaceId::from_name(SPACE);
    let outbox = replica.outbox(space, OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
    let waiting: HashSet<_> = outbox.iter().map(|entry| (entry.record.entity, entry.record.hash)).collect();
    assert_eq!(waiting.len(), outbox.len(), "a change is in the outbox twice");
    for (id, count) in acknowledged {
        let tally = tallies.get(*id).unwrap().unwrap_or_else(|| panic!("{id} is gone"));
        let found = tally.count.value();
        // One more may have been written and not been said.
        assert!((*count..=count + 1).contains(&found), "{id}: said {count}, found {found}");
        assert!(found == 0 || tally.note == found.to_string(), "half of a write: {found}, {:?}", tally.note);
        for (hash, _) in replica.entity_changes(space, *id).unwrap() {
            assert!(waiting.contains(&(*id, hash)), "a change of {id} would never be pushed");
        }
    }
}
