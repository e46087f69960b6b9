//! L1: one field of one entity, durable, beside one redb transaction that writes the same bytes.

use criterion::Criterion;
use headwater_benches::raw::{Flush, Log, ReplicaFile};
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};

const NAME: &str = "local_update";
const ENTITIES: usize = 10_000;
/// Entities that are edited in turn. Their documents fit into the replica's cache.
const WARM: usize = 200;

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let ids = prepared::fill_and_close(&path("replica"), scaled(ENTITIES));
    for copy in ["plain", "quick", "unloaded"] {
        std::fs::copy(path("replica"), path(copy)).or_exit("copying the replica");
    }
    let replica = prepared::open(&path("replica"), 2);
    let bags = prepared::bags(&replica);
    let plain = ReplicaFile::open(&path("plain"), Flush::Plain);
    let quick = ReplicaFile::open(&path("quick"), Flush::QuickRepair);
    let log = Log::create(&path("log"), Flush::Plain);
    let bytes = plain.update_bytes(ids[0]);
    let flat = bytes.flat();
    let warm = &ids[..WARM.min(ids.len())];

    // A replica of its own: edits of other entities would push the warm documents out of the cache.
    let unloaded_replica = prepared::open(&path("unloaded"), 3);
    let unloaded_bags = prepared::bags(&unloaded_replica);

    let id = |round: usize| warm[round % warm.len()];
    let update = |round: usize| {
        bags.update(id(round), |bag| bag.rating = 6.0 + round as f64 / 8.0).or_exit("updating")
    };
    let unloaded = |round: usize| {
        let id = ids[ids.len() - 1 - round % ids.len()];
        unloaded_bags.update(id, |bag| bag.rating = 6.0 + round as f64 / 8.0).or_exit("updating")
    };
    // Loads the documents.
    (0..warm.len()).for_each(|round| drop(update(round)));

    let rounds = scaled(400);
    let [of_replica, of_unloaded, of_quick, of_plain, of_log] = by_turns(
        rounds,
        [
            &mut |round| time(|| update(warm.len() + round)).0,
            &mut |round| time(|| unloaded(round)).0,
            &mut |round| time(|| quick.update(id(round), &bytes)).0,
            &mut |round| time(|| plain.update(id(round), &bytes)).0,
            &mut |_| time(|| log.append(&flat)).0,
        ],
    );

    let mut round = warm.len() + rounds;
    let mut next = || {
        round += 1;
        round
    };
    let mut group = criterion.benchmark_group(NAME);
    group.bench_function("replica", |bencher| bencher.iter(|| update(next())));
    group.bench_function("redb, same rows, quick repair", |bencher| {
        bencher.iter(|| quick.update(id(next()), &bytes))
    });
    group.bench_function("redb, same rows, plain", |bencher| {
        bencher.iter(|| plain.update(id(next()), &bytes))
    });
    group.bench_function("redb, one row, plain", |bencher| bencher.iter(|| log.append(&flat)));
    group.finish();

    let table = Table::new("local update of one field, durable")
        .goal("1.3 times one redb transaction with the same bytes")
        .row("replica, document loaded", of_replica.median())
        .row("replica, document not loaded", of_unloaded.median())
        .row("redb: same rows in the same tables, quick repair", of_quick.median())
        .row("redb: same rows in the same tables, plain", of_plain.median())
        .row("redb: one row of as many bytes, plain", of_log.median())
        .note(format!("{} entities; {} bytes an update with its keys", ids.len(), flat.len()));
    print!("{table}");
}
