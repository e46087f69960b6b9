//! L4, as far as there is something to ask: all rows of a collection, a filtered scan, and a count; beside redb walking the same rows.
//! There are no secondary indexes yet, so twenty rows by a field cost a scan.
//!
//! And L7: from an edit's call to its patch at a listener.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use headwater_benches::raw::{Flush, ReplicaFile};
use headwater_benches::table::{Samples, Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use redb::ReadableTable;
use tokio::runtime::Runtime;

const NAME: &str = "scan";
const ENTITIES: usize = 10_000;
const EDITS: usize = 300;

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    let directory = directory();
    let (path, copy) = (directory.path().join("replica"), directory.path().join("copy"));
    let ids = prepared::fill_and_close(&path, scaled(ENTITIES));
    std::fs::copy(&path, &copy).or_exit("copying the replica");
    let replica = prepared::open(&path, 2);
    let bags = prepared::bags(&replica);
    let raw = ReplicaFile::open(&copy, Flush::Plain);
    let rows = raw.rows();
    let each = |bag: headwater_benches::record::Bag| bag.rating > 4.5;
    let [typed, filtered, dynamic, redb] = by_turns(
        scaled(20),
        [
            &mut |_| time(|| black_box(bags.list().or_exit("listing").len())).0,
            &mut |_| {
                let good = |bag: Result<(_, _), _>| each(bag.or_exit("reading").1);
                time(|| black_box(bags.iter().map(good).filter(|good| *good).count())).0
            },
            &mut |_| {
                let fields = |row: Result<headwater::Record, _>| row.or_exit("reading").fields.len();
                time(|| black_box(bags.as_dynamic().iter().map(fields).sum::<usize>())).0
            },
            &mut |_| {
                let bytes = |row: Result<(_, redb::AccessGuard<'_, &[u8]>), _>| {
                    row.or_exit("reading").1.value().len()
                };
                time(|| black_box(rows.iter().or_exit("walking").map(bytes).sum::<usize>())).0
            },
        ],
    );
    let table = Table::new(&format!("L4: all {} rows of a collection", ids.len()))
        .row("typed, into a list", typed.median())
        .row("typed, filtered by a field, counted", filtered.median())
        .row("fields by name, their number", dynamic.median())
        .row("redb: the same rows, undecoded", redb.median())
        .note(format!("{:.2} µs a typed row", typed.median().as_secs_f64() * 1e6 / ids.len() as f64));
    print!("{table}");

    let runtime = Runtime::new().or_exit("starting tokio");
    let (mut whole, mut told) = (Samples::default(), Samples::default());
    let mut patches = replica.patches();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    runtime.spawn(async move {
        while let Some(Ok(patch)) = patches.next().await {
            if sender.send((patch.entity, Instant::now())).is_err() {
                return;
            }
        }
    });
    for edit in 0..scaled(EDITS) {
        let id = ids[edit % 50.min(ids.len())];
        let start = Instant::now();
        bags.update(id, |bag| bag.rating = 1000.0 + edit as f64).or_exit("updating");
        let committed = start.elapsed();
        let (patched, at) = runtime.block_on(receiver.recv()).or_exit("listening");
        (patched == id).then_some(()).or_exit("hearing of the edit");
        whole.push(at - start);
        told.push((at - start).saturating_sub(committed).max(Duration::from_nanos(1)));
    }
    let table = Table::new("L7: an edit until its patch is at another task")
        .goal("200 µs from the commit")
        .row("from the commit's end", told.median())
        .row("   p99", told.percentile(99))
        .row("from the edit's call: with its commit, durable", whole.median());
    print!("{table}");
}
