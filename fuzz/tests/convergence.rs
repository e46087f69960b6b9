//! Replicas that edit, part and meet again end up the same. `HEADWATER_SEED=N` runs one seed, `HEADWATER_SEEDS=N` as many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_fuzz::{Plan, RelayFate, run};

fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|number: String| number.parse::<u64>().unwrap());
    match number("HEADWATER_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("HEADWATER_SEEDS").unwrap_or(count)).collect(),
    }
}

#[track_caller]
fn all_converge(test: &str, seeds: &[u64], plan: impl Fn(u64) -> Plan) {
    let (mut changes, mut events, mut cuts) = (0, 0, 0);
    let mut failures = Vec::new();
    for seed in seeds {
        let plan = plan(*seed);
        match std::panic::catch_unwind(|| run(&plan)) {
            Ok(Ok(outcome)) => {
                changes += outcome.changes;
                events += outcome.events;
                cuts += outcome.cuts;
            }
            Ok(Err(violation)) => failures.push(format!("seed {seed}: {violation}")),
            Err(_) => failures.push(format!("seed {seed}: it panicked, see above")),
        }
    }
    println!(
        "{} worlds: {changes} changes, {events} events, {cuts} cuts with something under way",
        seeds.len()
    );
    let again = format!("again: HEADWATER_SEED=N cargo test -p headwater-fuzz --test convergence {test}");
    assert!(
        failures.is_empty(),
        "{} of {} failed\n{}\n{again}",
        failures.len(),
        seeds.len(),
        failures.join("\n")
    );
}

#[test]
fn two_replicas_converge() {
    // Would leave two devices with different data for ever, without either of them noticing.
    all_converge("two_replicas_converge", &seeds(300), |seed| Plan::new(seed, 2));
}

#[test]
fn five_replicas_converge() {
    // Would show only where more than two histories meet: at a third device, in another order.
    all_converge("five_replicas_converge", &seeds(300), |seed| Plan::new(seed, 5));
}

#[test]
fn replicas_converge_although_the_relay_loses_what_it_had() {
    // Would lose what only the relay's newer disk held a position for, or stop a replica whose position no feed has any more.
    all_converge("replicas_converge_although_the_relay_loses_what_it_had", &seeds(300), |seed| {
        let mut plan = Plan::new(seed, 3);
        plan.relay = RelayFate::Restored;
        plan
    });
}

#[test]
fn two_runs_of_a_seed_are_the_same_run() {
    // Would make a failing seed worthless: run again, it would not fail.
    for seed in 0..5 {
        assert_eq!(run(&Plan::new(seed, 3)).unwrap(), run(&Plan::new(seed, 3)).unwrap(), "seed {seed}");
    }
}
