//! Any value of the model on its way through everything that compares values.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater::document::examine;
use headwater::replica::MergeRequest;
use headwater::{EditError, EntityId, Map, Replica, SpaceId, Value, WriteError};
use headwater_fuzz::{Clock, Random, values};
use headwater_storage::OutboxSeq;

const SPACE: &str = "home";

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn replica(seed: u64) -> Replica {
    Replica::in_memory(Clock::new(Random::new(seed), Default::default(), 0)).unwrap()
}

fn fields(replica: &Replica, id: EntityId) -> Map {
    replica.space(SPACE).dynamic("things").unwrap().get(id).unwrap().unwrap().fields
}

/// Nothing is set aside, no alarm is raised, and no row needs a repair.
fn assert_well(replica: &Replica, seed: u64) {
    let verified = replica.verify().unwrap();
    assert_eq!(
        (verified.set_aside, verified.alarms, verified.rows_repaired),
        (vec![], vec![], 0),
        "seed {seed}"
    );
    assert!(
        replica.space(SPACE).set_aside().unwrap().is_empty() && replica.alarms().is_empty(),
        "seed {seed}"
    );
}

/// The relay's examiner finds nobody at fault, and makes a snapshot.
fn assert_examined(replica: &Replica, id: EntityId, seed: u64) {
    let examined = examine(replica.entity_changes(space(), id).unwrap());
    assert!(examined.culprits.is_empty(), "seed {seed}: {:?}", examined.culprits);
    assert_eq!((examined.alarm, examined.snapshot.is_some()), (None, true), "seed {seed}");
}

#[test]
fn no_value_that_is_written_is_taken_away_by_a_check() {
    // Would let one number that a check holds for damage take a whole entity from every device.
    let count =
        std::env::var("HEADWATER_VALUES").ok().and_then(|count| count.parse().ok()).unwrap_or(300_u64);
    for seed in 0..count {
        let random = &mut Random::new(seed);
        let (a, b) = (replica(seed), replica(seed + count));
        let things = a.space(SPACE).dynamic("things").unwrap();
        let written = values::fields(random);
        let id = things.insert(written.clone()).unwrap().id;
        assert_eq!(fields(&a, id), written, "seed {seed}");
        assert_examined(&a, id, seed);
        assert_eq!(a.compact_all().unwrap(), 1, "seed {seed}");
        assert_well(&a, seed);
        // Others in their place, on a history that has a snapshot.
        for (name, value) in values::fields(random) {
            // A list in the place of one stays one of that kind, around which a document has a map.
            let is_deeper = matches!(written.get(&name), Some(Value::Tuple(_) | Value::Keyed(..)));
            match things.set(id, Map::from([(name, value)])) {
                Ok(_) | Err(EditError::Write(WriteError::CounterOverflow { .. })) => {}
                Err(EditError::Write(WriteError::TooDeep)) if is_deeper => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert_examined(&a, id, seed);
        a.compact_all().unwrap();
        assert_well(&a, seed);

        let outbox = a.outbox(space(), OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
        let records = outbox.into_iter().map(|entry| entry.record).collect();
        let merged = b.merge(space(), MergeRequest { records, position: None }).unwrap();
        assert_eq!(merged.set_aside, 0, "seed {seed}");
        assert_eq!(fields(&b, id), fields(&a, id), "seed {seed}");
        assert_eq!(b.compact_all().unwrap(), 1, "seed {seed}");
        assert_well(&b, seed);
        assert_eq!(fields(&b, id), fields(&a, id), "seed {seed}");
    }
}
