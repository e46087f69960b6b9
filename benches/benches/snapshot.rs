//! An entity with a long history: its first edit after opening with and without a snapshot, what making the snapshot takes, and what
//! each takes on the disk, beside Automerge's own loading and saving of the same history.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use automerge::Automerge;
use bytes::Bytes;
use criterion::Criterion;
use headwater::document::Document;
use headwater::{EntityId, Map, Replica, Value};
use headwater_benches::record::Bag;
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use redb::backends::FileBackend;

const NAME: &str = "snapshot";
const EDITS: usize = 5_000;

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let (rows, folded, copy) = (path("rows"), path("folded"), path("copy"));
    let (id, changes) = grown(&rows);
    std::fs::copy(&rows, &folded).or_exit("copying the replica");
    open(&folded).compact_all().or_exit("making snapshots");
    let mut plain = Automerge::new();
    let parsed =
        changes.iter().map(|change| automerge::Change::from_bytes(change.to_vec()).or_exit("parsing"));
    plain.apply_changes(parsed.collect::<Vec<_>>()).or_exit("applying");
    let saved = plain.save();

    let mut group = criterion.benchmark_group(NAME);
    let repeat = |count: u64, edit: &dyn Fn() -> Duration| (0..count).map(|_| edit()).sum();
    group.bench_function("first edit, snapshot", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| first_edit(&folded, &copy, id)));
    });
    group.bench_function("first edit, changes", |bencher| {
        bencher.iter_custom(|count| repeat(count, &|| first_edit(&rows, &copy, id)));
    });
    group.bench_function("automerge load", |bencher| bencher.iter(|| load(&saved)));
    group.finish();

    let [of_folded, of_rows, made, loaded, built, resaved] = by_turns(
        scaled(30),
        [
            &mut |_| first_edit(&folded, &copy, id),
            &mut |_| first_edit(&rows, &copy, id),
            &mut |_| make(&rows, &copy),
            &mut |_| time(|| load(&saved)).0,
            &mut |_| time(|| Document::from_changes(changes.iter().cloned()).or_exit("building")).0,
            &mut |_| time(|| load(&plain.save())).0,
        ],
    );
    let bytes: usize = changes.iter().map(Bytes::len).sum();
    let count = changes.len();
    let table = Table::new("first edit of an entity after opening, durable, its document loaded")
        .row("replica: from a snapshot", of_folded.median())
        .row("replica: from its changes", of_rows.median())
        .row("automerge: load alone", loaded.median())
        .row("headwater: build from the changes alone", built.median())
        .note(format!("{count} changes, {bytes} bytes; the snapshot has {}", saved.len()));
    print!("{table}");
    let table = Table::new("making and storing a verified snapshot, in the background")
        .row("replica: compact", made.median())
        .row("automerge: save, and load again", resaved.median())
        .note("compact builds the document from its changes first, and replaces them".to_owned());
    print!("{table}");
}

/// A closed replica with one long history in it that was acknowledged.
fn grown(path: &Path) -> (EntityId, Vec<Bytes>) {
    let replica = open(path);
    let bags = prepared::bags(&replica);
    let id = bags.insert(&Bag::numbered(1)).or_exit("inserting").id;
    for edit in 0..scaled(EDITS) {
        let field = ["flavour", "notes", "rating"][edit % 3].to_owned();
        let fields = Map::from([(field, Value::from(format!("the edit with the number {edit}")))]);
        bags.as_dynamic().set(id, fields).or_exit("editing");
    }
    prepared::acknowledge_all(&replica);
    let changes = replica.entity_changes(prepared::space(), id).or_exit("reading changes");
    (id, changes.into_iter().map(|(_, payload)| payload).collect())
}

/// Opens a replica that does nothing in the background, so that what is measured is only what was asked for.
fn open(path: &Path) -> Replica {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let backend = FileBackend::new(file.or_exit("opening a file")).or_exit("opening a file");
    Replica::open_backend(backend, prepared::Fixed::seeded(4)).or_exit("opening a replica")
}

fn first_edit(from: &Path, copy: &Path, id: EntityId) -> Duration {
    std::fs::copy(from, copy).or_exit("copying the replica");
    let replica = open(copy);
    let bags = prepared::bags(&replica);
    let fields = Map::from([("notes".to_owned(), Value::from("the first edit after opening"))]);
    time(|| bags.as_dynamic().set(id, fields).or_exit("editing")).0
}

fn make(from: &Path, copy: &Path) -> Duration {
    std::fs::copy(from, copy).or_exit("copying the replica");
    let replica = open(copy);
    time(|| replica.compact_all().or_exit("making a snapshot")).0
}

fn load(saved: &[u8]) {
    black_box(Automerge::load(saved).or_exit("loading").get_heads());
}
