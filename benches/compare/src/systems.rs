//! What takes part, and how its processes are started.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::process::Launch;

/// One system.
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// What its server has done when it confirms an edit.
    pub(crate) confirms: &'static str,
    pub(crate) server: Launch,
    pub(crate) client: Launch,
    /// The most documents that it is asked to fetch: beyond, it was seen not to finish within the time of one command.
    pub(crate) documents_max: usize,
    /// The most connections that it is asked to hold.
    pub(crate) connections_max: usize,
}

/// All that are here. One that is not installed is left out, and that is said.
pub(crate) fn all() -> Result<Vec<System>> {
    let built = std::env::current_exe()?.parent().ok_or("this program is in no folder")?.to_owned();
    let npm = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("npm");
    let served = ["--port", "{port}", "--directory", "{directory}"];
    let node = |script: &str, arguments: &[&str]| {
        let script = npm.join(script).to_string_lossy().into_owned();
        Launch::new("node", &[&[script.as_str()], arguments].concat())
    };
    let samod = built.join("headwater-compare-samod");
    let systems = [
        System {
            name: "headwater",
            confirms: "on its disk",
            server: Launch::new(
                relay(&built),
                &["serve", "--listen", "127.0.0.1:{port}", "--data", "{directory}"],
            ),
            client: Launch::new(built.join("headwater-compare-headwater"), &["client"]),
            documents_max: usize::MAX,
            connections_max: usize::MAX,
        },
        System {
            name: "samod",
            confirms: "in memory; files without fsync",
            server: Launch::new(&samod, &[&["server"], &served[..]].concat()),
            client: Launch::new(&samod, &["client"]),
            documents_max: 1_000,
            connections_max: 200,
        },
        System {
            name: "automerge-repo",
            confirms: "in memory; files without fsync",
            server: node("automerge-repo/server.mjs", &served),
            client: node("automerge-repo/client.mjs", &[]),
            documents_max: 1_000,
            connections_max: 1_000,
        },
        System {
            name: "hocuspocus",
            confirms: "in memory; SQLite later",
            server: node("hocuspocus/server.mjs", &served),
            client: node("hocuspocus/client.mjs", &[]),
            documents_max: 10_000,
            connections_max: usize::MAX,
        },
        System {
            name: "y-sweet",
            confirms: "not at all: it echoes; files later",
            server: Launch::new("y-sweet", &["serve", "--port", "{port}", "{directory}"]),
            client: node("y-sweet/client.mjs", &[]),
            documents_max: 1_000,
            connections_max: usize::MAX,
        },
    ];
    Ok(systems.into_iter().filter(is_here).collect())
}

/// The relay's own binary: beside this one, or where a release build of the workspace puts it.
fn relay(built: &Path) -> PathBuf {
    let beside = built.join("headwater-relay");
    if beside.exists() {
        return beside;
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/headwater-relay")
}

fn is_here(system: &System) -> bool {
    let missing = [&system.server, &system.client].into_iter().find(|launch| !launch.is_here());
    if let Some(launch) = missing {
        eprintln!("{} is left out: there is no {}", system.name, launch.program.display());
    }
    missing.is_none()
}

impl Launch {
    fn is_here(&self) -> bool {
        if self.program.is_absolute() {
            return self.program.exists();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(&self.program).exists())
    }
}
