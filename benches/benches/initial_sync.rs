//! W1 on one machine: a fresh replica gets 10,000 entities from a relay, until they are stored and readable.
//!
//! Beside it, what cannot be avoided: receiving as many bytes and storing the same rows; and plain automerge building the documents.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode};
use futures_util::StreamExt;
use headwater::{EntityId, SyncOptions, SyncReport};
use headwater_benches::process::Process;
use headwater_benches::raw::{Flush, ReplicaFile, StoredEntity, connect, serve_frames};
use headwater_benches::record::EDITS;
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use tokio::runtime::Runtime;

const NAME: &str = "initial_sync";
const ENTITIES: usize = 10_000;
/// 500 changes a commit, as the goals were measured: with 6 changes an entity, the nearest number of whole entities.
const ENTITIES_PER_COMMIT: usize = 84;
const FRAME_BYTES: usize = 64 << 10;

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_exit("starting tokio");
    let source = prepared::open(&directory.path().join("source"), 1);
    let ids = prepared::fill(&source, scaled(ENTITIES));
    let relay = RelayProcess::start(directory.path());
    let url = relay.url();
    let (push_time, pushed) = time(|| runtime.block_on(source.sync(&url, options())).or_exit("pushing"));
    let changes: Vec<Vec<Bytes>> = ids.iter().map(|id| payloads(&source, *id)).collect();
    drop(source);
    let file = ReplicaFile::open(&directory.path().join("source"), Flush::Plain);
    let stored: Vec<(EntityId, StoredEntity)> = ids.iter().map(|id| (*id, file.stored(*id))).collect();

    let fresh = Fresh { directory: directory.path(), made: AtomicUsize::new(0) };
    let me = Process::this();
    let resident_before = me.resident_kb();
    me.forget_peak();
    let relay_before = relay.process().processor_time();
    let (_, report) = fresh.sync(&runtime, &url, ids.len());
    let relay_took = relay.process().processor_time().saturating_sub(relay_before);
    let peak_kb = me.peak_kb().saturating_sub(resident_before);
    let frames =
        vec![Bytes::from(vec![7; FRAME_BYTES]); (report.bytes_received as usize).div_ceil(FRAME_BYTES)];
    let address = runtime.block_on(serve_frames(frames));
    let transfer = || time(|| runtime.block_on(receive(address))).0;

    let mut group = criterion.benchmark_group(NAME);
    group.sampling_mode(SamplingMode::Flat);
    let repeat = |count: u64, run: &dyn Fn() -> Duration| (0..count).map(|_| run()).sum();
    group.bench_function("replica", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| fresh.sync(&runtime, &url, ids.len()).0));
    });
    group.bench_function("transfer and redb", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| transfer() + fresh.store(&stored)));
    });
    group.bench_function("automerge", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| build(&changes)))
    });
    group.finish();

    let [figure, of_transfer, of_redb, of_automerge] = by_turns(
        if ids.len() == ENTITIES { 5 } else { 1 },
        [
            &mut |_| fresh.sync(&runtime, &url, ids.len()).0,
            &mut |_| transfer(),
            &mut |_| fresh.store(&stored),
            &mut |_| build(&changes),
        ],
    );
    let floor = of_transfer.median() + of_redb.median();
    let table = Table::new("initial sync of 10,000 entities")
        .goal("1.5 s, 9 MB")
        .row("replica: sync into a fresh file", figure.median())
        .row("transfer of as many bytes, then redb, 500 changes a commit", floor)
        .row("   of which transfer over a loopback WebSocket", of_transfer.median())
        .row("   of which redb: same rows, quick repair", of_redb.median())
        .row("automerge: parse and build the same documents", of_automerge.median())
        .row("transfer, redb and automerge together", floor + of_automerge.median())
        .note(format!("{} entities, {} changes", ids.len(), report.pulled))
        .note(format!(
            "{:.2} MB received, {:.3} MB sent",
            megabytes(report.bytes_received),
            megabytes(report.bytes_sent)
        ))
        .note(format!(
            "relay: {:.2} s of processor time, {} MiB at its peak",
            relay_took.as_secs_f64(),
            relay.process().peak_kb() / 1024
        ))
        .note(format!(
            "replica: at its peak at least {} MiB more than before (preparing left free memory)",
            peak_kb / 1024
        ))
        .note(format!("preparing pushed {} changes in {:.2} s", pushed.pushed, push_time.as_secs_f64()));
    print!("{table}");
}

/// New files, one after the other.
struct Fresh<'a> {
    directory: &'a Path,
    made: AtomicUsize,
}

impl Fresh<'_> {
    fn path(&self) -> std::path::PathBuf {
        self.directory.join(format!("fresh-{}", self.made.fetch_add(1, Ordering::Relaxed)))
    }

    /// Syncs a new replica. Creating its file and closing it are not counted.
    fn sync(&self, runtime: &Runtime, url: &str, entities: usize) -> (Duration, SyncReport) {
        let path = self.path();
        let replica = prepared::open(&path, 1000 + self.made.load(Ordering::Relaxed) as u64);
        let (took, report) = time(|| runtime.block_on(replica.sync(url, options())).or_exit("syncing"));
        let complete = report.pulled == (entities * (1 + EDITS)) as u64;
        complete.then_some(()).or_exit("receiving everything");
        let readable = prepared::bags(&replica).list().or_exit("reading what was synced").len();
        (readable == entities).then_some(()).or_exit("finding everything readable");
        drop(replica);
        std::fs::remove_file(path).or_exit("removing a replica");
        (took, report)
    }

    /// Stores the same rows in a new file.
    fn store(&self, stored: &[(EntityId, StoredEntity)]) -> Duration {
        let path = self.path();
        let file = ReplicaFile::create(&path, Flush::QuickRepair);
        let (took, ()) =
            time(|| stored.chunks(ENTITIES_PER_COMMIT).for_each(|entities| file.store(entities)));
        drop(file);
        std::fs::remove_file(path).or_exit("removing a file");
        took
    }
}

fn options() -> SyncOptions {
    SyncOptions::new([prepared::space()])
}

fn payloads(replica: &headwater::Replica, id: EntityId) -> Vec<Bytes> {
    let changes = replica.entity_changes(prepared::space(), id).or_exit("reading changes");
    changes.into_iter().map(|(_, payload)| payload).collect()
}

async fn receive(address: std::net::SocketAddr) -> usize {
    let mut socket = connect(address).await;
    let mut bytes = 0;
    while let Some(Ok(message)) = socket.next().await {
        bytes += message.len();
    }
    bytes
}

fn build(changes: &[Vec<Bytes>]) -> Duration {
    let one = |changes: &Vec<Bytes>| {
        let parsed = changes
            .iter()
            .map(|bytes| automerge::Change::from_bytes(bytes.to_vec()).or_exit("parsing a change"));
        let mut document = automerge::Automerge::new();
        document.apply_changes(parsed.collect::<Vec<_>>()).or_exit("applying changes");
        document
    };
    time(|| changes.iter().for_each(|changes| drop(one(changes)))).0
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
