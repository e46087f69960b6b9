//! Counters that the engine cannot read by itself.
//!
//! The engine adds increments in 64 bits, and what is beyond wraps around: two devices that each add 2^63-1
//! would have counted to -2. No device can keep the others from it, so it is the reader who adds again, in
//! 128 bits, and shows the end of the range instead.
//!
//! And two devices that are apart can each make a counter in one place. The engine shows one of them, and what
//! is counted afterwards goes to both. To a reader they are one counter: what each began with, and every
//! increment once, to however many of them it went.
//!
//! Either follows from the changes alone, so every replica shows the same. It takes the whole history, and is
//! done only where the sizes of the numbers allow for such a sum, or where two counters stand in one place.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use automerge::legacy::{OpId, OpType};
use automerge::{Automerge, ObjId, ScalarValue};

use crate::ingest::is_certified_actor;

/// The counters of a document.
#[derive(Default)]
pub(crate) struct Counters<'a> {
    /// Where the history is, if it can be had.
    document: Option<&'a Automerge>,
    may_be_beyond: bool,
    history: OnceCell<History>,
}

/// What was ever counted in a document.
#[derive(Default)]
struct History {
    /// the operation that made a counter -> what it began with
    starts: HashMap<OpId, i128>,
    /// Each increment with the counters that it went to.
    increments: Vec<(i128, Vec<OpId>)>,
    /// the operation that made a counter -> what it comes to
    sums: HashMap<OpId, i128>,
}

impl<'a> Counters<'a> {
    /// `counted_max` is how far from 0 a counter can be at most, by the sizes of the numbers in the document's
    /// changes.
    pub(crate) fn of(document: &'a Automerge, counted_max: u64) -> Counters<'a> {
        let may_be_beyond = i64::try_from(counted_max).is_err();
        Counters { document: Some(document), may_be_beyond, history: OnceCell::new() }
    }

    /// The value to show of the counter that the operation `id` made; `engine` is what the engine has.
    pub(crate) fn value(&self, id: &dyn Fn() -> ObjId, engine: i64) -> i64 {
        let Some(document) = self.document.filter(|_| self.may_be_beyond) else { return engine };
        let sum = op_id(&id()).and_then(|id| self.history(document).sums.get(&id).copied());
        sum.map_or(engine, clamped)
    }

    /// The value to show of the counters that the operations `ids` made in one place. `None` if there are several, and no history.
    pub(crate) fn total(&self, ids: &[ObjId], engine: i64) -> Option<i64> {
        if let [id] = ids {
            return Some(self.value(&|| id.clone(), engine));
        }
        let history = self.history(self.document?);
        let ids: Vec<OpId> = ids.iter().filter_map(op_id).collect();
        let mut total: i128 = 0;
        // What an entity began with counts once where it is equal.
        let mut initial: HashSet<i128> = HashSet::new();
        for id in &ids {
            let start = history.starts.get(id).copied().unwrap_or(0);
            if !is_certified_actor(id.actor().to_bytes()) || initial.insert(start) {
                total += start;
            }
        }
        for (by, counters) in &history.increments {
            let hits = counters.iter().filter(|counter| ids.contains(counter)).count();
            let times = if cfg!(bug = "counter-summed-twice") { hits } else { hits.min(1) };
            total += by * times as i128;
        }
        Some(clamped(total))
    }

    fn history(&self, document: &Automerge) -> &History {
        self.history.get_or_init(|| History::of(document))
    }
}

impl History {
    fn of(document: &Automerge) -> History {
        let mut history = History::default();
        for change in document.get_changes(&[]) {
            let change = change.decode();
            for (number, operation) in (change.start_op.get()..).zip(&change.operations) {
                match &operation.action {
                    OpType::Put(ScalarValue::Counter(start)) => {
                        let start = i128::from(i64::from(start));
                        let id = OpId::new(number, &change.actor_id);
                        *history.sums.entry(id.clone()).or_default() += start;
                        history.starts.insert(id, start);
                    }
                    OpType::Increment(by) => {
                        let counters: Vec<OpId> = operation.pred.iter().cloned().collect();
                        for counter in &counters {
                            *history.sums.entry(counter.clone()).or_default() += i128::from(*by);
                        }
                        history.increments.push((i128::from(*by), counters));
                    }
                    _ => {}
                }
            }
        }
        history
    }
}

fn clamped(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

fn op_id(id: &ObjId) -> Option<OpId> {
    match id {
        ObjId::Id(number, actor, _) => Some(OpId::new(*number, actor)),
        ObjId::Root => None,
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
