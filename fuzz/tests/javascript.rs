//! Any value of the model in a peer in JavaScript, and what such a peer writes. `HEADWATER_VALUES=N` plays as many cases. Skipped, with
//! a printed line, where node or the npm registry is not there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use headwater::replica::MergeRequest;
use headwater::{EntityId, Map, Replica, SpaceId, Value};
use headwater_fuzz::{Clock, Random, values};
use headwater_storage::{Bytes, ChangeHash, ChangeRecord, CollectionName, PayloadKind};
use serde::Deserialize;
use serde_json::{Value as Json, json};

const SPACE: &str = "home";
const COLLECTION: &str = "things";

fn replica(seed: u64) -> Replica {
    Replica::in_memory(Clock::new(Random::new(seed), Default::default(), 0)).unwrap()
}

fn fields(replica: &Replica, id: EntityId) -> Map {
    replica.space(SPACE).dynamic(COLLECTION).unwrap().get(id).unwrap().unwrap().fields
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Bytes {
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Merges changes as a relay would bring them.
fn merge(replica: &Replica, id: EntityId, changes: &[&Json]) {
    let record = |change: &&Json| {
        let change = automerge::Change::from_bytes(unhex(change.as_str().unwrap()).to_vec()).unwrap();
        ChangeRecord {
            entity: id,
            collection: CollectionName::new(COLLECTION).unwrap(),
            kind: PayloadKind::Change,
            hash: ChangeHash::from_bytes(change.hash().0),
            payload: Bytes::copy_from_slice(change.raw_bytes()),
        }
    };
    let records = changes.iter().map(record).collect();
    let merged = replica.merge(SpaceId::from_name(SPACE), MergeRequest { records, position: None }).unwrap();
    let space = replica.space(SPACE);
    assert_eq!(merged.set_aside, 0, "{:?}", space.set_aside());
}

/// The folder with the peer and the Automerge of its `package.json`. `None`, with a printed line, where they cannot be had.
fn installed() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("javascript");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("javascript");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["package.json", "peer.mjs"] {
        std::fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let wanted: Json = serde_json::from_slice(&std::fs::read(source.join("package.json")).unwrap()).unwrap();
    let held = || -> Option<Json> {
        let path = folder.join("node_modules/@automerge/automerge/package.json");
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let is_there =
        || held().is_some_and(|held| held["version"] == wanted["dependencies"]["@automerge/automerge"]);
    if !is_there() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(&folder);
        let installed = npm.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
        if !installed || !is_there() {
            println!("skipped: npm cannot install @automerge/automerge");
            return None;
        }
    }
    if !Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no node");
        return None;
    }
    Some(folder)
}

/// What the peer says of each of these entities.
fn ask(folder: &Path, entities: &[Vec<(ChangeHash, Bytes)>]) -> Vec<Json> {
    let mut node = Command::new("node");
    node.arg("peer.mjs").current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().unwrap();
    let mut input = node.stdin.take().unwrap();
    let lines: Vec<Json> = entities
        .iter()
        .map(|changes| changes.iter().map(|(_, payload)| hex(payload)).collect::<Vec<_>>().into())
        .collect();
    // The peer answers while it reads.
    let writer = std::thread::spawn(move || {
        for line in lines {
            writeln!(input, "{line}").unwrap();
        }
    });
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    writer.join().unwrap();
    let answers: Vec<Json> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let mut line = serde_json::Deserializer::from_str(line);
            line.disable_recursion_limit();
            Json::deserialize(&mut line).unwrap()
        })
        .collect();
    assert_eq!(answers.len(), entities.len());
    answers
}

