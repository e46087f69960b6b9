//! The bytes of the document format, one file for each kind of value: made again, and compared. `HEADWATER_GOLDEN=write` writes them.

use std::path::{Path, PathBuf};

use headwater::document::project;
use headwater::ingest::{ChangeLimits, check_record};
use headwater::model::{JsonStyle, json_from_map, map_from_json};
use headwater::replica::MergeRequest;
use headwater::{EntityId, Environment, Map, Replica, SpaceId};
use headwater_storage::{Bytes, ChangeHash, ChangeRecord, CollectionName, PayloadKind};
use serde_json::{Value as Json, json};

use crate::pair::{SPACE, changes};

const COLLECTION: &str = "things";

/// The same clock and randomness for each file, whatever else is tested.
struct Fixed(u128);

impl Environment for Fixed {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn random(&self) -> u128 {
        self.0
    }
}

/// What the entity of each file begins with, and the edits of two devices that have not seen each other's.
fn cases() -> Vec<(&'static str, Json, Vec<Json>)> {
    let gear =
        |name: &str| json!({"$keyed": ["id", [{"id": "tent", "grams": 1800}, {"id": 7, "name": name}]]});
    vec![
        (
            "scalars",
            json!({
                "null": null, "yes": true, "name": "Guji", "int": -5, "uint": u64::MAX, "float": 4.5, "minus_zero": -0.0,
                "nan": {"$float": "NaN"}, "bytes": {"$bytes": "00ff"}, "at": {"$timestamp": 1_700_000_000_000_i64},
                "uuid": "0190f3b4-2f6e-7c1e-9a53-0d1f2e3a4b5c",
            }),
            vec![json!({"name": "Guji 2"}), json!({"int": 6})],
        ),
        (
            "text",
            json!({"notes": {"$text": "juicy"}}),
            vec![json!({"notes": "very juicy"}), json!({"notes": "juicy!"})],
        ),
        ("counter", json!({"cups": {"$counter": 3}}), vec![json!({"cups": 4}), json!({"cups": 5})]),
        (
            "list",
            json!({"tags": ["a", {"n": 1}]}),
            vec![json!({"tags": ["x", "a", {"n": 1}]}), json!({"tags": [{"n": 2}]})],
        ),
        (
            "map",
            json!({"water": {"ppm": 80, "minerals": ["Ca"]}}),
            vec![
                json!({"water": {"ppm": 90, "minerals": ["Ca"]}}),
                json!({"water": {"ppm": 80, "minerals": ["Ca", "Mg"]}}),
            ],
        ),
        (
            "keyed",
            json!({"gear": gear("kettle")}),
            vec![
                json!({"gear": {"$keyed": ["id", [{"id": 7, "name": "kettle"}, {"id": "tent", "grams": 1800}, {"id": "#"}]]}}),
                json!({"gear": {"$keyed": ["id", [{"id": 7, "name": "copper kettle"}]]}}),
            ],
        ),
        (
            "tuple",
            json!({"spot": {"$tuple": [13.5, 52.25]}}),
            vec![json!({"spot": {"$tuple": [13.5, 52.5]}}), json!({"spot": {"$tuple": [13.25, 52.25]}})],
        ),
        (
            "variant",
            json!({"method": {"$variant": ["Espresso", {"bar": 9, "seconds": 25}]}, "other": "Cold"}),
            vec![
                json!({"method": {"$variant": ["Espresso", {"bar": 8, "seconds": 25}]}}),
                json!({"method": {"$variant": ["Filter", {"grams": 15}]}}),
            ],
        ),
        (
            "made_apart",
            json!({"name": "Guji"}),
            vec![
                json!({"days": {"mon": {"notes": {"$text": "corn"}, "cups": {"$counter": 1}, "tags": ["a"]}}}),
                json!({"days": {"mon": {"notes": {"$text": "rye"}, "cups": {"$counter": 2}, "tags": ["b"]}}}),
            ],
        ),
    ]
}

