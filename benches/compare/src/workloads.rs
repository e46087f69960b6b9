//! W1 to W7 on one system, each on a fresh server: what the client processes are told, and what of their answers counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_benches::record::{Bag, EDITS};
use headwater_compare_adapter::{Answer, Command};

use crate::Result;
use crate::figures::Figures;
use crate::process::{Client, Server};
use crate::systems::System;
use crate::wire::Wire;

/// How much of everything.
pub(crate) struct Sizes {
    /// Of W1 to W3, in ascending order.
    pub(crate) documents: Vec<usize>,
    /// Documents that change between two connections of W3.
    changed: usize,
    propagated: usize,
    /// Edits of each of the 16 writers: waiting for each, and not waiting.
    written: (usize, usize),
    subscribers: Vec<usize>,
    fanned_out: usize,
    connections: Vec<usize>,
}

impl Sizes {
    pub(crate) fn full() -> Sizes {
        Sizes {
            documents: vec![1_000, 10_000],
            changed: 100,
            propagated: 500,
            written: (60, 1_000),
            subscribers: vec![1, 50, 200],
            fanned_out: 100,
            connections: vec![200, 1_000],
        }
    }

    pub(crate) fn quick() -> Sizes {
        Sizes {
            documents: vec![50],
            changed: 10,
            propagated: 20,
            written: (5, 20),
            subscribers: vec![10],
            fanned_out: 10,
            connections: vec![20],
        }
    }
}

/// One workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Bench<'_>, &mut Figures) -> Result<()>,
}

/// All of them, in the order in which they run.
pub(crate) const ALL: &[Workload] = &[
    Workload { name: "W1-W3", run: fetch_and_reconnect },
    Workload { name: "W4", run: propagate },
    Workload { name: "W5", run: write },
    Workload { name: "W6", run: fan_out },
    Workload { name: "W7", run: idle },
];

/// One system under one workload.
pub(crate) struct Bench<'a> {
    pub(crate) system: &'a System,
    pub(crate) sizes: &'a Sizes,
    pub(crate) records: &'a Path,
    pub(crate) directory: &'a Path,
}

impl Bench<'_> {
    fn server(&self, part: &str) -> Result<Server> {
        let directory = self.directory.join(part);
        std::fs::create_dir_all(&directory)?;
        Server::start(&self.system.server, &directory.join("server"), &directory.join("server.log"))
    }

    fn client(&self, part: &str, name: &str, server: std::net::SocketAddr) -> Result<Client> {
        let directory = self.directory.join(part).join(name);
        Client::start(
            &self.system.client,
            server,
            &directory,
            &self.directory.join(part).join(format!("{name}.log")),
        )
    }

    fn records(&self) -> PathBuf {
        self.records.to_owned()
    }
}

/// Writes the dataset in the form that the adapters read.
pub(crate) fn write_records(directory: &Path, sizes: &Sizes) -> Result<PathBuf> {
    let path = directory.join("records.json");
    let count = sizes.documents.last().copied().unwrap_or(0).max(200) as u64;
    let item = |number| {
        let bag = Bag::numbered(number);
        let edits: Vec<_> = (0..EDITS)
            .map(|edit| headwater::model::json_from_map(&bag.edit(edit), headwater::model::JsonStyle::Plain))
            .collect();
        serde_json::json!({ "fields": bag, "edits": edits })
    };
    let items: Vec<_> = (0..count).map(item).collect();
    std::fs::write(&path, serde_json::to_vec(&items)?)?;
    Ok(path)
}

const MARKER: f64 = 7.25;

fn fetch_and_reconnect(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let name = bench.system.name;
    for &documents in bench.sizes.documents.iter().filter(|count| **count <= bench.system.documents_max) {
        let part = format!("{documents}");
        let server = bench.server(&part)?;
        let ids = bench.directory.join(&part).join("ids.json");
        let mut filler = bench.client(&part, "filler", server.address)?;
        filler.run(&Command::Fill { records: bench.records(), documents, ids: ids.clone() })?;
        let wire = Wire::to(server.address)?;
        let mut reader = bench.client(&part, "reader", wire.address)?;
        let of = |workload: &str| format!("{workload} with {documents}");

        wire.take_bytes();
        let Answer::Fetched { seconds, documents: fetched } =
            reader.run(&Command::Fetch { ids: ids.clone() })?
        else {
            return Err(unexpected("fetch"));
        };
        if fetched != documents {
            return Err(format!("{fetched} of {documents} documents came").into());
        }
        figures.note(&of("W1"), "time, s", name, seconds);
        figures.note(&of("W1"), "on the wire, bytes", name, wire.take_bytes() as f64);
        figures.note(&of("W1"), "server at its peak, MiB", name, server.process().peak_kb() as f64 / 1024.0);

        for (workload, changed) in [("W2", 0), ("W3", bench.sizes.changed.min(documents))] {
            reader.run(&Command::Disconnect)?;
            if changed > 0 {
                filler.run(&Command::Edit { ids: ids.clone(), documents: changed, marker: MARKER })?;
            }
            wire.take_bytes();
            let reconnect = Command::Reconnect { ids: ids.clone(), changed, marker: MARKER };
            let Answer::Elapsed { seconds } = reader.run(&reconnect)? else {
                return Err(unexpected("reconnect"));
            };
            figures.note(&of(workload), "time, s", name, seconds);
            figures.note(&of(workload), "on the wire, bytes", name, wire.take_bytes() as f64);
        }
    }
    Ok(())
}

