//! Crashing a script at its operations, and judging what is left. Knows nothing of either store.

use std::fmt::Debug;
use std::rc::Rc;

use headwater_storage::testing::{CrashMode, Dice, Fault, Operation, SimulatedDisk};
use headwater_storage::{OpenError, StoreError};

/// A store under test.
pub(crate) trait Subject: 'static {
    type Store;
    type Step: Clone;
    /// Everything that can be seen of the store from outside.
    type State: PartialEq + Debug;

    fn open(disk: SimulatedDisk) -> Result<Self::Store, OpenError>;
    /// The fixed script for seed 0, a random one otherwise.
    fn script(seed: u64) -> Vec<Act<Self::Step>>;
    /// Whether the step is durable once it returned.
    fn durable(step: &Self::Step) -> bool;
    /// Carries out the step. Returns the numbers that must never be given out again.
    fn apply(store: &Self::Store, step: &Self::Step) -> Result<Vec<u64>, StoreError>;
    /// A few writes that suit any state. Different seeds write different things.
    fn further(seed: u64) -> Vec<Self::Step>;
    fn state(store: &Self::Store) -> Result<Self::State, StoreError>;
    /// Asserts what holds in every state.
    fn verify(store: &Self::Store, state: &Self::State);
}

/// One act of a script.
#[derive(Clone)]
pub(crate) enum Act<Step> {
    Do(Step),
    Reopen,
}

/// In a case to replay, instead of a fault: every fault while the file is opened again after an act.
const IN_RECOVERY: u64 = 3;

#[derive(Default)]
struct Tally {
    images: u64,
    recoveries: u64,
    faults: u64,
}

impl Tally {
    /// Called only when every check has held.
    fn print(&self, test: &str) {
        let Self { images, recoveries, faults } = self;
        println!(
            "{test}: {recoveries} recoveries, {images} images, {faults} faults, 0 acknowledged commits lost"
        );
    }
}

/// A script that ran without any fault: which states it went through, and when.
struct Recorded<S: Subject> {
    script: Vec<Act<S::Step>>,
    /// The state after creation, then after each act.
    states: Vec<Rc<S::State>>,
    /// How many changes the disk had seen by then.
    marks: Vec<u64>,
    /// The largest number given out by then.
    numbers: Vec<u64>,
    disk: SimulatedDisk,
}

/// What may be found after a crash: any of these states, and no number up to this one given out again.
struct Expected<State> {
    states: Vec<Rc<State>>,
    number: u64,
}

/// Crashes the fixed script at every operation in every mode, then random scripts.
pub(crate) fn crashes<S: Subject>(test: &str) {
    if let Some(case) = replayed() {
        let recorded = Recorded::<S>::new(case[0]);
        crash_at(&recorded, case[1], mode(case[2]), case[3], &mut Tally::default());
        return;
    }
    let mut tally = Tally::default();
    let recorded = Recorded::<S>::new(0);
    let mut replay = recorded.disk.replay();
    for at in 0..=recorded.disk.changes() {
        for (number, crash) in CrashMode::ALL.into_iter().enumerate() {
            // Without anything unsynced every mode leaves the same image. What all lost leaves changes only after a sync, what it
            // may leave also when an act has returned.
            let same = match crash {
                CrashMode::Kept => false,
                CrashMode::Lost => replay.pending() != 1 && !recorded.marks.contains(&at),
                _ => replay.pending() == 0,
            };
            if same {
                continue;
            }
            guarded(test, [0, at, number as u64, at], &mut tally, |tally| {
                judge(&recorded, at, replay.disk(crash, at), at, tally);
            });
        }
        replay.advance();
    }
    for seed in random_seeds() {
        let mut dice = Dice::new(seed);
        let recorded = Recorded::<S>::new(seed);
        let mut cases = [(); 20]
            .map(|()| [seed, dice.below(recorded.disk.changes() + 1), dice.below(5), dice.next_u64()]);
        cases.sort_unstable();
        let mut replay = recorded.disk.replay();
        let mut reached = 0;
        for case in cases {
            while reached < case[1] {
                reached += 1;
                replay.advance();
            }
            let disk = replay.disk(mode(case[2]), case[3]);
            let run = |tally: &mut _| judge(&recorded, case[1], disk, case[3], tally);
            guarded(test, case, &mut tally, run);
        }
    }
    tally.print(test);
}

