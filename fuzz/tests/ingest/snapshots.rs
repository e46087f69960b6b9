use std::collections::HashSet;

use headwater::document::examine;
use headwater::ingest::{ChangeLimits, Chunk, check_change};
use headwater::replica::MergeRequest;
use headwater::{CollectionName, EntityId, Environment, Map, Replica, SpaceId, Value};
use headwater_fuzz::{Random, hostile};
use headwater_storage::{Bytes, ChangeRecord, PayloadKind};

use crate::honest;

struct Still;

impl Environment for Still {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn random(&self) -> u128 {
        7
    }
}

/// What became of the mutants.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    taken: u64,
    editable: u64,
    /// Those whose changes by themselves would not have been taken, which a walk sets aside.
    salvaged: u64,
}

fn snapshot_of(history: &[Bytes]) -> Bytes {
    let limits = ChangeLimits::default();
    let all = history.iter().map(|change| (check_change(change, &limits).unwrap().hash(), change.clone()));
    examine(all.collect()).snapshot.unwrap()
}

#[test]
fn no_mutant_of_a_snapshot_does_more_than_come_to_nothing() {
    // Would let a relay take a device down, or give it an entity that it can never open again.
    let count =
        std::env::var("HEADWATER_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_500u64);
    let snapshots: Vec<Bytes> = (0..12).map(|seed| snapshot_of(&honest::history(seed))).collect();
    let (space, collection) = (SpaceId::from_name("home"), CollectionName::new("things").unwrap());
    let replica = Replica::in_memory(Still).unwrap();
    let things = replica.space(space).dynamic("things").unwrap();
    let mut tally = Tally::default();
    let mut taken = HashSet::new();
    std::panic::set_hook(Box::new(|_| ()));
    for number in 0..count {
        let random = &mut Random::new(number);
        let Some(snapshot) = random.pick(&snapshots) else { continue };
        let payload = hostile::mutate(random, snapshot);
        let hash = Chunk::single(&payload).unwrap().hash();
        let entity = EntityId::from_bytes(u128::from(number + 1).to_be_bytes());
        let (kind, collection) = (PayloadKind::Snapshot, collection.clone());
        let record = ChangeRecord { entity, collection, kind, hash, payload };
        let merged = replica.merge(space, MergeRequest { records: vec![record], position: None }).unwrap();
        if merged.set_aside > 0 {
            assert_eq!((merged.set_aside, merged.applied), (1, 0));
            tally.refused += 1;
            continue;
        }
        tally.taken += 1;
        taken.insert(entity);
        let edited = things.set(entity, Map::from([("note".into(), Value::from("mine"))]));
        tally.editable += u64::from(edited.is_ok());
    }
    // Whatever was taken is changes that load, one by one, or is named and set aside.
    tally.salvaged = replica.verify().unwrap().set_aside.len() as u64;
    let again = replica.verify().unwrap();
    let _ours = std::panic::take_hook();
    println!("{count} mutants of snapshots: {tally:?}");
    assert!(again.set_aside.is_empty(), "{:?}", again.set_aside);
    assert_eq!(again.rows_repaired, 0);
    assert_eq!(replica.space(space).set_aside().unwrap().len() as u64, tally.refused + tally.salvaged);
    assert!(tally.refused > count / 2, "the mutants are too tame: {tally:?}");
    for snapshot in &snapshots {
        // The genuine ones all get in.
        let hash = Chunk::single(snapshot).unwrap().hash();
        let entity = EntityId::from_bytes(*hash.as_bytes().first_chunk().unwrap());
        let (kind, collection, payload) = (PayloadKind::Snapshot, collection.clone(), snapshot.clone());
        let record = ChangeRecord { entity, collection, kind, hash, payload };
        let merged = replica.merge(space, MergeRequest { records: vec![record], position: None }).unwrap();
        assert!(merged.set_aside == 0 && merged.applied > 0);
    }
}
