use headwater::document::WriteError;
use headwater::replica::MergeRequest;
use headwater::{EditError, Record, Replica};
use headwater_storage::ChangeRecord;

use super::fixture::{SPACE, carry, made, replica, space};
use crate::Random;
use crate::edits::{DYNAMIC, TYPED, edit};

const REPLICAS: usize = 3;
/// Bytes of one step: who and what, and two numbers for it.
const STEP_BYTES: usize = 3;
const STEPS_MAX: usize = 40;

/// Edits on three devices, and deliveries between them in the order that the bytes say: backwards, in parts, again and again. Once
/// each has everything, all are equal.
pub fn convergence(data: &[u8]) {
    let replicas: Vec<Replica> = (0..REPLICAS as u64).map(replica).collect();
    for step in data.chunks_exact(STEP_BYTES).take(STEPS_MAX) {
        let (one, other) = (usize::from(step[0]) % REPLICAS, usize::from(step[0] >> 2) % REPLICAS);
        let seed = u64::from(u16::from_be_bytes([step[1], step[2]]));
        match step[0] >> 4 {
            0..8 => edits(&replicas[one], seed),
            8..11 => deliver_part(&replicas[one], &replicas[other], seed),
            11..13 => deliver_shuffled(&replicas[one], &replicas[other], seed),
            _ => carry(&replicas[one], &replicas[other]),
        }
    }
    let turn = data.last().map_or(0, |last| usize::from(*last));
    for pair in 0..REPLICAS * REPLICAS {
        let pair = (pair + turn) % (REPLICAS * REPLICAS);
        carry(&replicas[pair / REPLICAS], &replicas[pair % REPLICAS]);
    }
    let first = &replicas[0];
    for other in &replicas[1..] {
        let positions =
            |replica: &Replica| replica.entity_positions(space(), None, usize::MAX).expect("reads");
        assert_eq!(positions(first), positions(other), "other heads");
        for collection in [TYPED, DYNAMIC] {
            assert_eq!(records(first, collection), records(other, collection), "other values");
        }
    }
}

fn edits(replica: &Replica, seed: u64) {
    match edit(replica, space(), &mut Random::new(seed)) {
        Ok(seen) => seen.expect("a program reads what it wrote"),
        Err(EditError::NotFound(_) | EditError::Exists(_) | EditError::OtherCollection { .. }) => {}
        Err(EditError::Write(WriteError::CounterOverflow { .. })) => {}
        Err(error) => panic!("an edit fails: {error}"),
    }
}

/// Some of what `from` made, perhaps before what it builds on.
fn deliver_part(from: &Replica, to: &Replica, seed: u64) {
    let random = &mut Random::new(seed);
    let mut records = made(from);
    records.drain(..random.below(records.len()));
    records.truncate(1 + random.below(4));
    merge(to, records);
}

fn deliver_shuffled(from: &Replica, to: &Replica, seed: u64) {
    let mut records = made(from);
    Random::new(seed).shuffle(&mut records);
    merge(to, records);
}

fn merge(to: &Replica, records: Vec<ChangeRecord>) {
    let merged = to.merge(space(), MergeRequest { records, position: None }).expect("merges");
    assert_eq!(merged.set_aside, 0, "an honest change is set aside");
}

fn records(replica: &Replica, collection: &str) -> Vec<Record> {
    let collection = replica.space(SPACE).dynamic(collection).expect("a name");
    collection.iter().collect::<Result<_, _>>().expect("reads")
}
