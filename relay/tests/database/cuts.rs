//! A relay that is cut off its database at any byte of a push.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use headwater::wire::Limits;
use headwater::{EntityId, Map, Replica, SpaceId, SyncError, SyncOptions, Value};
use headwater_storage::testing::Postgres;
use headwater_storage::{
    Append, AppendError, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, FeedEntry, FeedEpoch,
    PayloadKind, PostgresFeed, PostgresOptions, Pusher, Seq, StoreError,
};
use tokio::task::JoinSet;

use crate::devices::COLLECTION;
use crate::process::RelayProcess;
use crate::proxy::{Cut, From, How, Proxy};
use crate::repeated::Repeated;
use crate::{held, kills::varied, size, table};

/// Relays that are cut off at the same time, each with a database of its own.
const RELAYS: usize = 3;
const CUTS_DEFAULT: u64 = 40;
/// The length of what is said varies by what the examiner says in between. So many bytes more are tried than the longest had.
const MARGIN: usize = 64;
const DEADLINE: Duration = Duration::from_secs(60);
/// So few that a conversation has several pushes.
const PUSH_CHANGES_MAX: u64 = 4;
/// No relay looks for what others store, and says nothing that belongs to no push.
const QUIET: &[&str] = &["--database-poll-ms", "3600000"];

/// Would lose or double what was under way whenever the network between relay and database fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_cut_off_its_database_at_any_byte_of_its_own_loses_and_doubles_nothing() {
    cut_off(From::Client).await;
}

/// Would take for failed what is stored, or for stored what is not, when the database's answer does not arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_cut_off_its_database_at_any_byte_of_an_answer_loses_and_doubles_nothing() {
    cut_off(From::Relay).await;
}

/// Would stop a space for good, on a relay that seems to be well, when something between it and the database forgets a connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_any_more_is_given_up() {
    for from in [From::Client, From::Relay] {
        let bench = Bench::open().await;
        let mut options = PostgresOptions::new(&bench.url);
        (options.statement_ms_max, options.lock_ms_max) = (500, 500);
        options.idle_transaction_ms_max = 500;
        let feed = PostgresFeed::open(options).await.unwrap();
        let space = SpaceId::from_name("stalled");
        assert_eq!(feed.head(space).await.unwrap(), None);
        bench.address.arm(Cut { from, after: 10, how: How::Stall });
        feed.head(space).await.unwrap_err();
        assert!(bench.address.disarm());
        assert_eq!(feed.head(space).await.unwrap(), None);

        let mut number = 0;
        let error = loop {
            number += 1;
            bench.address.arm(Cut { from, after: 100, how: How::Stall });
            match feed.append_all(vec![one_change(space, number)]).await {
                // The news of the one before had the byte.
                Ok(_) => assert!(number < 100),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AppendError::Store(StoreError::Unavailable(_))), "{error:?}");
        // The space is free again once the database has noticed as well; then there is another connection.
        let began = Instant::now();
        while feed.append_all(vec![one_change(space, number)]).await.is_err() {
            assert!(began.elapsed() < DEADLINE);
        }
        assert_eq!(feed.head(space).await.unwrap().unwrap().seq, Seq::new(u64::from(number)));
    }
}

fn one_change(space: SpaceId, number: u8) -> Append {
    let record = ChangeRecord {
        entity: EntityId::from_bytes([number; 16]),
        collection: CollectionName::new(COLLECTION).unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes([number; 32]),
        payload: Bytes::from_static(b"a change"),
    };
    Append {
        space,
        origin: DeviceId::from_bytes([1; 16]),
        pusher: Pusher::default(),
        received_ms: 0,
        epoch_if_new: FeedEpoch::from_bytes([2; 16]),
        entries: vec![FeedEntry::new(record, Vec::new())],
    }
}

/// A relay behind whose back its database can be cut off.
struct Bench {
    server: &'static Postgres,
    database: String,
    address: Proxy,
    /// The database's, through the proxy.
    url: String,
    relay: RelayProcess,
}