/// Makes every operation of the fixed script fail once in each way that it can, then operations of random scripts.
pub(crate) fn faults<S: Subject>(test: &str) {
    if let Some(case) = replayed() {
        let recorded = Recorded::<S>::new(case[0]);
        match case[2] {
            IN_RECOVERY => faults_in_recovery(&recorded, case[1] as usize, &mut Tally::default()),
            kind => fault_at(&recorded, case[1], fault(kind), case[3], &mut Tally::default()),
        }
        return;
    }
    let mut tally = Tally::default();
    let recorded = Recorded::<S>::new(0);
    for (at, operation) in recorded.undisturbed().into_iter().enumerate() {
        for kind in kinds(operation) {
            let case = [0, at as u64, *kind, at as u64];
            let run = |tally: &mut _| fault_at(&recorded, case[1], fault(case[2]), case[3], tally);
            guarded(test, case, &mut tally, run);
        }
    }
    // The same while a file that was not closed is opened again, after each act of the script.
    for done in 0..recorded.marks.len() {
        let case = [0, done as u64, IN_RECOVERY, 0];
        guarded(test, case, &mut tally, |tally| faults_in_recovery(&recorded, done, tally));
    }
    for seed in random_seeds() {
        let mut dice = Dice::new(seed);
        let recorded = Recorded::<S>::new(seed);
        let operations = recorded.undisturbed().len() as u64;
        for _ in 0..5 {
            let case = [seed, dice.below(operations), dice.below(3), dice.next_u64()];
            let run = |tally: &mut _| fault_at(&recorded, case[1], fault(case[2]), case[3], tally);
            guarded(test, case, &mut tally, run);
        }
    }
    tally.print(test);
}

impl<S: Subject> Recorded<S> {
    fn new(seed: u64) -> Self {
        let script = S::script(seed);
        let disk = SimulatedDisk::new();
        let mut store = Some(S::open(disk.clone()).unwrap());
        let (mut states, mut marks, mut numbers) = (Vec::new(), Vec::new(), vec![0]);
        let mut note = |store: &Option<S::Store>| {
            marks.push(disk.changes());
            let store = store.as_ref().unwrap();
            let state = S::state(store).unwrap();
            S::verify(store, &state);
            states.push(Rc::new(state));
        };
        note(&store);
        for act in &script {
            let mut number = *numbers.last().unwrap();
            match act {
                Act::Do(step) => {
                    for given in S::apply(store.as_ref().unwrap(), step).unwrap() {
                        assert!(given > number, "the number {given} was given out again");
                        number = given;
                    }
                }
                Act::Reopen => {
                    drop(store.take());
                    store = Some(S::open(disk.clone()).unwrap());
                }
            }
            numbers.push(number);
            note(&store);
        }
        drop(store);
        Self { script, states, marks, numbers, disk }
    }

    /// The operations of the script alone. Looking at the states in between reads more.
    fn undisturbed(&self) -> Vec<Operation> {
        let disk = SimulatedDisk::new();
        let mut store = Some(S::open(disk.clone()).unwrap());
        for act in &self.script {
            match act {
                Act::Do(step) => drop(S::apply(store.as_ref().unwrap(), step).unwrap()),
                Act::Reopen => {
                    drop(store.take());
                    store = Some(S::open(disk.clone()).unwrap());
                }
            }
        }
        drop(store);
        disk.operations()
    }

    /// What a crash may leave once the acts up to `done` have returned and the next one may have begun.
    fn expected(&self, done: usize) -> Expected<S::State> {
        let durable = |act: &Act<S::Step>| matches!(act, Act::Do(step) if S::durable(step));
        let from = (1..=done).rev().find(|act| durable(&self.script[act - 1])).unwrap_or(0);
        let to = (done + 1).min(self.script.len());
        Expected { states: self.states[from..=to].to_vec(), number: self.numbers[done] }
    }
}

fn crash_at<S: Subject>(recorded: &Recorded<S>, at: u64, mode: CrashMode, seed: u64, tally: &mut Tally) {
    let mut replay = recorded.disk.replay();
    for _ in 0..at {
        replay.advance();
    }
    judge(recorded, at, replay.disk(mode, seed), seed, tally);
}

