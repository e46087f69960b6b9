//! Many worlds, one after the other and side by side.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Outcome, Plan, Promise, Violation, run};

/// What many worlds came to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tally {
    /// How many worlds there were.
    pub worlds: u64,
    /// What they came to together. The trace is that of all of them, whatever their order.
    pub total: Outcome,
    /// Seeds that broke a promise, by ascending seed.
    pub failures: Vec<(u64, Violation)>,
}

/// When a campaign ends before its last seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It does not.
    TheEnd,
    /// As soon as a promise is broken.
    FirstFailure,
}

/// Runs a plan, and gives a panic as a violation.
///
/// # Errors
/// When a promise was broken.
pub fn run_caught(plan: &Plan) -> Result<Outcome, Violation> {
    catch_unwind(AssertUnwindSafe(|| run(plan))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation::new(Promise::NeverPanics, text.unwrap_or_else(|| "without a message".to_owned())))
    })
}

/// Runs the worlds of `seeds` on `threads` threads.
///
/// ```
/// use headwater_fuzz::Plan;
/// use headwater_fuzz::campaign::{Until, run_all};
/// let tally = run_all(0..2, 2, Until::TheEnd, |seed| Plan::calm(seed, 2));
/// assert_eq!((tally.worlds, tally.failures.len()), (2, 0));
/// ```
pub fn run_all(seeds: Range<u64>, threads: usize, until: Until, plan: impl Fn(u64) -> Plan + Sync) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let over = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = run_caught(&plan(seed));
                    if outcome.is_err() && until == Until::FirstFailure {
                        over.store(true, Ordering::Relaxed);
                    }
                    tally.lock().unwrap_or_else(PoisonError::into_inner).add(seed, outcome);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failures.sort_by_key(|(seed, _)| *seed);
    tally
}

impl Tally {
    /// Adds what other worlds came to.
    pub fn absorb(&mut self, other: Tally) {
        self.worlds += other.worlds;
        self.total.add(&other.total);
        self.failures.extend(other.failures);
    }

    fn add(&mut self, seed: u64, outcome: Result<Outcome, Violation>) {
        self.worlds += 1;
        match outcome {
            Err(violation) => self.failures.push((seed, violation)),
            Ok(outcome) => {
                // Whatever order they end in.
                let trace = outcome.trace.rotate_left((seed % 64) as u32);
                self.total.add(&Outcome { trace, ..outcome });
            }
        }
    }
}

impl Outcome {
    fn add(&mut self, other: &Outcome) {
        self.changes += other.changes;
        self.steps += other.steps;
        self.faults += other.faults;
        self.recoveries += other.recoveries;
        self.trace ^= other.trace;
    }
}
