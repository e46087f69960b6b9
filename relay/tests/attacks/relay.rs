use bytes::Bytes;
use headwater::ingest::Chunk;
use headwater::wire::{AckResult, ErrorCode, Frame, Open, OpenMode, SyncMessage};
use headwater::{ConnectOptions, EntityId, Map, Replica, Value};
use headwater_fuzz::hostile::{self, Attack};
use headwater_storage::{ChangeRecord, CollectionName, Direction, PayloadKind, Position};

use crate::process::RelayProcess;
use crate::raw::Raw;
use crate::running::{ALONE, PATIENCE, Relay, SPACE, space, used};

/// Memory above idle that no attack may take, in KiB.
const MEMORY_KB_MAX: u64 = 64 << 10;

/// Two devices that work on the same entity all the time.
struct Pair {
    a: Replica,
    b: Replica,
    written: i64,
}

impl Pair {
    /// An edit of the entity still goes from each to the other.
    async fn sync(&mut self, id: EntityId, after: &str) {
        for swapped in [false, true] {
            let (from, to) = if swapped { (&self.b, &self.a) } else { (&self.a, &self.b) };
            self.written += 1;
            let number = Value::Int(self.written);
            let [on_from, on_to] = [from, to].map(|replica| replica.space(SPACE).dynamic("bags").unwrap());
            on_from.set(id, Map::from([("number".into(), number.clone())])).unwrap();
            let arrives = async {
                while on_to.get(id).unwrap().and_then(|record| record.fields.get("number").cloned())
                    != Some(number.clone())
                {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            };
            let arrived = tokio::time::timeout(PATIENCE, arrives).await;
            assert!(arrived.is_ok(), "nothing arrives any more after {after}");
        }
    }
}

fn records(id: EntityId, changes: &[Bytes]) -> Vec<ChangeRecord> {
    let record = |change: &Bytes| {
        // What does not even inflate within any bound gets a hash that is as good as any.
        let hash = Chunk::single(change).unwrap().inflated(1 << 20).map(|chunk| chunk.hash());
        ChangeRecord {
            entity: id,
            collection: CollectionName::new("bags").unwrap(),
            kind: PayloadKind::Change,
            hash: hash.unwrap_or(headwater::ChangeHash::from_bytes([3; 32])),
            payload: change.clone(),
        }
    };
    changes.iter().map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_on_a_relay_is_refused_or_quarantined_and_nobody_notices() {
    let _alone = ALONE.lock().await;
    // Would let one client take the relay down, or an entity away from everybody.
    let directory = tempfile::tempdir().unwrap();
    let process = RelayProcess::start(directory.path());
    let relay = Relay { url: process.url.clone() };
    let [a, b] = ["a", "b"].map(|name| Replica::open(directory.path().join(name)).unwrap());
    let connections =
        [&a, &b].map(|replica| replica.connect(&relay.url, ConnectOptions::new([space()])).unwrap());
    let mut pair = Pair { a, b, written: 0 };
    let bags = pair.a.space(SPACE).dynamic("bags").unwrap();
    let new_bag = || {
        let tags = Value::List(vec![Value::from("floral")]);
        bags.insert(Map::from([("name".into(), Value::from("Guji")), ("tags".into(), tags)])).unwrap()
    };
    let first = new_bag().id;
    pair.sync(first, "nothing").await;
    let (idle_kb, _) = used(process.id());
    let genuine = |id| -> Vec<Bytes> {
        pair.a.entity_changes(space(), id).unwrap().into_iter().map(|(_, payload)| payload).collect()
    };
    let names: Vec<&str> =
        Attack::all(&genuine(first)).unwrap().into_iter().map(|attack| attack.name).collect();
    for name in names {
        let id = new_bag().id;
        pair.sync(id, "a new bag").await;
        let genuine: Vec<Bytes> =
            pair.a.entity_changes(space(), id).unwrap().into_iter().map(|(_, payload)| payload).collect();
        let attack = Attack::all(&genuine).unwrap().into_iter().find(|attack| attack.name == name).unwrap();
        let (_, before_ms) = used(process.id());
        let mut raw = Raw::pushing(&relay).await;
        let (mut refused, mut taken) = (Vec::new(), Vec::new());
        for (number, records) in records(id, &attack.changes).chunks(200).enumerate() {
            for (record, result) in records.iter().zip(raw.push(number as u64 + 1, records.to_vec()).await) {
                match result {
                    AckResult::Refused { code, .. } => refused.push(code),
                    _ => taken.push(record.hash),
                }
            }
        }
        // What passed the checks of the change by itself is left out by everybody soon after.
        for (hash, replica) in taken.iter().flat_map(|hash| [(hash, &pair.a), (hash, &pair.b)]) {
            let left_out = async {
                while !replica
                    .space(SPACE)
                    .set_aside()
                    .unwrap()
                    .iter()
                    .any(|aside| aside.record.hash == *hash && aside.direction == Direction::Quarantined)
                {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            assert!(tokio::time::timeout(PATIENCE, left_out).await.is_ok(), "{name} stays");
        }
        let (_, after_ms) = used(process.id());
        pair.sync(id, name).await;
        refused.dedup();
        println!(
            "{name}: refused {refused:?}, quarantined {}, {} ms of processor time for {} changes, {} KiB at the peak",
            taken.len(),
            after_ms - before_ms,
            attack.changes.len(),
            used(process.id()).0
        );
    }
    sync_messages(&relay, &mut pair, first).await;
    let (peak_kb, _) = used(process.id());
    println!("memory: {} KiB idle, {} KiB at the peak", idle_kb, peak_kb);
    assert!(peak_kb <= idle_kb + MEMORY_KB_MAX, "{idle_kb} KiB idle, {peak_kb} KiB at the peak");
    for connection in connections {
        assert_eq!(connection.status().error, None);
        connection.disconnect().await;
    }
    let [on_a, on_b] =
        [&pair.a, &pair.b].map(|replica| replica.entity_positions(space(), None, 100).unwrap());
    assert_eq!(on_a, on_b);
}

/// The attacks by messages of the sync protocol.
async fn sync_messages(relay: &Relay, pair: &mut Pair, entity: EntityId) {
    for (name, message) in [
        ("a filter without bits", hostile::bloom_without_bits()),
        ("a filter of 2^32 probes", hostile::bloom_with_huge_probes()),
    ] {
        let mut raw = Raw::greeted(relay).await;
        let open = Open { space: space(), position: Position::default(), mode: OpenMode::Once };
        raw.send(&Frame::Open(open)).await;
        let collection = CollectionName::new("bags").unwrap();
        raw.send(&Frame::SyncMessage(SyncMessage { space: space(), entity, collection, message })).await;
        let answer = loop {
            match raw.frame().await {
                Frame::SyncMessage(answer) => break answer,
                Frame::Error(error) => panic!("{name}: {error:?}"),
                _ => {}
            }
        };
        assert!(answer.message.is_empty(), "{name}: the entity has to be exchanged whole");
        pair.sync(entity, name).await;
    }
    assert_eq!(ErrorCode::Quarantined.number(), 38);
}