/// What came of a conversation.
struct Outcome {
    /// Bytes that the relay and the database sent meanwhile.
    passed: (usize, usize),
    was_cut: bool,
    is_complete: bool,
}

async fn cut_off(from: From) {
    let began = Instant::now();
    let mut benches = Vec::new();
    for _ in 0..RELAYS {
        benches.push(Bench::open().await);
    }
    let mut cuts = Vec::new();
    // On new connections more is said: their statements are still to be prepared.
    for is_new in [true, false] {
        let mut longest = 0;
        for number in 0..2 {
            let whole = benches[0].converse(&format!("whole {is_new} {number}"), None, is_new).await;
            assert!(whole.is_complete && !whole.was_cut);
            let (from_relay, from_database) = whole.passed;
            longest = longest.max(if from == From::Client { from_relay } else { from_database });
        }
        println!("{longest} bytes from {from:?}, on new connections: {is_new}");
        cuts.extend(planned(from, longest + MARGIN).into_iter().map(|cut| (cut, is_new)));
    }
    let made = cuts.len();
    let (mut was_cut, mut complete) = (0, 0);
    let mut running = JoinSet::new();
    for (number, bench) in benches.into_iter().enumerate() {
        let cuts: Vec<_> = cuts.iter().copied().skip(number).step_by(RELAYS).collect();
        running.spawn(async move {
            let mut outcomes = Vec::new();
            for (cut, is_new) in cuts {
                outcomes.push(bench.converse(&format!("{cut:?} {is_new}"), Some(cut), is_new).await);
            }
            outcomes
        });
    }
    for outcomes in running.join_all().await {
        was_cut += outcomes.iter().filter(|outcome| outcome.was_cut).count();
        complete += outcomes.iter().filter(|outcome| outcome.was_cut && outcome.is_complete).count();
    }
    println!(
        "{made} cuts by what the {} sends; {was_cut} of them fell into the conversation, of which \
         {complete} were complete nevertheless; {:?}",
        if from == From::Client { "relay" } else { "database" },
        began.elapsed()
    );
    assert!(was_cut * 3 > made, "most cuts miss");
}

impl Bench {
    async fn open() -> Bench {
        let server = tokio::task::block_in_place(|| Postgres::shared().unwrap());
        let database = server.database().unwrap();
        let (address, url) = proxied(&database).await;
        let relay = tokio::task::block_in_place(|| RelayProcess::start_on(&url, QUIET));
        Bench { server, database, address, url, relay }
    }

    /// One conversation whose relay is cut off, one that nobody disturbs, and what has to hold after it.
    async fn converse(&self, name: &str, cut: Option<Cut>, is_new: bool) -> Outcome {
        let space = SpaceId::from_name(name);
        let [ours, other, fresh] = [1, 2, 3].map(|seed| Replica::in_memory(Repeated::new(seed)).unwrap());
        write(&other, space, 1000);
        self.sync(&other, space).await;
        write(&ours, space, 2000);
        let local = held::changes(&ours, space);
        if is_new {
            self.address.hang_up();
            // On a connection that has prepared nothing yet.
            self.sync(&other, space).await;
        }

        let before = self.address.passed();
        if let Some(cut) = cut {
            self.address.arm(cut);
        }
        let result = ours.sync(&self.relay.url, options(space)).await;
        let was_cut = self.address.disarm() && cut.is_some();
        let after = self.address.passed();
        let waiting = held::outbox(&ours, space);
        let is_complete = match result {
            Ok(report) => {
                assert_eq!((report.rejected, held::count(&waiting)), (0, 0), "{name}: said to be done");
                true
            }
            Err(error @ SyncError::Incomplete { .. }) if cut.is_some() && error.is_retryable() => false,
            Err(error) => panic!("{name}: not an error of a cut: {error:?}"),
        };

        // What has left the outbox must be there without any further help of ours.
        let witness = Replica::in_memory(Repeated::new(4)).unwrap();
        self.sync(&witness, space).await;
        let acknowledged = held::without(local.clone(), &waiting);
        let on_relay = held::changes(&witness, space);
        assert!(held::contains(&on_relay, &acknowledged), "{name}: acknowledged, and not there");

        self.sync(&ours, space).await;
        assert_eq!(ours.space(space).pending().unwrap(), 0, "{name}");
        self.sync(&fresh, space).await;
        let changes = held::changes(&ours, space);
        let expected = held::together(local, held::changes(&other, space));
        assert!(changes == expected, "{name}: lost changes, or changes that nobody wrote");
        assert!(changes == held::changes(&fresh, space), "{name}: a fresh replica has other changes");
        let records = |replica: &Replica| held::records(replica, space, COLLECTION);
        assert_eq!(records(&ours), records(&fresh), "{name}");
        let table = tokio::task::block_in_place(|| table::read(self.server, &self.database, space));
        assert!(table.changes == changes, "{name}: other changes in the database");
        let passed = (after.0 - before.0, after.1 - before.1);
        Outcome { passed, was_cut, is_complete }
    }