/// Judges the image that a crash before the change `at` left.
fn judge<S: Subject>(recorded: &Recorded<S>, at: u64, disk: SimulatedDisk, seed: u64, tally: &mut Tally) {
    tally.images += 1;
    let done = recorded.marks.iter().rposition(|mark| *mark <= at);
    let Some(done) = done else {
        // A file gets its name only once creation is done, so what is left here is thrown away. It must not do harm though.
        tally.recoveries += 1;
        if let Ok(store) = S::open(disk) {
            assert!(S::state(&store).unwrap() == *recorded.states[0], "a half-made store has contents");
        }
        return;
    };
    recover::<S>(&disk, &recorded.expected(done), seed, 1, tally);
}

/// Opens what a crash left, checks it, goes on writing, and crashes again while that went on.
fn recover<S: Subject>(
    disk: &SimulatedDisk,
    expected: &Expected<S::State>,
    seed: u64,
    again: u32,
    tally: &mut Tally,
) {
    tally.recoveries += 1;
    let before = disk.changes();
    let store = S::open(disk.clone()).unwrap_or_else(|error| panic!("does not open again: {error}"));
    let state = S::state(&store).unwrap();
    if !expected.states.iter().any(|allowed| **allowed == state) {
        let differences = expected.states.iter().map(|allowed| difference(&**allowed, &state));
        panic!(
            "a state that was never committed, or an acknowledged one is lost; crashes still to come: {again}\n{}",
            differences.collect::<Vec<_>>().join("\n")
        );
    }
    S::verify(&store, &state);
    if before > 0 {
        // Only the process ended, so the file shows what the disk may not have. Whoever reads it relies on it, and a push that is
        // found in it is acknowledged.
        tally.recoveries += 1;
        let kept = S::open(disk.crash(CrashMode::Lost, 0)).unwrap();
        let kept = S::state(&kept).unwrap();
        assert!(kept == state, "what is shown is not durable\n{}", difference(&state, &kept));
    }
    let (mut states, mut marks, mut numbers) =
        (vec![Rc::new(state)], vec![disk.changes()], vec![expected.number]);
    let further = S::further(seed.wrapping_add(again.into()));
    for step in &further {
        let mut number = *numbers.last().unwrap();
        for given in S::apply(&store, step).unwrap() {
            assert!(given > number, "the number {given} was given out again, {number} was the last one");
            number = given;
        }
        numbers.push(number);
        if again > 0 {
            states.push(Rc::new(S::state(&store).unwrap()));
            marks.push(disk.changes());
        }
    }
    S::verify(&store, &S::state(&store).unwrap());
    drop(store);
    if again == 0 {
        return;
    }
    let mut dice = Dice::new(seed);
    let after = disk.changes();
    // Half of the crashes hit the recovery itself, if it wrote anything.
    let at = match dice.below(2) {
        0 => before + dice.below(marks[0] - before + 1),
        _ => before + dice.below(after - before + 1),
    };
    let mut replay = disk.replay();
    for _ in 0..at {
        replay.advance();
    }
    let image = replay.disk(mode(dice.below(5)), dice.next_u64());
    // A first crash may have left what was never acknowledged; a second one may take it away again.
    let next = match marks.iter().rposition(|mark| *mark <= at) {
        None => Expected { states: expected.states.clone(), number: expected.number },
        Some(done) => {
            let to = (done + 1).min(further.len());
            let durable = (1..=done).rev().find(|act| S::durable(&further[act - 1]));
            let mut allowed = states[durable.unwrap_or(0)..=to].to_vec();
            if durable.is_none() {
                allowed.extend(expected.states.iter().cloned());
            }
            Expected { states: allowed, number: numbers[done] }
        }
    };
    recover::<S>(&image, &next, seed.wrapping_add(1), again - 1, tally);
}

