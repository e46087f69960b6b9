//! Counters that were counted beyond 64 bits.
//!
//! The engine adds increments in 64 bits, and what is beyond wraps around: two devices that each add 2^63-1 would have counted to -2. No
//! device can keep the others from it, so it is the reader who adds again, in 128 bits, and shows the end of the range instead. That
//! follows from the changes alone, so every replica shows the same. It takes the whole history, and is done only where the sizes of
//! the numbers in it allow for such a sum.

use std::collections::HashMap;

use automerge::legacy::{OpId, OpType};
use automerge::{Automerge, ObjId, ScalarValue};

/// The counters of a document that are beyond 64 bits. Most documents have none.
#[derive(Default)]
pub(super) struct Counters {
    /// the operation that made a counter -> the end of the range that it is beyond
    beyond: HashMap<OpId, i64>,
}

impl Counters {
    /// Finds them. `counted_max` is how far from 0 a counter can be at most, by the sizes of the numbers in the document's changes.
    pub(super) fn of(document: &Automerge, counted_max: u64) -> Counters {
        if i64::try_from(counted_max).is_ok() {
            return Counters::default();
        }
        let mut sums: HashMap<OpId, i128> = HashMap::new();
        for change in document.get_changes(&[]) {
            let change = change.decode();
            for (number, operation) in (change.start_op.get()..).zip(&change.operations) {
                match &operation.action {
                    OpType::Put(ScalarValue::Counter(start)) => {
                        *sums.entry(OpId::new(number, &change.actor_id)).or_default() +=
                            i128::from(i64::from(start));
                    }
                    OpType::Increment(by) => {
                        for counter in operation.pred.iter() {
                            *sums.entry(counter.clone()).or_default() += i128::from(*by);
                        }
                    }
                    _ => {}
                }
            }
        }
        let beyond = sums.into_iter().filter_map(|(counter, sum)| match i64::try_from(sum) {
            Ok(_) => None,
            Err(_) => Some((counter, if sum < 0 { i64::MIN } else { i64::MAX })),
        });
        Counters { beyond: beyond.collect() }
    }

    /// The value to show of the counter that the operation `id` made; `engine` is what the engine has.
    pub(super) fn value(&self, id: &dyn Fn() -> ObjId, engine: i64) -> i64 {
        if self.beyond.is_empty() {
            return engine;
        }
        match id() {
            ObjId::Id(number, actor, _) => {
                self.beyond.get(&OpId::new(number, &actor)).copied().unwrap_or(engine)
            }
            ObjId::Root => engine,
        }
    }
}
