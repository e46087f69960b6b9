//! The relay on Postgres, on a private server of this machine that waits for its disk: appends beside plain multi-row inserts,
//! entities into SQL beside plain upserts of the same rows, and an edit's way across two relays beside its way through one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use headwater::{Collection, ConnectOptions, EntityId, Patches, SyncOptions};
use headwater_benches::record::Bag;
use headwater_benches::relay::RunningRelay;
use headwater_benches::table::{Samples, Table, by_turns};
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use headwater_storage::testing::Postgres;
use headwater_storage::{
    Append, ChangeHash, ChangeRecord, CollectionName, DeviceId, FeedEntry, FeedEpoch, FeedStore, Numbers,
    PayloadKind, PostgresFeed, PostgresOptions, Pusher, SpaceId, WriterLimits,
};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use uuid::Uuid;

const NAME: &str = "postgres";
const PAYLOAD_BYTES: usize = 110;
const EDITS: usize = 300;
const ENTITIES: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    let server = Postgres::private(&["max_wal_size=4GB"]).or_exit("starting Postgres");
    let runtime = start_tokio();
    for rows in [1, 10, 100, 1_000] {
        print!("{}", appends(&server, &runtime, rows));
    }
    print!("{}", pipelined(&server, &runtime));
    print!("{}", projection(&server, &runtime));
    print!("{}", across_relays(&server, &runtime));
}

/// Single-field edits of as many entities, each building on the one before.
struct Edits {
    space: SpaceId,
    entities: Vec<EntityId>,
    number: u64,
}

impl Edits {
    fn new(space: u8, entities: usize) -> Edits {
        let entity = |n: usize| EntityId::from_uuid(Uuid::from_u128((u128::from(space) << 64) | n as u128));
        Edits {
            space: SpaceId::from_bytes([space; 16]),
            entities: (0..entities).map(entity).collect(),
            number: 0,
        }
    }

    fn next(&mut self) -> Append {
        self.number += 1;
        let number = self.number;
        let collection = CollectionName::new("coffee_bags").or_exit("naming");
        let hash = |entity: &EntityId, number: u64| {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(entity.as_bytes());
            bytes[16..24].copy_from_slice(&number.to_be_bytes());
            ChangeHash::from_bytes(bytes)
        };
        let entries = self.entities.iter().map(|entity| FeedEntry {
            record: ChangeRecord {
                entity: *entity,
                collection: collection.clone(),
                kind: PayloadKind::Change,
                hash: hash(entity, number),
                payload: Bytes::from_static(&[7; PAYLOAD_BYTES]),
            },
            deps: if number > 1 { vec![hash(entity, number - 1)] } else { Vec::new() },
            numbers: Some(Numbers {
                author: Bytes::from_static(b"one device, one opening"),
                number,
                first_op: number,
                last_op: number,
                ahead_max: 1 << 20,
            }),
            judgement: None,
        });
        Append {
            space: self.space,
            origin: DeviceId::from_bytes([1; 16]),
            pusher: Pusher::default(),
            received_ms: 0,
            epoch_if_new: FeedEpoch::from_bytes([1; 16]),
            entries: entries.collect(),
        }
    }
}

/// One transaction of so many edits, beside one statement that inserts as many rows of the same size.
fn appends(server: &Postgres, runtime: &Runtime, rows: usize) -> Table {
    let url = server.database().or_exit("making a database");
    let feed =
        runtime.block_on(PostgresFeed::open(PostgresOptions::new(&url))).or_exit("opening the database");
    let raw = runtime.block_on(Raw::new(&url));
    let mut edits = Edits::new(1, rows);
    let mut append = |_| {
        let append = edits.next();
        let start = Instant::now();
        let appended = runtime.block_on(feed.append_all(vec![append])).or_exit("appending");
        let took = start.elapsed();
        assert_eq!(appended[0].rows().len(), rows, "something was refused");
        took
    };
    let mut insert = |_| runtime.block_on(raw.insert(rows));
    for round in 0..scaled(20) {
        append(round);
        insert(round);
    }
    let [of_append, of_insert] =
        by_turns(scaled(if rows > 100 { 60 } else { 200 }), [&mut append, &mut insert]);
    let per_second = |time: Duration| rows as f64 / time.as_secs_f64();
    Table::new(&format!("append of {rows} edits in one transaction, durable, Postgres"))
        .goal("at least half of the plain insert's rows a second")
        .row("feed: check, append, update heads", of_append.median())
        .row("one INSERT FROM unnest of as many rows", of_insert.median())
        .note(format!(
            "{:.0} edits/s; {:.0} rows/s",
            per_second(of_append.median()),
            per_second(of_insert.median())
        ))
}

