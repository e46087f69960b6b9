//! W4: from an edit on one replica to its patch on another, through a relay; durable on all three.
//!
//! Beside it, a raw WebSocket echo whose server commits to redb before it answers: two hops and one flush.

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use futures_util::{SinkExt, StreamExt};
use headwater::{Collection, ConnectOptions, EntityId, Patches};
use headwater_benches::raw::{Flush, Log, Socket, connect, serve_echo};
use headwater_benches::record::Bag;
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::{Samples, Table, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

const NAME: &str = "live_propagation";
const ENTITIES: usize = 200;
const EDITS: usize = 500;
const MESSAGE_BYTES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let runtime = start_tokio();
    // One each, as two devices would have: a flush blocks its thread, and must not hold up the other.
    let [runtime_a, runtime_b] = std::array::from_fn(|_| start_tokio());
    let [a, b] = [1, 2].map(|seed| prepared::open(&path(&format!("replica-{seed}")), seed));
    let ids = prepared::fill(&a, scaled(ENTITIES));
    let relay = RelayProcess::start(directory.path());
    let connections = [(&a, &runtime_a), (&b, &runtime_b)].map(|(replica, runtime)| {
        let _inside = runtime.enter();
        replica.connect(&relay.url(), ConnectOptions::new([prepared::space()])).or_exit("connecting")
    });
    for connection in &connections {
        runtime.block_on(connection.sync_now()).or_exit("syncing");
    }
    let mut live = Live { bags: prepared::bags(&a), patches: b.patches(), ids, edits: 0 };
    let log = Log::create(&path("log"), Flush::QuickRepair);
    let local = Log::create(&path("local"), Flush::QuickRepair);
    let mut flushed = runtime.block_on(async { connect(serve_echo(Some(log)).await).await });
    let mut echo = runtime.block_on(async { connect(serve_echo(None).await).await });
    for _ in 0..scaled(100) {
        runtime.block_on(async {
            (live.edit().await, round_trip(&mut flushed).await, round_trip(&mut echo).await)
        });
    }

    let mut group = criterion.benchmark_group(NAME);
    group.bench_function("replica to replica", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async { sum(count, async || live.edit().await.visible).await })
        });
    });
    group.bench_function("raw echo and redb commit", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async { sum(count, async || round_trip(&mut flushed).await).await })
        });
    });
    group.bench_function("raw echo", |bencher| {
        bencher.iter_custom(|count| {
            runtime.block_on(async { sum(count, async || round_trip(&mut echo).await).await })
        });
    });
    group.finish();

    let [mut visible, mut committed, mut acknowledged, mut of_flushed, mut of_echo, mut of_commit] =
        std::array::from_fn::<_, 6, _>(|_| Samples::default());
    for _ in 0..scaled(EDITS) {
        let (edit, flushed, echo) = runtime.block_on(async {
            (live.edit().await, round_trip(&mut flushed).await, round_trip(&mut echo).await)
        });
        visible.push(edit.visible);
        committed.push(edit.committed);
        acknowledged.push(edit.acknowledged);
        of_flushed.push(flushed);
        of_echo.push(echo);
        of_commit.push(time(|| local.append(&[7; MESSAGE_BYTES])).0);
    }
    let goal = "0.7 / 1.0 ms; 1.5 times one flush and two hops";
    let row = |table: Table, name: &str, samples: &Samples, percent: usize| {
        table.row(name, samples.percentile(percent))
    };
    for percent in [50, 99] {
        let floor = of_commit.percentile(percent) * 2 + of_flushed.percentile(percent);
        let mut table =
            Table::new(&format!("live propagation, p{percent} of {} edits", scaled(EDITS))).goal(goal);
        table = row(table, "edit to patch on the other replica", &visible, percent);
        table = row(table, "raw echo with one redb commit (two-phase, quick repair)", &of_flushed, percent);
        table = row(table, "raw echo alone: two hops", &of_echo, percent);
        table = row(table, "one such redb commit alone", &of_commit, percent);
        table = table.row("floor of this design: two hops, three commits", floor);
        table = row(table, "   split: the edit's own call, until durable here", &committed, percent);
        table = row(
            table,
            "   split: edit to durable on the relay, as its author learns it",
            &acknowledged,
            percent,
        );
        print!("{table}");
    }
    runtime.block_on(async {
        for connection in connections {
            connection.disconnect().await;
        }
    });
}

/// One replica that edits, and another that listens.
struct Live {
    bags: Collection<Bag>,
    patches: Patches,
    ids: Vec<EntityId>,
    edits: usize,
}

/// Times since an edit began.
struct Edit {
    committed: Duration,
    acknowledged: Duration,
    visible: Duration,
}

impl Live {
    /// Makes one edit, and waits until it is everywhere.
    async fn edit(&mut self) -> Edit {
        let id = self.ids[self.edits % self.ids.len()];
        self.edits += 1;
        let rating = self.edits as f64 / 8.0;
        let start = Instant::now();
        let receipt = self.bags.update(id, |bag| bag.rating = rating).or_exit("updating");
        let committed = start.elapsed();
        let visible = async {
            let patch = self.patches.next().await.or_exit("listening").or_exit("keeping up");
            (patch.entity == id).then(|| start.elapsed()).or_exit("getting the edit's own patch")
        };
        let acknowledged = async {
            receipt.on_relay().await.or_exit("pushing");
            start.elapsed()
        };
        let both = async { tokio::join!(visible, acknowledged) };
        let (visible, acknowledged) =
            tokio::time::timeout(PATIENCE, both).await.or_exit("waiting for an edit");
        Edit { committed, acknowledged, visible }
    }
}

fn start_tokio() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_exit("starting tokio")
}

async fn round_trip(socket: &mut Socket) -> Duration {
    let start = Instant::now();
    socket.send(Message::Binary(Bytes::from_static(&[7; MESSAGE_BYTES]))).await.or_exit("sending");
    socket.next().await.or_exit("receiving").or_exit("receiving");
    start.elapsed()
}

async fn sum(count: u64, mut run: impl AsyncFnMut() -> Duration) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..count {
        total += run().await;
    }
    total
}
