//! What the guard costs per honest change: pre-validation, all checks of the change by itself, and applying it, beside Automerge's
//! own parsing and applying of the same changes.

use std::hint::black_box;
use std::time::Duration;

use automerge::{Automerge, Change};
use bytes::Bytes;
use criterion::Criterion;
use headwater::document::Document;
use headwater::ingest::{ChangeLimits, check_change, prevalidate_change};
use headwater::{Map, Value};
use headwater_benches::record::Bag;
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};

const NAME: &str = "ingest";

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    let directory = directory();
    let replica = prepared::open(&directory.path().join("replica"), 3);
    let bags = prepared::bags(&replica);
    // A new entity, then edits of one field each: what most changes are.
    let id = bags.insert(&Bag::numbered(1)).or_exit("inserting").id;
    for edit in 0..200 {
        let field = ["flavour", "notes", "rating"][edit % 3].to_owned();
        let fields = Map::from([(field, Value::from(format!("the edit with the number {edit}")))]);
        bags.as_dynamic().set(id, fields).or_exit("editing");
    }
    let changes = replica.entity_changes(prepared::space(), id).or_exit("reading changes");
    let changes: Vec<Bytes> = changes.into_iter().map(|(_, payload)| payload).collect();
    let limits = ChangeLimits::default();

    let mut group = criterion.benchmark_group(NAME);
    group.bench_function("pre-validate", |bencher| bencher.iter(|| prevalidate(&changes, &limits)));
    group.bench_function("check", |bencher| bencher.iter(|| check(&changes, &limits)));
    group.bench_function("check and apply", |bencher| bencher.iter(|| check_and_apply(&changes, &limits)));
    group.bench_function("Change::from_bytes", |bencher| bencher.iter(|| parse(&changes)));
    group
        .bench_function("from_bytes and apply_changes", |bencher| bencher.iter(|| parse_and_apply(&changes)));
    group.finish();

    let count = changes.len() as u32;
    let each = |total: Duration| total / count;
    let [prevalidated, checked, parsed, applied, plainly] = by_turns(
        scaled(400),
        [
            &mut |_| each(time(|| prevalidate(&changes, &limits)).0),
            &mut |_| each(time(|| check(&changes, &limits)).0),
            &mut |_| each(time(|| parse(&changes)).0),
            &mut |_| each(time(|| check_and_apply(&changes, &limits)).0),
            &mut |_| each(time(|| parse_and_apply(&changes)).0),
        ],
    );
    let bytes: usize = changes.iter().map(Bytes::len).sum();
    let table =
        Table::new("checks of a change by itself, per change, on the relay's way to the acknowledgement")
            .goal("at most 3 times Change::from_bytes")
            .row("headwater: check_change", checked.median())
            .row("headwater: prevalidate_change alone", prevalidated.median())
            .row("automerge: Change::from_bytes", parsed.median())
            .note(format!("{count} changes of {} bytes on average", bytes / changes.len()));
    print!("{table}");
    let table = Table::new("checks and apply, per change")
        .row("headwater: check_change and Document::apply_checked", applied.median())
        .row("automerge: Change::from_bytes and apply_changes", plainly.median())
        .note("one by one, into the same entity".to_owned());
    print!("{table}");
}

fn prevalidate(changes: &[Bytes], limits: &ChangeLimits) {
    for change in changes {
        black_box(prevalidate_change(change, limits).or_exit("pre-validating"));
    }
}

fn check(changes: &[Bytes], limits: &ChangeLimits) {
    for change in changes {
        black_box(check_change(change, limits).or_exit("checking"));
    }
}

fn check_and_apply(changes: &[Bytes], limits: &ChangeLimits) {
    let mut document = Document::new();
    for change in changes {
        document.apply_checked(vec![check_change(change, limits).or_exit("checking")]).or_exit("applying");
    }
    black_box(document.heads());
}

fn parse(changes: &[Bytes]) {
    for change in changes {
        black_box(Change::from_bytes(change.to_vec()).or_exit("parsing"));
    }
}

fn parse_and_apply(changes: &[Bytes]) {
    let mut document = Automerge::new();
    for change in changes {
        let change = Change::from_bytes(change.to_vec()).or_exit("parsing");
        document.apply_changes([change]).or_exit("applying");
    }
    black_box(document.get_heads());
}