/// How JavaScript shows a value.
fn in_javascript(value: &Value) -> Json {
    let number = |number: f64| json!(["number", number.to_bits().to_string()]);
    match value {
        Value::Null => json!(["null"]),
        Value::Bool(v) => json!(["boolean", v]),
        Value::Int(v) if v.unsigned_abs() < 1 << 53 => number(*v as f64),
        Value::Int(v) => json!(["bigint", v.to_string()]),
        Value::Uint(v) => json!(["bigint", v.to_string()]),
        Value::Float(v) if v.is_nan() => json!(["number", "NaN"]),
        Value::Float(v) => number(*v),
        Value::Str(v) => json!(["ImmutableString", v]),
        Value::Text(v) => json!(["string", v.as_str()]),
        Value::Bytes(v) => json!(["Uint8Array", hex(v)]),
        // A `Date` ends in the year 275760.
        Value::Timestamp(v) if v.unsigned_abs() > 8_640_000_000_000_000 => json!(["Date", "NaN"]),
        Value::Timestamp(v) => json!(["Date", (*v as f64).to_bits().to_string()]),
        Value::Counter(v) => json!(["Counter", in_javascript(&Value::Int(*v))]),
        Value::List(items) => json!(["array", items.iter().map(in_javascript).collect::<Vec<_>>()]),
        Value::Map(map) => json!(["object", object(map)]),
        Value::Tuple(items) => in_javascript(&marked([("_tuple", Value::List(items.clone()))])),
        Value::Variant(name, content) => {
            in_javascript(&marked([("_variant", name.as_str().into()), (name, content.as_ref().clone())]))
        }
        Value::Keyed(key, items) => {
            let mut shown = Map::from([("_keyed".to_owned(), Value::from(key.as_str()))]);
            for (index, item) in items.iter().enumerate() {
                let mut element = item.as_map().unwrap().clone();
                let name = match element.remove(key).unwrap() {
                    Value::Str(name) => name,
                    number => format!("#{}", number.as_i64().unwrap()),
                };
                // Less than 62 of them, so each place is one digit.
                element.insert("_at".to_owned(), Value::from(format!("a{index}")));
                shown.insert(name, Value::Map(element));
            }
            in_javascript(&Value::Map(shown))
        }
    }
}

fn marked<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn object(map: &Map) -> Json {
    map.iter().map(|(key, value)| json!([key, in_javascript(value)])).collect()
}

