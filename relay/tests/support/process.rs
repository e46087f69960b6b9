//! A relay in a process of its own.

use std::io::{BufRead, BufReader};
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater-relay"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).env("RUST_LOG", "error");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("not a start: {line:?}"));
        RelayProcess { url: format!("ws://{address}"), child }
    }

    /// Ends the process as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // A process that has ended by itself is as dead.
        let _ended = self.child.kill().is_err();
        self.child.wait().unwrap();
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
