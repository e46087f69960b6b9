//! L5: importing the coffee records, and synthetic ones, durable, beside Automerge alone creating the same documents.

use std::path::Path;
use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{Automerge, ROOT, ScalarValue};
use criterion::Criterion;
use headwater::model::map_from_json;
use headwater::{EntityId, Map, Value};
use headwater_benches::record::{Bag, Random};
use headwater_benches::table::{Table, by_turns, time};
use headwater_benches::{OrExit, data, directory, prepared, run, scaled};

const NAME: &str = "import";
/// As `headwater import` does it.
const BATCH: usize = 500;
const SYNTHETIC: u64 = 10_000;

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    if let Some(json) = data::read("coffees.jsonl.gz") {
        measure("coffee records", json.lines().take(scaled(usize::MAX)).map(fields).collect());
    }
    let synthetic = 0..scaled(SYNTHETIC as usize) as u64;
    let json = |number| serde_json::to_string(&Bag::numbered(number)).or_exit("writing JSON");
    measure("synthetic records of 14 fields", synthetic.map(|number| fields(&json(number))).collect());
}

fn fields(line: &str) -> Map {
    map_from_json(serde_json::from_str(line).or_exit("reading JSON")).or_exit("reading a record")
}

fn measure(what: &str, records: Vec<Map>) {
    let directory = directory();
    let [of_replica, of_automerge] = by_turns(
        if headwater_benches::is_measuring() { 5 } else { 1 },
        [&mut |round| import(&directory.path().join(format!("{round}")), &records), &mut |_| {
            time(|| records.iter().for_each(create)).0
        }],
    );
    let table = Table::new(&format!("L5: import of {} {what}, durable, {BATCH} a commit", records.len()))
        .goal("1.5 times automerge plus one fsync a batch")
        .row("replica: insert", of_replica.median())
        .row("automerge: create, commit, the change's bytes", of_automerge.median())
        .note(format!("{:.0} records/s", records.len() as f64 / of_replica.median().as_secs_f64()));
    print!("{table}");
}

fn import(path: &Path, records: &[Map]) -> Duration {
    let replica = prepared::open(path, 1);
    let bags = prepared::bags(&replica);
    let mut random = Random::seeded(5);
    let mut id = || {
        EntityId::from_bytes(
            [random.next_u64(), random.next_u64()]
                .map(u64::to_be_bytes)
                .concat()
                .try_into()
                .unwrap_or([0; 16]),
        )
    };
    let with_ids: Vec<(EntityId, Map)> = records.iter().map(|record| (id(), record.clone())).collect();
    let (took, ()) = time(|| {
        for batch in with_ids.chunks(BATCH) {
            bags.as_dynamic().upsert_all(batch.iter().cloned()).or_exit("importing");
        }
    });
    drop(replica);
    std::fs::remove_file(path).or_exit("removing a replica");
    took
}

fn create(record: &Map) {
    let mut document = Automerge::new();
    let mut transaction = document.transaction();
    for (name, value) in record {
        let value = match value {
            Value::Bool(value) => ScalarValue::Boolean(*value),
            Value::Int(value) => ScalarValue::Int(*value),
            Value::Float(value) => ScalarValue::F64(*value),
            Value::Str(value) => ScalarValue::Str(value.as_str().into()),
            _ => ScalarValue::Null,
        };
        transaction.put(ROOT, name.as_str(), value).or_exit("putting");
    }
    transaction.commit();
    let bytes = document.get_last_local_change().map(|change| change.raw_bytes().len());
    std::hint::black_box(bytes);
}
