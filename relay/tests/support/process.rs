//! A relay in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A relay in a process of its own. It is killed when this is dropped.
pub(crate) struct RelayProcess {
    child: Child,
    pub(crate) url: String,
}

impl RelayProcess {
    /// Starts a relay on a free port and waits until it listens.
    pub(crate) fn start(data: &Path) -> RelayProcess {
        let (mut child, said) = spawn(data, Stdio::inherit());
        let Some(url) = listens(&said) else { panic!("not a start: {said:?}, {:?}", child.wait()) };
        RelayProcess { url, child }
    }

    /// As `start`. If it ends instead of listening, it must say that it failed; this gives its log.
    pub(crate) fn try_start(data: &Path) -> Result<RelayProcess, String> {
        let (child, said) = spawn(data, Stdio::piped());
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

/// A relay on a free port, and the first line that it says: empty once it has ended without a word.
fn spawn(data: &Path, log: Stdio) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater-relay"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).env("RUST_LOG", "error");
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
