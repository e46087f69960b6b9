//! L2: one entity by its id, decoded into its struct, beside redb's own get of the same row.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use headwater_benches::raw::{Flush, ReplicaFile, entity_key};
use headwater_benches::record::{Bag, Random};
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};

const NAME: &str = "get";
const ENTITIES: usize = 10_000;
/// Reads per sample: one alone is too short for the clock.
const READS: usize = 200;

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let (path, copy) = (directory.path().join("replica"), directory.path().join("copy"));
    let ids = prepared::fill_and_close(&path, scaled(ENTITIES));
    std::fs::copy(&path, &copy).or_exit("copying the replica");
    let replica = prepared::open(&path, 2);
    let bags = prepared::bags(&replica);
    let raw = ReplicaFile::open(&copy, Flush::Plain);
    let rows = raw.rows();
    let json = serde_json::to_vec(&Bag::numbered(0)).or_exit("writing JSON");

    let typed = |id| black_box(bags.get(id).or_exit("reading").or_exit("finding"));
    let dynamic = |id| black_box(bags.as_dynamic().get(id).or_exit("reading").or_exit("finding"));
    let redb = |id| black_box(raw.get(id));
    let redb_open = |id| {
        rows.get(&entity_key(id))
            .or_exit("reading")
            .map(|row| black_box(row.value().len()))
            .or_exit("finding")
    };
    let from_json = |_| black_box(serde_json::from_slice::<Bag>(&json).or_exit("reading JSON"));

    let mut random = Random::seeded(5);
    let mut any = || ids[random.next_u64() as usize % ids.len()];
    let mut group = criterion.benchmark_group(NAME);
    group.bench_function("typed", |bencher| bencher.iter(|| typed(any())));
    group.bench_function("fields by name", |bencher| bencher.iter(|| dynamic(any())));
    group.bench_function("redb, own transaction, copied", |bencher| bencher.iter(|| redb(any())));
    group.bench_function("redb, open table", |bencher| bencher.iter(|| redb_open(any())));
    group.bench_function("serde_json", |bencher| bencher.iter(|| from_json(any())));
    group.finish();

    let [figure, of_dynamic, of_redb, of_open, of_json] = by_turns(
        scaled(200),
        [
            &mut |round| each(&ids, round * 5, typed),
            &mut |round| each(&ids, round * 5 + 1, dynamic),
            &mut |round| each(&ids, round * 5 + 2, redb),
            &mut |round| each(&ids, round * 5 + 3, redb_open),
            &mut |round| each(&ids, round * 5 + 4, from_json),
        ],
    );
    let table = Table::new("get by id, typed")
        .goal("5 µs")
        .row("replica: get::<Bag>", figure.median())
        .row("replica: get as fields by name", of_dynamic.median())
        .row("redb: get in its own transaction, row copied", of_redb.median())
        .row("redb: get from an open table", of_open.median())
        .row("serde_json: decode the same record", of_json.median())
        .note(format!("{} entities, read in random order", ids.len()));
    print!("{table}");
}

/// The time of one read, over many of them. Each call has its own seed, so that no subject finds what another has just brought
/// into the processor's caches.
fn each<T>(ids: &[headwater::EntityId], seed: usize, read: impl Fn(headwater::EntityId) -> T) -> Duration {
    let mut random = Random::seeded(seed as u64);
    let run = || (0..READS).for_each(|_| drop(read(ids[random.next_u64() as usize % ids.len()])));
    time(run).0 / READS as u32
}
