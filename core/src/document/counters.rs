//! Counters that were counted beyond 64 bits.
//!
//! The engine adds increments in 64 bits, and what is beyond wraps around: two devices that each add 2^63-1
//! would have counted to -2. No device can keep the others from it, so it is the reader who adds again, in
//! 128 bits, and shows the end of the range instead. That follows from the changes alone, so every replica
//! shows the same. It takes the whole history, and is done only where the sizes of the numbers in it allow
//! for such a sum.

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
    /// Finds them. `counted_max` is how far from 0 a counter can be at most, by the sizes of the numbers in
    /// the document's changes.
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

#[cfg(test)]
mod tests {
    use automerge::ROOT;
    use automerge::transaction::Transactable;
    use bytes::Bytes;

    use super::*;
    use crate::document::Document;
    use crate::model::{Map, Value};

    /// A document with two counters: each of `amounts` is added to `n` by a device that has not seen the
    /// others.
    fn counted(start: i64, amounts: &[i64]) -> Document {
        let mut first = Automerge::new();
        let mut tx = first.transaction();
        tx.put(ROOT, "n", ScalarValue::counter(start)).unwrap();
        tx.put(ROOT, "calm", ScalarValue::counter(-4)).unwrap();
        tx.commit();
        let forks: Vec<Automerge> = amounts
            .iter()
            .map(|amount| {
                let mut fork = first.fork();
                let mut tx = fork.transaction();
                tx.increment(ROOT, "n", *amount).unwrap();
                tx.commit();
                fork
            })
            .collect();
        for mut fork in forks {
            first.merge(&mut fork).unwrap();
        }
        let changes =
            first.get_changes(&[]).into_iter().map(|change| Bytes::copy_from_slice(change.raw_bytes()));
        Document::from_changes(changes).unwrap()
    }

    fn shown(document: &Document) -> i64 {
        let fields: Map = document.fields().unwrap();
        assert_eq!(fields.get("calm"), Some(&Value::Counter(-4)));
        match fields.get("n") {
            Some(Value::Counter(count)) => *count,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn what_is_counted_beyond_64_bits_stands_at_the_end() {
        // Would show a loss where everybody gained, and something else in a replica that reads it from a
        // snapshot.
        const QUARTER: i64 = 1 << 62;
        for (start, amounts, expected) in [
            (0, vec![i64::MAX, i64::MAX], i64::MAX),
            (0, vec![i64::MIN, i64::MIN, -1], i64::MIN),
            // These wrap around to a number that looks like any other.
            (1, vec![QUARTER; 4], i64::MAX),
            (7, vec![-QUARTER; 4], i64::MIN),
            // On its way it leaves the range and comes back.
            (0, vec![i64::MAX, i64::MAX, i64::MIN, i64::MIN], -2),
            (i64::MAX, vec![-1], i64::MAX - 1),
            (5, vec![1, 2], 8),
        ] {
            let document = counted(start, &amounts);
            assert_eq!(shown(&document), expected, "{start} {amounts:?}");
            let snapshot = document.to_snapshot().unwrap();
            assert_eq!(shown(&Document::from_snapshot(&snapshot).unwrap()), expected, "{start} {amounts:?}");
        }
    }

    #[test]
    fn large_numbers_elsewhere_do_not_make_reading_slow() {
        // Would read the whole history of every entity that holds a large id beside a counter.
        let mut document = Automerge::new();
        let mut tx = document.transaction();
        tx.put(ROOT, "id", i64::MAX).unwrap();
        tx.put(ROOT, "n", ScalarValue::counter(3)).unwrap();
        tx.commit();
        let mut tx = document.transaction();
        tx.increment(ROOT, "n", 2).unwrap();
        tx.commit();
        let changes = document.get_changes(&[]).into_iter();
        let changes = changes.map(|change| Bytes::copy_from_slice(change.raw_bytes()));
        let document = Document::from_changes(changes).unwrap();
        assert!(document.counted_max >= 5 && document.counted_max < 1 << 20, "{}", document.counted_max);
    }
}
