//! The same workloads on Headwater, its peers and raw floors, in one run on one machine; the tables and plots of `docs/performance.md`.
//!
//! - [`systems`] says what takes part and how its processes are started.
//! - [`workloads`] runs W1 to W7 on one system; [`local`] asks a replica and SQLite the same; [`floors`] takes what no system can go below.
//! - [`process`] and [`wire`] are the means: servers and clients as processes, and a proxy that counts bytes.
//! - [`figures`] is what came out; [`report`] and [`plot`] write it down.

mod figures;
mod floors;
mod local;
mod plot;
mod process;
mod report;
mod systems;
mod wire;
mod workloads;

use std::path::PathBuf;

use clap::Parser;
use figures::Figures;
use workloads::Sizes;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Compares Headwater with its peers.
#[derive(Parser)]
struct Options {
    /// Only these: floors, local, W1-W3, W4, W5, W6, W7.
    #[arg(long, value_delimiter = ',')]
    workload: Vec<String>,
    /// Only these systems, by the beginning of their names.
    #[arg(long, value_delimiter = ',')]
    system: Vec<String>,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Small sizes: to see that everything works, not to compare.
    #[arg(long)]
    quick: bool,
    /// Put tables and plots into this folder's performance.md and figures/.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Compare the figures with those of an earlier run, in place of measuring.
    #[arg(long, num_args = 2, value_names = ["EARLIER", "LATER"])]
    agree: Option<Vec<PathBuf>>,
}

fn main() -> Result<()> {
    headwater_benches::relay::serve_if_asked();
    let options = Options::parse();
    if let Some([earlier, later]) = options.agree.as_deref() {
        return figures::agree(&Figures::read(earlier)?, &Figures::read(later)?);
    }
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/compare");
    std::fs::create_dir_all(&target)?;
    let scratch = tempfile::tempdir_in(&target)?;
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full() };
    let mut figures = Figures::default();
    let wanted =
        |workload: &str| options.workload.is_empty() || options.workload.iter().any(|one| one == workload);
    if wanted("floors") {
        floors::measure(&sizes, scratch.path(), &mut figures)?;
    }
    if wanted("local") {
        local::measure(&sizes, scratch.path(), &mut figures)?;
    }
    let systems: Vec<_> = systems::all()?
        .into_iter()
        .filter(|system| {
            options.system.is_empty()
                || options.system.iter().any(|name| system.name.starts_with(name.as_str()))
        })
        .collect();
    let records = workloads::write_records(scratch.path(), &sizes)?;
    for round in 0..options.rounds.max(1) {
        for workload in workloads::ALL.iter().filter(|workload| wanted(workload.name)) {
            // By turns, so that a noisy stretch of the machine falls on all alike.
            for system in &systems {
                let directory = scratch.path().join(format!("{}-{}-{round}", workload.name, system.name));
                let bench =
                    workloads::Bench { system, sizes: &sizes, records: &records, directory: &directory };
                eprintln!("round {round}: {} on {}", workload.name, system.name);
                if let Err(error) = (workload.run)(&bench, &mut figures) {
                    eprintln!("    {error}");
                    figures.failed(workload.name, system.name, &error.to_string());
                }
                // A file that a process still writes is gone with the whole folder at the end.
                let _removed = std::fs::remove_dir_all(&directory);
            }
        }
    }
    let saved = target.join("figures.json");
    figures.save(&saved)?;
    let tables = format!("{}{}", report::promises(&systems), report::tables(&figures));
    println!("{tables}");
    println!("the figures are in {}", saved.display());
    if let Some(folder) = options.write {
        report::write(&folder.join("performance.md"), &tables)?;
        plot::draw_all(&figures, &folder.join("figures"))?;
    }
    Ok(())
}
