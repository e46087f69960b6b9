//! Two or more replicas in memory, and a courier that carries their changes by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use headwater::replica::MergeRequest;
use headwater::{ChangeHash, EntityId, Environment, Replica, SpaceId};
use headwater_storage::{Bytes, OutboxSeq};

pub(crate) const SPACE: &str = "home";

static SEEDS: AtomicU64 = AtomicU64::new(1);

/// A clock and randomness that repeat: every number follows from how many were asked for.
pub(crate) struct Counting {
    seed: u64,
    calls: AtomicU64,
}

impl Counting {
    pub(crate) fn new() -> Counting {
        Counting { seed: SEEDS.fetch_add(1, Ordering::Relaxed), calls: AtomicU64::new(0) }
    }
}

impl Environment for Counting {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.calls.fetch_add(1, Ordering::Relaxed)
    }

    fn random(&self) -> u128 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        uuid::Uuid::new_v5(&uuid::Uuid::from_u64_pair(self.seed, call), b"random").as_u128()
    }
}

pub(crate) fn replica() -> Replica {
    Replica::in_memory(Counting::new()).unwrap()
}

/// Gives `to` everything that `from` holds, in the order of `from`'s outbox.
pub(crate) fn carry(from: &Replica, to: &Replica) {
    let space = SpaceId::from_name(SPACE);
    let entries = from.outbox(space, OutboxSeq::ZERO, usize::MAX, usize::MAX).unwrap();
    let records = entries.into_iter().map(|entry| entry.record).collect();
    let merged = to.merge(space, MergeRequest { records, position: None }).unwrap();
    assert_eq!(merged.set_aside, 0);
}

/// Both get what the other has made.
pub(crate) fn exchange(a: &Replica, b: &Replica) {
    carry(a, b);
    carry(b, a);
}

/// All changes of an entity, in causal order.
pub(crate) fn changes(replica: &Replica, id: EntityId) -> Vec<(ChangeHash, Bytes)> {
    replica.entity_changes(SpaceId::from_name(SPACE), id).unwrap()
}