/// Many devices that push at the same time: the writers group what waits.
fn pipelined(server: &Postgres, runtime: &Runtime) -> Table {
    const PUSHERS: u8 = 64;
    const AT_ONCE: usize = 10;
    let pushes = scaled(100);
    let url = server.database().or_exit("making a database");
    let (took, commits, of_raw) = runtime.block_on(async {
        let feed = PostgresFeed::open(PostgresOptions::new(&url)).await.or_exit("opening the database");
        let store = FeedStore::postgres(feed, WriterLimits::default());
        let raw = Raw::new(&url).await;
        let start = Instant::now();
        let tasks: Vec<_> = (1..=PUSHERS)
            .map(|pusher| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut edits = Edits::new(pusher, AT_ONCE);
                    for _ in 0..pushes {
                        store.append(edits.next()).await.or_exit("appending");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.or_exit("joining");
        }
        let took = start.elapsed();
        let commits = store.commits();
        let rows = usize::from(PUSHERS) * AT_ONCE * pushes;
        let per_commit = rows / usize::try_from(commits).unwrap_or(1).max(1);
        let start = Instant::now();
        for _ in 0..commits {
            raw.insert(per_commit).await;
        }
        (took, commits, start.elapsed())
    });
    let rows = usize::from(PUSHERS) * AT_ONCE * pushes;
    Table::new(&format!(
        "W5 pipelined: {rows} edits by {PUSHERS} devices in spaces of their own, {AT_ONCE} a push"
    ))
    .goal("at least half of the plain insert's rows a second, and 10,000 edits/s")
    .row("feed", took)
    .row("as many plain INSERT FROM unnest of as many rows, one after the other", of_raw)
    .note(format!("{:.0} edits/s in {commits} commits", rows as f64 / took.as_secs_f64()))
}

/// From a push to rows in SQL, beside an upsert of the same rows.
fn projection(server: &Postgres, runtime: &Runtime) -> Table {
    let directory = directory();
    let url = server.database().or_exit("making a database");
    let replica = prepared::open(&directory.path().join("replica"), 1);
    prepared::fill(&replica, scaled(ENTITIES));
    let (took, of_raw, rows) = runtime.block_on(async {
        let relay = RunningRelay::on_database(&url).await;
        let raw = Raw::new(&url).await;
        let start = Instant::now();
        replica.sync(&relay.url(), SyncOptions::new([prepared::space()])).await.or_exit("syncing");
        let pushed = start.elapsed();
        let lag = "SELECT count(*) FROM headwater.lag WHERE lag > 0";
        while raw.number(lag).await > 0 {
            assert!(start.elapsed() < PATIENCE, "the rows do not come");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = start.elapsed().saturating_sub(pushed);
        raw.run("CREATE TABLE copied (LIKE headwater.projection INCLUDING ALL)").await;
        let start = Instant::now();
        raw.run("INSERT INTO copied SELECT * FROM headwater.projection").await;
        let of_raw = start.elapsed();
        let rows = raw.number("SELECT count(*) FROM headwater.entities").await;
        relay.stop().await;
        (took, of_raw, rows)
    });
    Table::new(&format!("projection of {rows} entities after they were pushed, 6 changes each"))
        .row("until every row is there", took)
        .row("one INSERT of the same rows", of_raw)
        .note(format!("{:.0} entities/s behind the push", rows as f64 / took.as_secs_f64()))
}

/// An edit on one replica, until its patch is on others: through the same relay, and through another one on the same database.
fn across_relays(server: &Postgres, runtime: &Runtime) -> Table {
    let directory = directory();
    let url = server.database().or_exit("making a database");
    let [a, b, c] =
        [1, 2, 3].map(|seed| prepared::open(&directory.path().join(format!("replica-{seed}")), seed));
    let ids = prepared::fill(&a, scaled(200));
    let [first, second] = std::array::from_fn(|_| runtime.block_on(RunningRelay::on_database(&url)));
    let connections = [(&a, &first), (&b, &first), (&c, &second)].map(|(replica, relay)| {
        let _inside = runtime.enter();
        replica.connect(&relay.url(), ConnectOptions::new([prepared::space()])).or_exit("connecting")
    });
    for connection in &connections {
        runtime.block_on(connection.sync_now()).or_exit("syncing");
    }
    let bags = prepared::bags(&a);
    let (mut on_same, mut on_other) = (b.patches(), c.patches());
    let [mut same, mut other] = std::array::from_fn::<_, 2, _>(|_| Samples::default());
    for edit in 0..scaled(EDITS) {
        let id = ids[edit % ids.len()];
        let (of_same, of_other) = runtime.block_on(visible(&bags, id, edit, [&mut on_same, &mut on_other]));
        if edit >= scaled(EDITS) / 10 {
            same.push(of_same);
            other.push(of_other);
        }
    }
    runtime.block_on(async {
        for connection in connections {
            connection.disconnect().await;
        }
        first.stop().await;
        second.stop().await;
    });
    Table::new("an edit until its patch is on another replica, durable everywhere, Postgres")
        .goal("across relays at most 1 ms more than through one")
        .row("across two relays, p50", other.percentile(50))
        .row("through the same relay, p50", same.percentile(50))
        .row("across two relays, p99", other.percentile(99))
        .row("through the same relay, p99", same.percentile(99))
}

async fn visible(
    bags: &Collection<Bag>,
    id: EntityId,
    edit: usize,
    [same, other]: [&mut Patches; 2],
) -> (Duration, Duration) {
    let start = Instant::now();
    bags.update(id, |bag| bag.rating = edit as f64 / 8.0).or_exit("updating");
    let seen = async |patches: &mut Patches| {
        loop {
            let patch = patches.next().await.or_exit("listening").or_exit("keeping up");
            if patch.entity == id {
                return start.elapsed();
            }
        }
    };
    let both = async { tokio::join!(seen(same), seen(other)) };
    tokio::time::timeout(PATIENCE, both).await.or_exit("waiting for an edit")
}

/// Postgres without Headwater.
struct Raw {
    client: tokio_postgres::Client,
    insert: tokio_postgres::Statement,
    next: AtomicU64,
}

impl Raw {
    async fn new(url: &str) -> Raw {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.or_exit("connecting");
        tokio::spawn(async move { connection.await.or_exit("keeping the connection") });
        let table = "CREATE TABLE IF NOT EXISTS plain (space uuid, seq bigint, entity uuid, hash bytea, payload bytea, PRIMARY KEY (space, seq))";
        client.batch_execute(table).await.or_exit("making a table");
        let insert = "INSERT INTO plain SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[], $5::bytea[])";
        let insert = client.prepare(insert).await.or_exit("preparing");
        Raw { client, insert, next: AtomicU64::new(1) }
    }

    async fn insert(&self, rows: usize) -> Duration {
        let first = self.next.fetch_add(rows as u64, Ordering::Relaxed);
        let spaces = vec![Uuid::from_u128(1); rows];
        let seqs: Vec<i64> = (0..rows as i64).map(|row| first as i64 + row).collect();
        let hashes = vec![vec![7_u8; 32]; rows];
        let payloads = vec![vec![7_u8; PAYLOAD_BYTES]; rows];
        let start = Instant::now();
        self.client
            .execute(&self.insert, &[&spaces, &seqs, &spaces, &hashes, &payloads])
            .await
            .or_exit("inserting");
        start.elapsed()
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.or_exit("running SQL");
    }

    async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.or_exit("asking").get(0)
    }
}

fn start_tokio() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_exit("starting tokio")
}