fn propagate(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let server = bench.server("propagate")?;
    let mut client = bench.client("propagate", "clients", server.address)?;
    let (documents, edits) = (200.min(bench.sizes.propagated), bench.sizes.propagated);
    let command = Command::Propagate { records: bench.records(), documents, edits, warm: edits / 10 };
    let Answer::Propagated { latencies_ms } = client.run(&command)? else {
        return Err(unexpected("propagate"));
    };
    note_latencies(figures, "W4", bench.system.name, latencies_ms);
    Ok(())
}

fn write(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    let (waiting, not_waiting) = bench.sizes.written;
    for (workload, edits, waits) in
        [("W5 one at a time", waiting, true), ("W5 pipelined", not_waiting, false)]
    {
        let server = bench.server(workload)?;
        let mut client = bench.client(workload, "writers", server.address)?;
        let before = server.process().processor_time();
        let command = Command::Write { records: bench.records(), writers: 16, edits, waits };
        let Answer::Written { seconds, edits } = client.run(&command)? else {
            return Err(unexpected("write"));
        };
        let spent = server.process().processor_time().saturating_sub(before);
        figures.note(workload, "edits, per s", bench.system.name, edits as f64 / seconds);
        let per_thousand = spent.as_secs_f64() * 1e3 / edits as f64;
        figures.note(workload, "server's processor time for 1,000, s", bench.system.name, per_thousand);
    }
    Ok(())
}

fn fan_out(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    for &subscribers in bench.sizes.subscribers.iter().filter(|count| **count <= bench.system.connections_max)
    {
        let workload = format!("W6 to {subscribers}");
        let server = bench.server(&workload)?;
        let mut client = bench.client(&workload, "clients", server.address)?;
        let before = server.process().processor_time();
        let edits = bench.sizes.fanned_out;
        let command = Command::FanOut { records: bench.records(), subscribers, per_second: 20, edits };
        let Answer::Delivered { latencies_ms, delivered, expected } = client.run(&command)? else {
            return Err(unexpected("fan out"));
        };
        let spent = server.process().processor_time().saturating_sub(before);
        note_latencies(figures, &workload, bench.system.name, latencies_ms);
        let share = 100.0 * delivered as f64 / expected.max(1) as f64;
        figures.note(&workload, "delivered, %", bench.system.name, share);
        figures.note(&workload, "server's processor time, s", bench.system.name, spent.as_secs_f64());
    }
    Ok(())
}

fn idle(bench: &Bench<'_>, figures: &mut Figures) -> Result<()> {
    for &connections in bench.sizes.connections.iter().filter(|count| **count <= bench.system.connections_max)
    {
        let workload = format!("W7 {connections}");
        let server = bench.server(&workload)?;
        let mut client = bench.client(&workload, "clients", server.address)?;
        let before = server.process().resident_kb();
        let Answer::Connected { connections } =
            client.run(&Command::Idle { records: bench.records(), connections })?
        else {
            return Err(unexpected("idle"));
        };
        // What was on its way is through by then.
        std::thread::sleep(Duration::from_millis(500));
        let grown = server.process().resident_kb().saturating_sub(before) as f64;
        figures.note(&workload, "each, KiB", bench.system.name, grown / connections as f64);
    }
    Ok(())
}

fn note_latencies(figures: &mut Figures, workload: &str, system: &str, mut latencies_ms: Vec<f64>) {
    latencies_ms.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| latencies_ms.get(latencies_ms.len() * percent / 100).copied();
    for (what, value) in [("p50, ms", at(50)), ("p99, ms", at(99))] {
        if let Some(value) = value {
            figures.note(workload, what, system, value);
        }
    }
}

fn unexpected(what: &str) -> crate::Error {
    format!("the client answered something else to {what}").into()
}
