//! Shared workloads of the benchmarks: what they store, where, beside which baselines, and how the last table is printed.
//!
//! - [`record`] is the dataset: records of about 1 KB JSON, one creating change and five single-field edits each.
//! - [`data`] is real input, where it is there.
//! - [`prepared`] puts them into a replica's file, with a fixed clock and fixed randomness.
//! - [`relay`] runs relays, in this process or beside it.
//! - [`wire`] is load for a relay: clients that speak the protocol and keep nothing.
//! - [`raw`] is the same work without Headwater: plain redb and plain WebSocket.
//! - [`process`] asks the system for a process's memory and processor time.
//! - [`table`] takes the medians and prints each figure beside its baseline; [`curve`] draws how a cost grows.
//!
//! A benchmark that cannot run has nothing to report, so [`OrExit`] ends the process with the reason.

pub mod curve;
pub mod data;
pub mod prepared;
pub mod process;
pub mod raw;
pub mod record;
pub mod relay;
pub mod table;
pub mod wire;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use criterion::Criterion;

/// Takes the value, or ends the process with the reason.
///
/// ```
/// use headwater_benches::OrExit;
/// let number: u32 = "4".parse().or_exit("reading a number");
/// assert_eq!(number, 4);
/// ```
pub trait OrExit<T> {
    /// The value; `doing` says what failed if there is none.
    fn or_exit(self, doing: &str) -> T;
}

impl<T, E: Display> OrExit<T> for Result<T, E> {
    fn or_exit(self, doing: &str) -> T {
        self.unwrap_or_else(|error| exit(doing, &error.to_string()))
    }
}

impl<T> OrExit<T> for Option<T> {
    fn or_exit(self, doing: &str) -> T {
        self.unwrap_or_else(|| exit(doing, "nothing there"))
    }
}

fn exit(doing: &str, why: &str) -> ! {
    eprintln!("{doing}: {why}");
    std::process::exit(1)
}

/// A directory for one benchmark's files, inside the target directory: a temporary directory of the system can be in memory,
/// where a flush costs nothing.
pub fn directory() -> tempfile::TempDir {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench-data");
    std::fs::create_dir_all(&target).or_exit("making the directory for the benchmarks");
    tempfile::tempdir_in(target).or_exit("making a directory for a benchmark")
}

/// Whether this run measures. Under `cargo test --benches` everything runs once, small, to see that it works.
pub fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Runs one benchmark program: `bench`, if it is asked for.
pub fn run(name: &str, bench: impl FnOnce(&mut Criterion)) {
    relay::serve_if_asked();
    let mut criterion = criterion();
    if is_selected(name) {
        bench(&mut criterion);
    }
    criterion.final_summary();
}

/// Whether the benchmark `name` is asked for, by a part of its name on the command line or by no name at all. Saves preparing what
/// criterion would skip.
fn is_selected(name: &str) -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    // What follows an option is its value, except that cargo adds a lone `--bench`.
    let is_name =
        |pair: &&[String]| !pair[1].starts_with('-') && (!pair[0].starts_with("--") || pair[0] == "--bench");
    let mut names = arguments.windows(2).filter(is_name).map(|pair| pair[1].as_str()).peekable();
    names.peek().is_none() || names.any(|part| name.contains(part) || part.contains(name))
}

/// `full` when measuring, else a size that is done at once.
pub fn scaled(full: usize) -> usize {
    if is_measuring() { full } else { full.min(20) }
}

/// Criterion with few samples: every figure here is dominated by flushes, which many samples do not make steadier.
fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args()
}
