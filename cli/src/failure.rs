//! What can go wrong, and the exit code for each: the only place that knows one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use headwater::model::JsonError;
use headwater::{
    CollectionName, ConnectError, EditError, EntityId, NameError, OpenError, ReadError, StoreError, SyncError,
};
use serde_json::{Value as Json, json};

use crate::output::{Format, counted, tell};
use crate::stop::Signal;

/// Something was not done.
const NOT_DONE: u8 = 1;
/// The command line was not understood. The same code as clap's own.
const USAGE: u8 = 2;
/// With a signal's number added, what a shell says of a program that the signal ended.
const SIGNAL_BASE: u8 = 128;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no file at the replica's path, and the verb only looks at what is there.
    #[error("there is no replica at {}; `headwater init` creates one", .0.display())]
    NoReplica(PathBuf),
    /// Neither the option nor the environment says where the replica is, and there is no home directory.
    #[error("there is no home directory to keep the replica in; give --replica PATH")]
    NoHome,
    /// Sync was asked for without saying with whom.
    #[error("no relay was given; use --relay URL or set HEADWATER_RELAY")]
    NoRelay,
    /// The replica could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no such entity.
    #[error("there is no entity {0} in this collection")]
    NotFound(EntityId),
    /// The entity is deleted.
    #[error("entity {0} is deleted; `headwater restore` brings it back")]
    Deleted(EntityId),
    /// A collection that is only looked at has never had an entity.
    #[error(
        "there has never been a collection `{0}` in this space; `headwater status` shows those that there are"
    )]
    NoCollection(CollectionName),
    /// A record on the command line is no JSON.
    #[error("the record is {0}; put it in single quotes: '{{\"name\": \"Guji\"}}'")]
    BadRecord(JsonError),
    /// A record on the command line is JSON, but no record.
    #[error("the record cannot be stored: {0}")]
    BadFields(JsonError),
    /// A record whose own `id` has no place to go.
    #[error("{0}")]
    TwoIds(String),
    /// An assignment to `id`.
    #[error("`id` is the entity's identity and cannot be set")]
    SetsId,
    /// A record of an import cannot be stored, and nobody asked to go on without it.
    #[error(
        "{place}: {reason}; what is before it is imported ({}), it and what comes after it is not; --skip-bad goes on \
         without such records", counted(*.imported, "record", "records")
    )]
    BadLine { place: String, imported: u64, reason: String },
    /// An import went on without some records. Each was named as it came.
    #[error("the import left out {}; correct the file, and import it again", counted(*.skipped, "record", "records"))]
    Skipped { skipped: u64 },
    /// An import ended early.
    #[error("{failure}; {} got in{}", counted(*.imported, "record", "records"), going_on(*.unknown))]
    Unfinished { imported: u64, unknown: u64, failure: Box<Failure> },
    /// The program was asked to end.
    #[error("stopped by {}", .0.name())]
    Stopped(Signal),
    /// A write failed.
    #[error("{0}")]
    Edit(EditError),
    /// A read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The replica's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored changes do not load.
    #[error(
        "{} did not load and went aside; `headwater sync` fetches a whole copy of what the relay has",
        counted(*.0 as u64, "change", "changes")
    )]
    Damaged(usize),
    /// Entities are wrong, and no change is at fault.
    #[error(
        "an alarm about {} for which no change is at fault; everything works on, and this is a bug to report",
        counted(*.0 as u64, "entity", "entities")
    )]
    Alarms(usize),
    /// No change that is kept apart has this hash.
    #[error("no change that is kept apart, or more than one, begins with `{0}`")]
    NotSetAside(String),
    /// A change that is kept apart cannot be used.
    #[error("it stays apart: {0}")]
    NotReleased(String),
    /// What a change that is kept apart had written could not be written again.
    #[error("nothing was written: {0}")]
    NotApplied(String),
    /// A file that was named could not be read or written.
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    /// Standard output failed, or the runtime could not start.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A round was not finished.
    #[error("{0}; nothing is lost: what was not synced waits for the next `headwater sync`")]
    Sync(SyncError),
    /// The connection was not even tried.
    #[error(transparent)]
    Connect(ConnectError),
    /// A connection ended that will not come back by itself.
    #[error("the connection cannot go on: {0}")]
    Connection(String),
    /// The round was finished, but one of the two sides did not take every change.
    #[error(
        "one of the two sides did not take {}; this device keeps what was not taken apart, and `headwater status` says why",
        counted(*.rejected, "change", "changes")
    )]
    Rejected { rejected: u64 },
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Failure {
        match error {
            EditError::NotFound(id) => Failure::NotFound(id),
            error => Failure::Edit(error),
        }
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Failure {
        match error {
            SyncError::Connect(error) => error.into(),
            error => Failure::Sync(error),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        Failure::Connect(error)
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Failure {
        Failure::Edit(error.into())
    }
}

impl Failure {
    pub(crate) fn file(path: &Path, error: io::Error) -> Failure {
        Failure::File { path: path.to_owned(), error }
    }

    /// Prints the failure and gives the exit code for it.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        // The reader of a pipe that has seen enough is no failure.
        if matches!(self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        print(format, self.kind(), &self.to_string(), self.imported());
        ExitCode::from(self.code())
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::NoHome
            | Failure::NoRelay
            | Failure::BadRecord(_)
            | Failure::BadFields(_)
            | Failure::TwoIds(_)
            | Failure::SetsId
            | Failure::Connect(ConnectError::BadUrl { .. })
            | Failure::Edit(EditError::BadName(_)) => USAGE,
            Failure::Stopped(signal) => SIGNAL_BASE + signal.number(),
            Failure::Unfinished { failure, .. } => failure.code(),
            _ => NOT_DONE,
        }
    }

    /// How many records an import that failed has stored.
    fn imported(&self) -> Option<u64> {
        match self {
            Failure::BadLine { imported, .. } | Failure::Unfinished { imported, .. } => Some(*imported),
            _ => None,
        }
    }

    /// A word that scripts can rely on.
    fn kind(&self) -> &'static str {
        match self {
            Failure::NoReplica(_) => "no_replica",
            Failure::NoHome | Failure::NoRelay | Failure::SetsId => "usage",
            Failure::Connect(ConnectError::BadUrl { .. }) => "usage",
            Failure::Open(OpenError::InUse { .. }) => "in_use",
            Failure::Open(_) => "open",
            Failure::NotFound(_) => "not_found",
            Failure::Deleted(_) => "deleted",
            Failure::BadRecord(_) | Failure::BadFields(_) | Failure::TwoIds(_) => "bad_json",
            Failure::NoCollection(_) => "no_collection",
            Failure::BadLine { .. } => "bad_line",
            Failure::Skipped { .. } => "skipped",
            Failure::Unfinished { failure, .. } => failure.kind(),
            Failure::Stopped(_) => "stopped",
            Failure::Edit(EditError::BadName(_)) => "usage",
            Failure::Edit(EditError::Exists(_) | EditError::OtherCollection { .. }) => "exists",
            Failure::Edit(_) => "edit",
            Failure::Read(_) | Failure::Store(_) => "store",
            Failure::File { .. } | Failure::Io(_) => "io",
            Failure::Sync(_) | Failure::Connect(_) | Failure::Connection(_) => "sync",
            Failure::Rejected { .. } => "rejected",
            Failure::Damaged(_) => "damaged",
            Failure::Alarms(_) => "alarms",
            Failure::NotSetAside(_) => "not_found",
            Failure::NotReleased(_) => "not_released",
            Failure::NotApplied(_) => "not_applied",
        }
    }
}

/// Prints what clap found wrong with the command line, or the help that was asked for.
pub(crate) fn report_parse_error(error: &clap::Error) -> ExitCode {
    // The arguments did not parse, so this option has to be looked for by hand.
    let wants_json =
        std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let message = error.render().to_string();
        print(Format::Json, "usage", message.trim().trim_start_matches("error: "), None);
    } else if error.print().is_err() {
        return ExitCode::from(NOT_DONE);
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::from(USAGE), ExitCode::from)
}

/// How an import that ended early is gone on with.
fn going_on(unknown: u64) -> String {
    match unknown {
        0 => ". Running the import again goes on from there".to_owned(),
        unknown => format!(
            ". Running the import again goes on from there, but {unknown} of them have neither an `id` nor a key and would be \
             added a second time: name the field that tells them apart with --key, or take them out of the file"
        ),
    }
}

fn print(format: Format, kind: &str, message: &str, imported: Option<u64>) {
    match format {
        Format::Human => tell(format_args!("error: {message}")),
        Format::Json => {
            let mut error = json!({ "kind": kind, "message": message });
            if let Some(imported) = imported {
                error["imported"] = Json::from(imported);
            }
            tell(json!({ "error": error }));
        }
    }
}
