use bytes::Bytes;
use headwater::ingest::Chunk;
use headwater::replica::MergeRequest;
use headwater::{Map, Replica, Value};
use headwater_fuzz::hostile::Attack;
use headwater_storage::{ChangeRecord, CollectionName, EntityId, PayloadKind};

use crate::running::{ALONE, SPACE, space, used};

const MEMORY_KB_MAX: u64 = 64 << 10;

fn record(entity: EntityId, change: &Bytes) -> ChangeRecord {
    let hash = Chunk::single(change).unwrap().inflated(1 << 20).map(|chunk| chunk.hash());
    ChangeRecord {
        entity,
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: hash.unwrap_or(headwater::ChangeHash::from_bytes([3; 32])),
        payload: change.clone(),
    }
}

#[test]
fn every_attack_on_a_replica_is_set_aside_and_the_entity_goes_on() {
    let _alone = ALONE.blocking_lock();
    // Would let a broken or malicious relay take the app down, or an entity away from its owner.
    // Telling where a panic came from takes more memory than any attack may.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let [on_a, on_b] = [&a, &b].map(|replica| replica.space(SPACE).dynamic("bags").unwrap());
    let tags = || Value::List(vec![Value::from("floral")]);
    let bag = || Map::from([("name".into(), Value::from("Guji")), ("tags".into(), tags())]);
    let carry = |id| {
        let records = a.entity_changes(space(), id).unwrap().into_iter();
        let records = records.map(|(_, payload)| record(id, &payload)).collect();
        b.merge(space(), MergeRequest { records, position: None }).unwrap()
    };
    let first = on_a.insert(bag()).unwrap().id;
    carry(first);
    let pid = std::process::id();
    let names = Attack::all(&[]).unwrap().into_iter().map(|attack| attack.name);
    for name in names {
        let id = on_a.insert(bag()).unwrap().id;
        carry(id);
        let genuine: Vec<Bytes> =
            a.entity_changes(space(), id).unwrap().into_iter().map(|(_, payload)| payload).collect();
        let attack = Attack::all(&genuine).unwrap().into_iter().find(|attack| attack.name == name).unwrap();
        let records = attack.changes.iter().map(|change| record(id, change)).collect();
        // What made the attack took memory too: 5 makes the peak what is resident now.
        let _refused = std::fs::write("/proc/self/clear_refs", "5").is_err();
        let (before_kb, before_ms) = used(pid);
        let merged = b.merge(space(), MergeRequest { records, position: None }).unwrap();
        let (peak_kb, after_ms) = used(pid);
        assert!(
            peak_kb <= before_kb + MEMORY_KB_MAX,
            "{name}: {before_kb} KiB before, {peak_kb} KiB at the peak"
        );
        if merged.set_aside == 0 {
            // Only saving and loading shows this one.
            b.compact_all().unwrap();
        }
        let aside = b.space(SPACE).set_aside().unwrap().into_iter().filter(|aside| aside.record.entity == id);
        let reasons: Vec<String> = aside.map(|aside| aside.reason.message).collect();
        println!(
            "{name}: {merged:?}, {} ms of processor time, {} KiB more at the peak, {:?}",
            after_ms - before_ms,
            peak_kb - before_kb,
            reasons.first()
        );
        assert!(merged.set_aside == 0 || merged.set_aside as usize == reasons.len(), "{name}");
        assert!(!reasons.is_empty(), "{name}");
        // The owner's next edits, made without any of it, arrive and show.
        on_a.set(id, Map::from([("rating".into(), Value::Int(5))])).unwrap();
        carry(id);
        let fields = on_b.get(id).unwrap().unwrap().fields;
        assert_eq!(fields.get("rating"), Some(&Value::Int(5)), "{name}");
        assert_eq!(fields.get("tags"), Some(&tags()), "{name}");
        on_b.set(id, Map::from([("note".into(), Value::from("still mine"))])).unwrap();
    }
    drop((on_a, on_b));
    drop(b);
    // It opens again, and everything is there.
    let b = Replica::open(directory.path().join("b")).unwrap();
    let notes = b.space(SPACE).dynamic("bags").unwrap();
    for record in notes.iter().map(Result::unwrap) {
        assert_eq!(record.fields.get("name").and_then(Value::as_str), Some("Guji"));
    }
}
