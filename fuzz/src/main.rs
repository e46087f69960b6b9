//! Runs worlds from the command line.

use std::num::NonZero;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use headwater_fuzz::Plan;
use headwater_fuzz::campaign::{Tally, Until, run_all, run_caught};
use headwater_fuzz::shrink::shrink;

/// Runs whole worlds of replicas and relays, each made from a seed, and checks what they promise.
#[derive(Parser)]
struct Arguments {
    /// How many worlds run side by side. Default: one for each core.
    #[arg(long, global = true)]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the worlds of many seeds, and shrinks the first one that fails.
    Run {
        /// How many seeds.
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Run every world twice, and compare the hashes of all that was sent.
        #[arg(long)]
        twice: bool,
    },
    /// Runs new seeds until the time is over.
    Soak {
        /// How long, in minutes.
        minutes: f64,
        /// The first seed.
        #[arg(long, default_value_t = 1_000_000)]
        from: u64,
    },
    /// Runs one world: a seed, or a plan as a failure prints it.
    Replay {
        /// The seed, or the words of the plan.
        #[arg(required = true)]
        plan: Vec<String>,
        /// Look for the shortest plan that breaks the same promise.
        #[arg(long)]
        shrink: bool,
    },
    /// How many seeds it takes to break a promise, from several starting points. For planted bugs.
    Find {
        /// Seeds after which a bug counts as not found.
        #[arg(long, default_value_t = 2_000)]
        seeds_max: u64,
        /// How many starting points.
        #[arg(long, default_value_t = 5)]
        starts: u64,
    },
}

fn main() -> ExitCode {
    let Arguments { threads, command } = Arguments::parse();
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    let kept = match command {
        Command::Run { seeds, from, twice } => run_many(from, seeds, threads, twice),
        Command::Soak { minutes, from } => soak(from, Duration::from_secs_f64(minutes * 60.0), threads),
        Command::Replay { plan, shrink } => replay(&plan.join(" "), shrink),
        Command::Find { seeds_max, starts } => find(seeds_max, starts, threads),
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_many(from: u64, seeds: u64, threads: usize, twice: bool) -> bool {
    let started = Instant::now();
    let tally = run_all(from..from + seeds, threads, Until::TheEnd, Plan::from_seed);
    report(&tally, started.elapsed());
    let mut kept = tally.failures.is_empty();
    if twice {
        let again = run_all(from..from + seeds, threads, Until::TheEnd, Plan::from_seed);
        let equal = again.total == tally.total;
        println!("a second run of each seed: {}", if equal { "the same frames" } else { "OTHER FRAMES" });
        kept &= equal;
    }
    kept
}

fn soak(from: u64, time: Duration, threads: usize) -> bool {
    const AT_ONCE: u64 = 1_000;
    let started = Instant::now();
    let mut all = Tally::default();
    let mut next = from;
    while started.elapsed() < time && all.failures.is_empty() {
        let tally = run_all(next..next + AT_ONCE, threads, Until::FirstFailure, Plan::from_seed);
        next += AT_ONCE;
        all.absorb(tally);
        println!("{} worlds, {:.0} s", all.worlds, started.elapsed().as_secs_f64());
    }
    report(&all, started.elapsed());
    all.failures.is_empty()
}

/// Prints what worlds came to, and the shortest form of the first failure.
fn report(tally: &Tally, took: Duration) {
    let total = &tally.total;
    println!(
        "{} worlds, {} steps, {} faults, {} recoveries, {} changes, {} violations, {:.1} s, trace {:016x}",
        tally.worlds,
        total.steps,
        total.faults,
        total.recoveries,
        total.changes,
        tally.failures.len(),
        took.as_secs_f64(),
        total.trace
    );
    for (seed, violation) in tally.failures.iter().take(20) {
        println!("seed {seed}: {}", cut(&violation.to_string()));
    }
    if let Some((seed, _)) = tally.failures.first() {
        explain(&Plan::from_seed(*seed));
    }
}

fn explain(plan: &Plan) {
    match shrink(plan, 600) {
        Some((shortest, violation)) => {
            println!("\n{}\nagain: ./dev sim replay \"{shortest}\"", cut(&violation.to_string()));
        }
        None => println!("\nit does not fail when it is run alone: ./dev sim replay {}", plan.seed),
    }
}

fn replay(text: &str, and_shrink: bool) -> bool {
    let plan = match text.parse::<u64>() {
        Ok(seed) => Ok(Plan::from_seed(seed)),
        Err(_) => text.parse::<Plan>(),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            println!("{error}");
            return false;
        }
    };
    let outcome = run_caught(&plan);
    match &outcome {
        Ok(outcome) => println!("every promise was kept: {outcome:?}"),
        Err(violation) => println!("{violation}"),
    }
    if and_shrink && outcome.is_err() {
        explain(&plan);
    }
    outcome.is_ok()
}

fn find(seeds_max: u64, starts: u64, threads: usize) -> bool {
    /// Far enough apart that no two starting points share a seed.
    const APART: u64 = 1_000_000;
    let mut needed: Vec<u64> = Vec::new();
    let mut broken = String::new();
    for start in 0..starts {
        let from = (start + 1) * APART;
        let tally = run_all(from..from + seeds_max, threads, Until::FirstFailure, Plan::from_seed);
        match tally.failures.first() {
            Some((seed, violation)) => {
                needed.push(seed - from + 1);
                broken = violation.promise.to_string();
            }
            None => {
                println!("not found within {seeds_max} seeds from {from}");
                return false;
            }
        }
    }
    needed.sort_unstable();
    let median = needed.get(needed.len() / 2).copied().unwrap_or_default();
    println!("median {median}, most {}, by: {broken}", needed.last().copied().unwrap_or_default());
    true
}

/// Enough of a message to see what it is.
fn cut(text: &str) -> String {
    text.chars().take(600).collect()
}
