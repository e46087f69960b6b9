//! L3: opening a replica, beside redb's own opening of the same file. The file is in the system's page cache for both.

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use headwater::EntityId;
use headwater_benches::raw::open_only;
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};

const NAME: &str = "cold_open";
const ENTITIES: usize = 10_000;

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (waiting, settled) = (path("waiting"), path("settled"));
    let ids = prepared::fill_and_close(&waiting, scaled(ENTITIES));
    copy(&waiting, &settled);
    prepared::acknowledge_all(&prepared::open(&settled, 2));
    let pending =
        |path: &Path| prepared::open(path, 2).space(prepared::SPACE).pending().or_exit("counting the outbox");
    let (of_waiting, of_settled) = (pending(&waiting), pending(&settled));
    (of_settled == 0).then_some(()).or_exit("emptying the outbox");
    let (waiting_copy, settled_copy) = (path("waiting-copy"), path("settled-copy"));
    copy(&waiting, &waiting_copy);
    copy(&settled, &settled_copy);
    let file_bytes = std::fs::metadata(&settled).or_exit("reading the file's size").len();

    let [figure, with_get, of_redb, with_outbox, of_redb_with_outbox] = by_turns(
        scaled(50),
        [
            &mut |_| open_replica(&settled),
            &mut |round| open_and_get(&settled, ids[round * 131 % ids.len()]),
            &mut |_| open_redb(&settled_copy),
            &mut |_| open_replica(&waiting),
            &mut |_| open_redb(&waiting_copy),
        ],
    );

    let mut group = criterion.benchmark_group(NAME);
    let repeat = |count: u64, open: &dyn Fn() -> Duration| (0..count).map(|_| open()).sum();
    group.bench_function("replica", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| open_replica(&settled)))
    });
    group.bench_function("redb", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| open_redb(&settled_copy)))
    });
    group.bench_function("replica, never synced", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| open_replica(&waiting)));
    });
    group.finish();

    let goal = "50 ms with 100,000 entities, no document loaded";
    let table = Table::new("cold open, everything acknowledged")
        .goal(goal)
        .row("replica: open", figure.median())
        .row("replica: open and first typed get", with_get.median())
        .row("redb: open", of_redb.median())
        .note(format!("{} entities, {} MB; closing is not counted", ids.len(), file_bytes / 1_000_000));
    print!("{table}");
    let table = Table::new("cold open, never synced")
        .goal(goal)
        .row("replica: open", with_outbox.median())
        .row("redb: open", of_redb_with_outbox.median())
        .note(format!("the same entities, {of_waiting} changes in the outbox"));
    print!("{table}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).or_exit("copying the replica");
}

fn open_replica(path: &Path) -> Duration {
    time(|| prepared::open(path, 2)).0
}

fn open_and_get(path: &Path, id: EntityId) -> Duration {
    let open = || {
        let replica = prepared::open(path, 2);
        prepared::bags(&replica).get(id).or_exit("reading").or_exit("finding");
        replica
    };
    time(open).0
}

fn open_redb(path: &Path) -> Duration {
    time(|| open_only(path)).0
}