    /// Syncs until it succeeds: a connection of the relay may be dead without its knowing.
    async fn sync(&self, replica: &Replica, space: SpaceId) {
        let began = Instant::now();
        while let Err(error) = replica.sync(&self.relay.url, options(space)).await {
            assert!(error.is_retryable() && began.elapsed() < DEADLINE, "{error:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A proxy in front of a database, and the database's URL through it.
pub(crate) async fn proxied(database: &str) -> (Proxy, String) {
    let (head, name) = database.rsplit_once('/').unwrap();
    let (user, host) = head.rsplit_once('@').unwrap();
    let host = host.replace("localhost", "127.0.0.1");
    let upstream: SocketAddr = host.parse().unwrap_or_else(|_| format!("{host}:5432").parse().unwrap());
    let proxy = Proxy::start_unarmed(upstream).await;
    let url = format!("{user}@{}/{name}", proxy.url.strip_prefix("ws://").unwrap());
    (proxy, url)
}

/// New entities, one that others write as well, and one whose changes depend on each other. The same in every call.
fn write(replica: &Replica, space: SpaceId, first: u128) {
    let lists = replica.space(space).dynamic(COLLECTION).unwrap();
    let id = |number: u128| EntityId::from_bytes(number.to_be_bytes());
    let named = |name: &str, value: i64| Map::from([(name.to_owned(), Value::Int(value))]);
    lists.upsert_all((0..3).map(|number| (id(first + number), named("number", 0)))).unwrap();
    lists.upsert_all([(id(1), named(&format!("from {first}"), 1))]).unwrap();
    for value in 1..4 {
        lists.set(id(first), named("number", value)).unwrap();
    }
}

fn options(space: SpaceId) -> SyncOptions {
    let mut options = SyncOptions::new([space]);
    options.limits = Limits { push_changes_max: PUSH_CHANGES_MAX, ..Limits::default() };
    options.timeout = DEADLINE;
    options
}

/// Which cuts to make among so many bytes.
pub(crate) fn planned(from: From, bytes: usize) -> Vec<Cut> {
    let stride = match std::env::var("HEADWATER_DATABASE_CUTS") {
        Ok(all) if all == "all" => 1,
        // A quarter of them for each direction, on new connections and on old ones.
        _ => (bytes * 4 / size("HEADWATER_DATABASE_CUTS", CUTS_DEFAULT).max(4) as usize).max(1),
    };
    // Other bytes in every run: a failing one is named.
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let start = varied(u64::from(nanos), stride as u64) as usize;
    let hows = [How::Close, How::Close, How::Reset, How::Reset].into_iter().cycle();
    (start..bytes).step_by(stride).zip(hows).map(|(after, how)| Cut { from, after, how }).collect()
}
