//! A relay in a process of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What the relays log, as for `RUST_LOG`. The default is `error`.
const LOG_VARIABLE: &str = "HEADWATER_RELAY_LOG";

/// A relay in a process of its own. It is killed when this is dropped.
pub(crate) struct RelayProcess {
    child: Child,
    pub(crate) url: String,
}

impl RelayProcess {
    /// Starts a relay on a free port and waits until it listens.
    pub(crate) fn start(data: &Path) -> RelayProcess {
        RelayProcess::started(spawn(&in_folder(data), Stdio::inherit()))
    }

    /// As `start`, with its log in a file.
    pub(crate) fn start_logging(data: &Path, log: &Path) -> RelayProcess {
        let log = std::fs::File::create(log).unwrap();
        RelayProcess::started(spawn(&in_folder(data), Stdio::from(log)))
    }

    /// As `start`. If it ends instead of listening, it must say that it failed; this gives its log.
    pub(crate) fn try_start(data: &Path) -> Result<RelayProcess, String> {
        RelayProcess::tried(spawn(&in_folder(data), Stdio::piped()))
    }

    /// As `start`, on a database, which a test may take away: the log of that is only shown if `HEADWATER_RELAY_LOG` is set.
    pub(crate) fn start_on(database: &str, options: &[&str]) -> RelayProcess {
        let log = if std::env::var_os(LOG_VARIABLE).is_some() { Stdio::inherit() } else { Stdio::null() };
        RelayProcess::started(spawn(&on_database(database, options), log))
    }

    /// As `try_start`, on a database.
    pub(crate) fn try_start_on(database: &str, options: &[&str]) -> Result<RelayProcess, String> {
        RelayProcess::tried(spawn(&on_database(database, options), Stdio::piped()))
    }

    fn started((mut child, said): (Child, String)) -> RelayProcess {
        let Some(url) = listens(&said) else { panic!("not a start: {said:?}, {:?}", child.wait()) };
        RelayProcess { url, child }
    }

    fn tried((child, said): (Child, String)) -> Result<RelayProcess, String> {
        if let Some(url) = listens(&said) {
            return Ok(RelayProcess { url, child });
        }
        let ended = child.wait_with_output().unwrap();
        assert!(!ended.status.success(), "it does not listen, and ended as if all was well");
        Err(String::from_utf8_lossy(&ended.stderr).into_owned())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("ws://").unwrap().parse().unwrap()
    }

    /// Stops the process where it is, as a machine does that sleeps. Its sockets stay open.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets a stopped process go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Ends the process as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // A process that has ended by itself is as dead.
        let _ended = self.child.kill().is_err();
        self.child.wait().unwrap();
    }

    /// Asks the process to stop, as whoever replaces it does, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().unwrap()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {signal} failed");
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn in_folder(data: &Path) -> Vec<OsString> {
    vec!["--data".into(), data.into()]
}

fn on_database(url: &str, options: &[&str]) -> Vec<OsString> {
    ["--database-url", url].iter().chain(options).map(OsString::from).collect()
}

/// A relay on a free port, and the first line that it says: empty once it has ended without a word.
fn spawn(place: &[OsString], log: Stdio) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater-relay"));
    let level = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "error".to_owned());
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(place).env("RUST_LOG", level);
    // Telling where a panic came from takes more memory than any attack may.
    command.env("RUST_BACKTRACE", "0");
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    (child, said)
}

fn listens(said: &str) -> Option<String> {
    said.trim().strip_prefix("listening on ").map(|address| format!("ws://{address}"))
}