/// The entity of a case, once its two devices have met.
fn played(began: &Json, edits: &[Json]) -> (Vec<(ChangeHash, Bytes)>, Map) {
    let id = EntityId::from_bytes([7; 16]);
    let devices = [1, 2].map(|random| Replica::in_memory(Fixed(random << 64 | random)).unwrap());
    let things = |replica: &Replica| replica.space(SPACE).dynamic(COLLECTION).unwrap();
    let fields = |json: &Json| map_from_json(json.clone()).unwrap();
    things(&devices[0]).upsert(id, fields(began)).unwrap();
    give(&devices[1], id, changes(&devices[0], id));
    for (device, edit) in devices.iter().zip(edits) {
        things(device).set(id, fields(edit)).unwrap();
    }
    give(&devices[0], id, changes(&devices[1], id));
    (changes(&devices[0], id), things(&devices[0]).get(id).unwrap().unwrap().fields)
}

/// Merges changes as a relay would bring them.
fn give(replica: &Replica, id: EntityId, changes: Vec<(ChangeHash, Bytes)>) {
    let collection = CollectionName::new(COLLECTION).unwrap();
    let record = |(hash, payload)| ChangeRecord {
        entity: id,
        collection: collection.clone(),
        kind: PayloadKind::Change,
        hash,
        payload,
    };
    let records: Vec<ChangeRecord> = changes.into_iter().map(record).collect();
    for record in &records {
        check_record(record, &ChangeLimits::default()).unwrap();
    }
    let merged = replica.merge(SpaceId::from_name(SPACE), MergeRequest { records, position: None }).unwrap();
    assert_eq!(merged.set_aside, 0);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_the_format_never_change() {
    // Would leave every document of an older version unread, or make two devices' equal content two contents.
    for (name, began, edits) in cases() {
        let (changes, fields) = played(&began, &edits);
        let projection = project(changes.clone()).unwrap().unwrap();
        let golden = json!({
            "collection": COLLECTION,
            "changes": changes.iter().map(|(_, payload)| hex(payload)).collect::<Vec<_>>(),
            "fields": json_from_map(&fields, JsonStyle::Kinds),
            "conflicts": projection.conflicts.as_object().unwrap().keys().collect::<Vec<_>>(),
        });
        let path = folder().join(format!("{name}.json"));
        if std::env::var("HEADWATER_GOLDEN").is_ok_and(|what| what == "write") {
            std::fs::write(&path, format!("{golden:#}\n")).unwrap();
        }
        let held: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(golden, held, "{name}");
    }
}

#[test]
fn a_certified_change_with_other_content_is_refused() {
    // Would let anybody take the place of what an entity begins with, on every device that has not made it yet.
    let (all, _) = played(&json!({"notes": {"$text": "juicy"}}), &[json!({}), json!({})]);
    let (hash, payload) = all[0].clone();
    let collection = CollectionName::new(COLLECTION).unwrap();
    let entity = EntityId::from_bytes([7; 16]);
    let record = ChangeRecord { entity, collection, kind: PayloadKind::Change, hash, payload };
    assert!(check_record(&record, &ChangeLimits::default()).is_ok());
    // In another collection it is another change.
    let elsewhere = ChangeRecord { collection: CollectionName::new("others").unwrap(), ..record.clone() };
    let refused = check_record(&elsewhere, &ChangeLimits::default()).unwrap_err();
    assert_eq!(refused, headwater::ingest::IngestError::Uncertified);
    // With another letter in it.
    let mut change = automerge::Change::from_bytes(record.payload.to_vec()).unwrap().decode();
    for operation in &mut change.operations {
        if let automerge::legacy::OpType::Put(automerge::ScalarValue::Str(letter)) = &mut operation.action {
            *letter = "X".into();
        }
    }
    let forged = automerge::Change::from(change);
    let (hash, payload) =
        (ChangeHash::from_bytes(forged.hash().0), Bytes::copy_from_slice(forged.raw_bytes()));
    assert_ne!(hash, record.hash);
    let forged = ChangeRecord { hash, payload, ..record };
    let refused = check_record(&forged, &ChangeLimits::default()).unwrap_err();
    assert_eq!(refused, headwater::ingest::IngestError::Uncertified);
}