/// Runs the script on a disk whose operation `at` fails, and checks the error, the poisoning, and what is there afterwards.
fn fault_at<S: Subject>(recorded: &Recorded<S>, at: u64, fault: Fault, seed: u64, tally: &mut Tally) {
    tally.faults += 1;
    let disk = SimulatedDisk::new();
    disk.fail_at(at, fault);
    let mut store = match S::open(disk.clone()) {
        Ok(store) => Some(store),
        Err(OpenError::Io { .. }) => return,
        Err(other) => panic!("a failing disk was reported as {other:?}"),
    };
    let mut done = 0;
    for act in &recorded.script {
        match act {
            Act::Do(step) => {
                let open = store.as_ref().unwrap();
                if let Err(error) = S::apply(open, step) {
                    assert!(error.needs_reopen(), "a failing disk was reported as {error:?}");
                    let again = S::apply(open, step).map(|_| ());
                    assert!(matches!(again, Err(StoreError::Poisoned)), "not poisoned: {again:?}");
                    let read = S::state(open).map(|_| ());
                    assert!(matches!(read, Err(StoreError::Poisoned)), "reads are not poisoned: {read:?}");
                    break;
                }
            }
            Act::Reopen => {
                drop(store.take());
                match S::open(disk.clone()) {
                    // Closing has nobody to tell of an error. Deferred commits may be lost then, so the script ends here.
                    Ok(_) if disk.operations().len() as u64 > at => break,
                    Ok(open) => store = Some(open),
                    Err(OpenError::Io { .. }) => break,
                    Err(other) => panic!("a failing disk was reported as {other:?}"),
                }
            }
        }
        done += 1;
    }
    drop(store);
    assert_eq!(disk.failures(), 1, "the fault never came");
    let expected = recorded.expected(done);
    let mut dice = Dice::new(seed);
    tally.images += 2;
    let crashed = disk.crash(mode(dice.below(5)), dice.next_u64());
    recover::<S>(&crashed, &expected, seed, 1, tally);
    // The process starts again and the machine goes on: what a failed sync left unwritten can still be read.
    recover::<S>(&disk, &expected, seed, 1, tally);
}

/// Crashes after the act `done`, then makes every operation of the opening fail once. The next opening has to find everything.
fn faults_in_recovery<S: Subject>(recorded: &Recorded<S>, done: usize, tally: &mut Tally) {
    let mut replay = recorded.disk.replay();
    for _ in 0..recorded.marks[done] {
        replay.advance();
    }
    let untouched = replay.disk(CrashMode::Kept, 0);
    let store = S::open(untouched.clone()).unwrap();
    let operations = untouched.operations();
    drop(store);
    for (at, operation) in operations.into_iter().enumerate() {
        for kind in kinds(operation) {
            tally.faults += 1;
            let disk = replay.disk(CrashMode::Kept, 0);
            disk.fail_at(at as u64, fault(*kind));
            match S::open(disk.clone()) {
                Ok(_) | Err(OpenError::Io { .. }) => {}
                Err(other) => {
                    panic!("a failing disk was reported as {other:?}, at operation {at} of opening")
                }
            }
            assert_eq!(disk.failures(), 1, "the fault never came");
            recover::<S>(&disk, &recorded.expected(done), at as u64, 0, tally);
        }
    }
}

/// The first line in which two states differ.
fn difference(allowed: &impl Debug, found: &impl Debug) -> String {
    let (allowed, found) = (format!("{allowed:#?}"), format!("{found:#?}"));
    let number = allowed.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(number).unwrap_or("the end").trim().to_owned();
    format!("line {number}: allowed {}, found {}", line(&allowed), line(&found))
}

/// Prints how to replay the case if it fails.
fn guarded(test: &str, case: [u64; 4], tally: &mut Tally, run: impl FnOnce(&mut Tally)) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(tally)));
    if let Err(panic) = result {
        eprintln!("found after {} images, {} faults", tally.images, tally.faults);
        let case = case.map(|number| number.to_string()).join(".");
        // redb reads more where its own checks are compiled in, so an operation has another index there.
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        eprintln!(
            "replay: HEADWATER_CRASH={case} cargo test{profile} -p headwater-storage --test crash -- {test}"
        );
        std::panic::resume_unwind(panic);
    }
}

/// The case to replay: seed of the script, operation, mode or fault, seed of the crash.
fn replayed() -> Option<[u64; 4]> {
    let case = std::env::var("HEADWATER_CRASH").ok()?;
    let numbers: Vec<u64> = case.split('.').map(|number| number.parse().unwrap()).collect();
    Some(numbers.try_into().expect("four numbers with dots between them"))
}

fn random_seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let first = number("HEADWATER_CRASH_SEED").unwrap_or(1);
    let count = number("HEADWATER_CRASHES").unwrap_or(0);
    if count > 0 {
        println!("random scripts with the seeds {first}..{}", first + count);
    }
    first..first + count
}

fn mode(number: u64) -> CrashMode {
    CrashMode::ALL[number as usize]
}

/// The faults that an operation can meet.
fn kinds(operation: Operation) -> &'static [u64] {
    match operation {
        Operation::Read => &[0],
        Operation::Write | Operation::SetLen => &[0, 1],
        Operation::Sync => &[0, 1, 2],
    }
}

fn fault(number: u64) -> Fault {
    [Fault::Eio, Fault::DiskFull, Fault::FailedSync][number as usize]
}