/// What a device reads of what the peer writes.
fn written() -> Map {
    let list = |items: &[Value]| Value::List(items.to_vec());
    let map = |key: &str, value| Value::Map(Map::from([(key.to_owned(), value)]));
    let nested = list(&[
        Value::Int(1),
        list(&[]),
        Value::Map(Map::new()),
        list(&[map("a", map("b", list(&[Value::Text("c".into())])))]),
    ]);
    let fields = [
        ("one", Value::Int(1)),
        ("zero", Value::Int(0)),
        ("negative", Value::Int(-3)),
        // A number without a fraction becomes a whole one, and those have no -0. A `Float64` loses its sign too.
        ("negative_zero", Value::Int(0)),
        ("half", Value::Float(0.5)),
        ("two_to_53", Value::Int(1 << 53)),
        ("minus_two_to_53", Value::Int(-(1 << 53))),
        ("largest_exact", Value::Int(i64::MAX - 1023)),
        // And stops at the ends of 64 bits.
        ("two_to_63", Value::Int(i64::MAX)),
        ("beyond", Value::Int(i64::MAX)),
        ("beyond_below", Value::Int(i64::MIN)),
        ("nan", Value::Float(f64::from_bits(0x7ff8_0000_0000_0000))),
        ("infinity", Value::Float(f64::INFINITY)),
        ("minus_infinity", Value::Float(f64::NEG_INFINITY)),
        ("whole_float", Value::Float(1.0)),
        ("negative_zero_float", Value::Float(0.0)),
        ("large_float", Value::Float(1e300)),
        ("unsigned", Value::Int(7)),
        ("bigint", Value::Int((1 << 62) + 1)),
        ("bigint_max", Value::Uint(u64::MAX)),
        ("bigint_min", Value::Int(i64::MIN)),
        ("text", Value::Text("sweet\0 漢🌱".into())),
        ("half_a_pair", Value::Text("\u{fffd}x".into())),
        ("string", Value::from("juicy\0")),
        ("date", Value::Timestamp(1_700_000_000_000)),
        ("date_before_1970", Value::Timestamp(-1)),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("counter", Value::Counter(-3)),
        ("nothing", Value::Null),
        ("yes", Value::Bool(true)),
        ("nested", nested),
        ("$text", Value::Int(1)),
    ];
    // Without `_theirs`: a field of such a name is not the app's.
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn a_peer_in_javascript_reads_every_value_and_leaves_it_as_it_is() {
    // Would give an app other values after a peer in JavaScript has touched the entity, or hide from the docs what such a peer makes of
    // numbers.
    let Some(folder) = installed() else { return };
    let count = std::env::var("HEADWATER_VALUES").map_or(40, |count| count.parse().unwrap());
    let space = SpaceId::from_name(SPACE);
    let ours = replica(0);
    let things = ours.space(SPACE).dynamic(COLLECTION).unwrap();
    let entities: Vec<(EntityId, Map)> = (0..count)
        .map(|seed| {
            let fields = values::fields(&mut Random::new(seed));
            (things.insert(fields.clone()).unwrap().id, fields)
        })
        .collect();
    let changes: Vec<_> = entities.iter().map(|(id, _)| ours.entity_changes(space, *id).unwrap()).collect();
    let answers = ask(&folder, &changes);
    for (seed, ((id, held), answer)) in entities.iter().zip(&answers).enumerate() {
        // Headwater's own fields are there too.
        let read = answer["read"][1].as_array().unwrap().iter();
        let read: Json = read.filter(|field| !field[0].as_str().unwrap().starts_with('_')).cloned().collect();
        assert_eq!(read, object(held), "seed {seed}");

        // What it saved without an edit is all that there was.
        let theirs = replica(1);
        merge(&theirs, *id, &answer["untouched"].as_array().unwrap().iter().collect::<Vec<_>>());
        assert_eq!(fields(&theirs, *id), *held, "seed {seed}");

        // An edit beside it leaves every value as it was.
        merge(&ours, *id, &[&answer["beside"]]);
        let mut expected = held.clone();
        expected.insert("beside".to_owned(), "from JavaScript".into());
        assert_eq!(fields(&ours, *id), expected, "seed {seed}");

        merge(&ours, *id, &[&answer["all"]]);
        expected.extend(written());
        assert_eq!(fields(&ours, *id), expected, "seed {seed}");
        assert_eq!(answer["refused"], json!({"absent": "RangeError", "beyond_64": "RangeError"}));
    }
    let verified = ours.verify().unwrap();
    assert_eq!((verified.set_aside, verified.alarms, verified.rows_repaired), (vec![], vec![], 0));
}

#[test]
fn a_stock_peer_finds_what_the_page_on_the_format_says() {
    // Would leave whoever writes another client with a page that is not true, or bytes that no other Automerge reads.
    let Some(folder) = installed() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/golden");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(golden).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: &PathBuf| -> Json { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let files: Vec<(String, Json)> = files
        .iter()
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read(path)))
        .collect();
    assert!(files.len() >= 9, "{}", files.len());
    let changes: Vec<Vec<(ChangeHash, Bytes)>> = files
        .iter()
        .map(|(_, file)| {
            let payloads = file["changes"].as_array().unwrap().iter();
            payloads
                .map(|payload| (ChangeHash::from_bytes([0; 32]), unhex(payload.as_str().unwrap())))
                .collect()
        })
        .collect();
    for ((name, file), answer) in files.iter().zip(ask(&folder, &changes)) {
        let fields = headwater::model::map_from_json(file["fields"].clone()).unwrap();
        let mut shown: Vec<(String, Json)> = Vec::new();
        for field in answer["read"][1].as_array().unwrap() {
            shown.push((field[0].as_str().unwrap().to_owned(), field[1].clone()));
        }
        assert!(shown.contains(&("_collection".to_owned(), json!(["ImmutableString", file["collection"]]))));
        for (field, value) in &fields {
            let (_, found) = shown.iter().find(|(shown, _)| shown == field).unwrap();
            match (name.as_str(), field.as_str()) {
                // Of what two devices made apart it sees one; of a list with keys, also what was removed, and where each stands.
                ("made_apart", "days") => assert_eq!(found[0], "object"),
                ("keyed", "gear") => {
                    let names: Vec<&str> =
                        found[1].as_array().unwrap().iter().map(|field| field[0].as_str().unwrap()).collect();
                    assert_eq!(names, ["#7", "_keyed", "tent", "~#"]);
                }
                ("variant", "method") => {
                    let names: Vec<&str> =
                        found[1].as_array().unwrap().iter().map(|field| field[0].as_str().unwrap()).collect();
                    assert!(names.contains(&"_variant"), "{names:?}");
                }
                _ => assert_eq!(*found, in_javascript(value), "{name}: {field}"),
            }
        }
    }
}
