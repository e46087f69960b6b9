//! A connection that is cut at any byte of a conversation, in either direction.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater::wire::Limits;
use headwater::{EntityId, Map, Replica, SpaceId, SyncError, SyncOptions, Value};
use tokio::task::JoinSet;

use crate::feed::{Changes, open_feed, read_feed};
use crate::held;
use crate::process::RelayProcess;
use crate::proxy::{Cut, From, How, Proxy};
use crate::repeated::Repeated;

/// Cuts under way at the same time.
const AT_ONCE: usize = 8;
/// Without `HEADWATER_CUTS`, about so many cuts are made.
const CUTS_DEFAULT: usize = 400;
/// The length of a conversation varies by what is told together. So many bytes more are tried than the longest one had.
const MARGIN: usize = 16;
/// A cut that is not noticed would wait for as long.
const DEADLINE: Duration = Duration::from_secs(20);
/// For conversations of which nothing more will come.
const PATIENCE: Duration = Duration::from_millis(300);
/// So few that a conversation has several pushes.
const PUSH_CHANGES_MAX: u64 = 6;

/// What a change takes in a batch beside its payload, at least.
const ROUTING_BYTES: usize = 55;
const COLLECTION: &str = "lists";
/// Written on both sides, before either knows of the other.
const SHARED: u128 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_byte_loses_and_doubles_nothing() {
    // Would lose or double what was under way when a train enters a tunnel.
    let directory = tempfile::tempdir().unwrap();
    let relay = RelayProcess::start(directory.path());
    let started = Instant::now();
    let (mut from_client, mut from_relay) = (0, 0);
    let mut journals = Vec::new();
    for number in 0..4 {
        let (journal, passed) =
            converse(relay.address(), SpaceId::from_name(&format!("whole {number}")), None).await;
        assert!(journal.complete);
        let plain = held::payload_bytes(&journal.changes) + ROUTING_BYTES * held::count(&journal.changes);
        assert!(passed.0 + passed.1 < plain, "no batch was compressed: {passed:?} of {plain} bytes");
        (from_client, from_relay) = (from_client.max(passed.0), from_relay.max(passed.1));
        journals.push(journal);
    }
    let cuts = planned(from_client + MARGIN, from_relay + MARGIN);
    let made = cuts.len();
    journals.extend(make(relay.address(), cuts).await);
    let complete = journals.iter().filter(|journal| journal.complete).count() - 4;
    let partly = journals.iter().filter(|journal| journal.acknowledged_partly).count();
    println!(
        "{made} cuts, {complete} conversations were complete, {partly} had some of their changes acknowledged; \
         {from_client} bytes from the client, {from_relay} from the relay; {:?}",
        started.elapsed()
    );
    assert_in_feed(relay, directory.path(), &journals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stalls_at_any_byte_loses_and_doubles_nothing() {
    // Would wait for ever on a network that says nothing any more, or lose what was under way on it.
    let directory = tempfile::tempdir().unwrap();
    let relay = RelayProcess::start(directory.path());
    let started = Instant::now();
    let (journal, (from_client, from_relay)) =
        converse(relay.address(), SpaceId::from_name("whole"), None).await;
    assert!(journal.complete);
    let offsets =
        |from, len: usize| (0..8).map(move |eighth| Cut { from, after: len * eighth / 8, how: How::Stall });
    let cuts: Vec<_> = offsets(From::Client, from_client).chain(offsets(From::Relay, from_relay)).collect();
    let made = cuts.len();
    let mut journals = make(relay.address(), cuts).await;
    let complete = journals.iter().filter(|journal| journal.complete).count();
    println!("{made} stalls, {complete} conversations were complete; {:?}", started.elapsed());
    journals.push(journal);
    assert_in_feed(relay, directory.path(), &journals);
}

/// What has to be in the feed of a space.
struct Journal {
    space: SpaceId,
    changes: Changes,
    complete: bool,
    acknowledged_partly: bool,
}

/// One conversation through a proxy that cuts it, one that nobody cuts, and what has to hold after it. Gives also how many bytes
/// passed the proxy, from the client and from the relay.
async fn converse(relay: SocketAddr, space: SpaceId, cut: Option<Cut>) -> (Journal, (usize, usize)) {
    let url = format!("ws://{relay}");
    let [ours, other, fresh] = [1, 2, 3].map(|seed| Replica::in_memory(Repeated::new(seed)).unwrap());
    write(&other, space, 1000);
    other.sync(&url, options(space)).await.unwrap();
    write(&ours, space, 2000);
    let local = held::changes(&ours, space);

    let proxy = Proxy::start(relay, cut).await;
    let stalls = cut.is_some_and(|cut| cut.how == How::Stall);
    let mut through = options(space);
    through.timeout = if stalls { PATIENCE } else { DEADLINE };
    let result = ours.sync(&proxy.url, through).await;
    let waiting = held::outbox(&ours, space);
    let complete = match result {
        Ok(report) => {
            assert_eq!((report.rejected, held::count(&waiting)), (0, 0), "said to be done");
            true
        }
        Err(SyncError::TimedOut) if stalls => false,
        Err(SyncError::ConnectionLost(_) | SyncError::Unreachable(_)) if !stalls && cut.is_some() => false,
        Err(error) => panic!("not an error of a cut: {error:?}"),
    };
    let count_waiting = held::count(&waiting);
    let acknowledged_partly = count_waiting > 0 && count_waiting < held::count(&local);

    // What has left the outbox must be on the relay without any further help of ours.
    let witness = Replica::in_memory(Repeated::new(4)).unwrap();
    witness.sync(&url, options(space)).await.unwrap();
    let on_relay = held::changes(&witness, space);
    let acknowledged = held::without(local.clone(), &waiting);
    assert!(held::contains(&on_relay, &acknowledged), "acknowledged, and not on the relay");

    let report = ours.sync(&url, options(space)).await.unwrap();
    assert_eq!(report.rejected, 0);
    assert_eq!(report.pushed, count_waiting as u64, "pushed something else than what waits");
    assert_eq!(ours.space(space).pending().unwrap(), 0);
    fresh.sync(&url, options(space)).await.unwrap();
    let changes = held::changes(&ours, space);
    assert!(changes == held::changes(&fresh, space), "a fresh replica has other changes");
    assert_eq!(held::records(&ours, space, COLLECTION), held::records(&fresh, space, COLLECTION));
    let positions = |replica: &Replica| replica.entity_positions(space, None, usize::MAX).unwrap();
    assert_eq!(positions(&ours), positions(&fresh));
    let others = held::changes(&other, space);
    assert!(held::contains(&changes, &local) && held::contains(&changes, &others), "a change is lost");
    // Both sides wrote the shared entity; nobody wrote anything else twice.
    let expected = held::together(local, others);
    assert!(changes == expected, "changes that nobody wrote");
    (Journal { space, changes, complete, acknowledged_partly }, proxy.passed())
}

/// Makes the cuts, several at once. Fails after all of them if one failed.
async fn make(relay: SocketAddr, cuts: Vec<Cut>) -> Vec<Journal> {
    let made = cuts.len();
    let mut cuts = cuts.into_iter();
    let (mut journals, mut failed) = (Vec::with_capacity(made), Vec::new());
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(cut) = cuts.next()
        {
            // In a task of its own, so that a failure does not end the others.
            let space = SpaceId::from_name(&named(cut));
            let cutting = tokio::spawn(async move { converse(relay, space, Some(cut)).await.0 });
            running.spawn(async move { (cut, cutting.await) });
        }
        match running.join_next().await.map(Result::unwrap) {
            None => break,
            Some((_, Ok(journal))) => journals.push(journal),
            Some((cut, Err(_))) => {
                println!("failed; repeat it with HEADWATER_CUTS={}", named(cut));
                failed.push(cut);
            }
        }
    }
    assert!(failed.is_empty(), "{} of {made} cuts failed", failed.len());
    journals
}

/// Ends the relay. Its feeds must hold exactly what the replicas hold, each change once, and with the same bytes.
fn assert_in_feed(mut relay: RelayProcess, data: &Path, journals: &[Journal]) {
    relay.kill();
    let feed = open_feed(data);
    for journal in journals {
        assert!(
            read_feed(&feed, journal.space) == journal.changes,
            "other changes in the feed of {}",
            journal.space
        );
    }
}

/// A few small changes, a batch that can be compressed, and an entity whose changes depend on each other. The same in every call.
fn write(replica: &Replica, space: SpaceId, first: u128) {
    let lists = replica.space(space).dynamic(COLLECTION).unwrap();
    let id = |number: u128| EntityId::from_bytes((first + number).to_be_bytes());
    let shared = EntityId::from_bytes(SHARED.to_be_bytes());
    let named = |name: &str, value: i64| Map::from([(name.to_owned(), Value::Int(value))]);
    lists.upsert_all([(id(0), named("number", 0))]).unwrap();
    lists.upsert_all([(shared, named(&format!("from {first}"), 1))]).unwrap();
    let note = "a list of what to take along when camping, ".repeat(4);
    let similar = |number: u128| Map::from([("note".to_owned(), Value::from(format!("{note}{number}")))]);
    lists.upsert_all((1..8).map(|number| (id(number), similar(number)))).unwrap();
    for value in 1..5 {
        lists.set(id(0), named("number", value)).unwrap();
    }
}

fn options(space: SpaceId) -> SyncOptions {
    let mut options = SyncOptions::new([space]);
    options.limits = Limits { push_changes_max: PUSH_CHANGES_MAX, ..Limits::default() };
    options.timeout = DEADLINE;
    options
}

/// Which cuts to make; see `HEADWATER_CUTS`.
fn planned(from_client: usize, from_relay: usize) -> Vec<Cut> {
    let (stride, start) = match std::env::var("HEADWATER_CUTS") {
        Err(_) => {
            let stride = ((from_client + from_relay) / CUTS_DEFAULT).max(1);
            // Other bytes in every run: a failing one is named.
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
            (stride, nanos as usize / 1000 % stride)
        }
        Ok(all) if all == "all" => (1, 0),
        Ok(text) => match text.parse() {
            Ok(stride) => (stride, 0),
            Err(_) => return vec![parsed(&text)],
        },
    };
    println!("every {stride} bytes, from byte {start} on");
    let offsets = |from, len: usize| (start..=len).step_by(stride).map(move |after| (from, after));
    let offsets = offsets(From::Client, from_client).chain(offsets(From::Relay, from_relay));
    let hows = offsets.zip([How::Close, How::Reset].into_iter().cycle());
    hows.map(|((from, after), how)| Cut { from, after, how }).collect()
}

fn named(cut: Cut) -> String {
    format!("{:?}:{}:{:?}", cut.from, cut.after, cut.how).to_lowercase()
}

fn parsed(text: &str) -> Cut {
    let mut parts = text.split(':');
    let mut next = || parts.next().unwrap_or_else(|| panic!("HEADWATER_CUTS: not a cut: {text}"));
    let from = match next() {
        "client" => From::Client,
        "relay" => From::Relay,
        other => panic!("HEADWATER_CUTS: neither client nor relay: {other}"),
    };
    let after = next().parse().unwrap();
    let how = match next() {
        "close" => How::Close,
        "reset" => How::Reset,
        "stall" => How::Stall,
        other => panic!("HEADWATER_CUTS: neither close, reset nor stall: {other}"),
    };
    Cut { from, after, how }
}
