//! The verb `status`: what a replica holds, and, where a `watch` has it open, how its connection is.

use std::collections::BTreeMap;
use std::path::Path;

use headwater::{OpenError, Phase, Replica, SpaceId, Status};
use serde::{Deserialize, Serialize};

use crate::args::Options;
#[cfg(unix)]
use crate::beside::{self, Answer};
use crate::failure::Failure;
use crate::open::{ATTEMPTS_APART, ATTEMPTS_MAX, Missing};
use crate::output::{Output, counted};

pub(crate) fn status(options: &Options, output: &mut Output) -> Result<(), Failure> {
    let report = report(options)?;
    output.result(|| report.describe(&options.space), &report)
}

/// Reads the replica, or asks whoever has it open. A command that holds the file for a moment, or a watch
/// that is just starting, is waited for.
fn report(options: &Options) -> Result<Report, Failure> {
    let path = options.replica_path()?;
    let mut attempts = 0;
    loop {
        let in_use = match options.open(Missing::Refuse) {
            Ok(replica) => return Report::read(&replica, &options.space, &path),
            Err(in_use @ Failure::Open(OpenError::InUse { .. })) => in_use,
            Err(failure) => return Err(failure),
        };
        #[cfg(unix)]
        match beside::ask(&path, &options.space) {
            Answer::Report(report) => return Ok(*report),
            Answer::Nobody => {}
            Answer::Garbage => return Err(in_use),
        }
        attempts += 1;
        if attempts == ATTEMPTS_MAX {
            return Err(in_use);
        }
        std::thread::sleep(ATTEMPTS_APART);
    }
}

/// What is known of a replica. Programs read this as JSON, and so does `status` beside a running `watch`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    replica: String,
    device: String,
    /// The space that was asked about.
    space: String,
    /// Its changes that the relay does not have yet.
    pending: u64,
    spaces: Vec<SpaceReport>,
    /// `None` where no watch has the replica open.
    pub(crate) connection: Option<ConnectionReport>,
}

/// What is known of one space without asking the relay.
#[derive(Debug, Serialize, Deserialize)]
struct SpaceReport {
    id: String,
    pending: u64,
    /// Up to where this replica has the relay's feed of the space. `None` before the first sync.
    position: Option<PositionReport>,
    /// name -> entities that are not deleted.
    collections: BTreeMap<String, u64>,
    /// Why changes are kept apart, one per change.
    set_aside: Vec<String>,
}

/// A place in a feed, and which life of the feed it is in.
#[derive(Debug, Serialize, Deserialize)]
struct PositionReport {
    epoch: String,
    seq: u64,
}

/// How the connection of a watch is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionReport {
    phase: String,
    pending: u64,
    last_synced_ms: Option<i64>,
    progress: Option<ProgressReport>,
    error: Option<String>,
}

/// How far a catch-up is, in changes.
#[derive(Debug, Serialize, Deserialize)]
struct ProgressReport {
    done: u64,
    total: u64,
}

impl Report {
    pub(crate) fn read(replica: &Replica, space: &str, path: &Path) -> Result<Report, Failure> {
        let asked = replica.space(space).id();
        let mut ids = replica.spaces();
        if !ids.contains(&asked) {
            ids.push(asked);
        }
        let spaces: Vec<SpaceReport> =
            ids.into_iter().map(|id| SpaceReport::read(replica, id)).collect::<Result<_, _>>()?;
        let asked = asked.to_string();
        Ok(Report {
            replica: path.to_string_lossy().into_owned(),
            device: replica.device_id().to_string(),
            pending: spaces.iter().find(|space| space.id == asked).map_or(0, |space| space.pending),
            space: asked,
            spaces,
            connection: None,
        })
    }

    /// For people. `name` is what they call the space.
    fn describe(&self, name: &str) -> String {
        let mut lines = vec![format!("replica   {}", self.replica), format!("device    {}", self.device)];
        if let Some(connection) = &self.connection {
            connection.describe(&mut lines);
        }
        for space in &self.spaces {
            let name = if space.id == self.space { format!(" ({name})") } else { String::new() };
            lines.push(format!("space     {}{name}", space.id));
            space.describe(&mut lines);
        }
        lines.join("\n")
    }
}

impl SpaceReport {
    fn read(replica: &Replica, id: SpaceId) -> Result<SpaceReport, Failure> {
        let space = replica.space(id);
        let mut collections = BTreeMap::new();
        for name in space.collections() {
            let mut count = 0;
            for record in space.dynamic(name.as_str())?.iter() {
                record?;
                count += 1;
            }
            collections.insert(name.as_str().to_owned(), count);
        }
        let set_aside = space.set_aside()?;
        let set_aside =
            set_aside.iter().map(|aside| format!("entity {}: {}", aside.record.entity, aside.reason.message));
        let position = replica
            .position(id)?
            .watermark
            .map(|watermark| PositionReport { epoch: watermark.epoch.to_string(), seq: watermark.seq.get() });
        Ok(SpaceReport {
            id: id.to_string(),
            pending: space.pending()?,
            position,
            collections,
            set_aside: set_aside.collect(),
        })
    }

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("  waiting for the relay: {}", counted(self.pending, "change", "changes")));
        lines.push(match &self.position {
            Some(position) => format!("  position in the relay's feed: {}", position.seq),
            None => "  never synced".to_owned(),
        });
        lines.extend(self.set_aside.iter().map(|aside| format!("  set aside: {aside}")));
        let counts = self.collections.iter();
        lines.extend(
            counts.map(|(name, count)| format!("  {name}: {}", counted(*count, "entity", "entities"))),
        );
    }
}

impl ConnectionReport {
    pub(crate) fn new(status: &Status) -> ConnectionReport {
        ConnectionReport {
            phase: phase_name(status.phase).to_owned(),
            pending: status.pending,
            last_synced_ms: status.last_synced.map(|at| at.0),
            progress: status
                .progress
                .map(|progress| ProgressReport { done: progress.done, total: progress.total }),
            error: status.error.clone(),
        }
    }

    fn describe(&self, lines: &mut Vec<String>) {
        let error = self.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        lines.push(format!("watch     {}{error}", self.phase.replace('_', " ")));
        if let Some(ProgressReport { done, total }) = &self.progress {
            lines.push(format!("  {done} of {} came", counted(*total, "change", "changes")));
        }
        lines.push(match self.last_synced_ms {
            Some(at) => format!("  last synced at {at} ms since 1970"),
            None => "  not synced yet".to_owned(),
        });
    }
}

/// The phase as one word.
fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Offline => "offline",
        Phase::Connecting => "connecting",
        Phase::Syncing => "syncing",
        Phase::UpToDate => "up_to_date",
        Phase::Error => "error",
        _ => "unknown",
    }
}
