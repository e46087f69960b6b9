//! A real Postgres for tests and benchmarks: a cluster of its own in a temporary folder, gone when the process ends.
//!
//! Postgres does not run as root, so a root process starts it as the user `postgres`, or `nobody`. Where
//! `HEADWATER_TEST_DATABASE_URL` names a server, [`Postgres::shared`] makes its databases there instead.
//!
//! A server that a test shares through a static is never dropped; its keeper process sees the pipe close and cleans up.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Names a server whose databases tests may make and drop, as a URL that ends in `/` and a database's name.
pub const URL_VARIABLE: &str = "HEADWATER_TEST_DATABASE_URL";

/// Holds the server until its parent says `keep`, or is gone: then the folder goes too, however the test ended.
const KEEPER: &str = r#"
trap "" INT TERM HUP
"$@" >>log 2>&1 &
server=$!
read -r word
while kill -QUIT $server 2>/dev/null; do sleep 0.05; done
[ "$word" = keep ] || rm -rf "$PWD"
"#;

const LAUNCH_MAX: Duration = Duration::from_secs(3);
const START_MAX: Duration = Duration::from_secs(60);

/// A Postgres server for tests.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Somebody else's, by its URL without the database's name.
    Given {
        base: String,
        maintenance: String,
    },
    Own(Cluster),
}

#[derive(Debug)]
struct Cluster {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    keeper: Mutex<Option<Child>>,
}

impl Postgres {
    /// The server that all tests of this process share. It does not wait for the disk.
    ///
    /// # Errors
    /// When there is no Postgres on this machine, or it does not start; the message says what to do.
    pub fn shared() -> io::Result<&'static Postgres> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            match std::env::var(URL_VARIABLE) {
                Ok(url) => Postgres::given(&url),
                Err(_) => Postgres::private(&["fsync=off"]),
            }
            .map_err(|error| error.to_string())
        });
        shared.as_ref().map_err(|error| io::Error::other(error.clone()))
    }

    /// A server of its own, with these settings (`name=value`): one that a test may kill.
    ///
    /// # Errors
    /// As for [`Postgres::shared`].
    pub fn private(settings: &[&str]) -> io::Result<Postgres> {
        let binaries = binaries()?;
        let user = unprivileged()?;
        let folder = std::env::temp_dir().join(format!("headwater-pg-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder)?;
        if let Some((user, group)) = user {
            chown(&folder, Some(user), Some(group))?;
        }
        let cluster = Cluster {
            binaries,
            port: free_port()?,
            user,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            keeper: Mutex::new(None),
            folder,
        };
        let data = cluster.data();
        let made = cluster.run(
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        )?;
        check("initdb", &made)?;
        let server = Postgres { place: Place::Own(cluster) };
        server.start()?;
        Ok(server)
    }

    fn given(url: &str) -> io::Result<Postgres> {
        let (base, _) = url
            .rsplit_once('/')
            .ok_or_else(|| io::Error::other(format!("{URL_VARIABLE} has no database")))?;
        Ok(Postgres { place: Place::Given { base: base.to_owned(), maintenance: url.to_owned() } })
    }

    /// Makes an empty database, and gives its URL.
    ///
    /// # Errors
    /// When the server does not.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        self.psql(&self.maintenance(), &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// The URL of a database on this server.
    pub fn url(&self, database: &str) -> String {
        match &self.place {
            Place::Given { base, .. } => format!("{base}/{database}"),
            Place::Own(cluster) => format!("postgres://postgres@127.0.0.1:{}/{database}", cluster.port),
        }
    }

    fn maintenance(&self) -> String {
        match &self.place {
            Place::Given { maintenance, .. } => maintenance.clone(),
            Place::Own(_) => self.url("postgres"),
        }
    }

    /// The port that it listens on, at 127.0.0.1. `None` if the server is somebody else's.
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Given { .. } => None,
            Place::Own(cluster) => Some(cluster.port),
        }
    }

    /// Runs SQL with the real `psql`, and gives what it prints: rows without headers, columns apart by `|`.
    ///
    /// # Errors
    /// When a statement fails: the message is the server's.
    pub fn psql(&self, url: &str, sql: &str) -> io::Result<String> {
        let program = binaries()?.join("psql");
        let output = Command::new(program)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
            .stdin(Stdio::null())
            .output()?;
        check("psql", &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs another of Postgres's programs, such as `pg_dump`, and gives what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> io::Result<Vec<u8>> {
        let output = Command::new(binaries()?.join(program)).args(arguments).stdin(Stdio::null()).output()?;
        check(program, &output)?;
        Ok(output.stdout)
    }

    /// Starts the server, and waits until it answers.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn start(&self) -> io::Result<()> {
        let Place::Own(cluster) = &self.place else { return Ok(()) };
        let began = Instant::now();
        loop {
            cluster.launch()?;
            while cluster.is_up() {
                if self.psql(&self.maintenance(), "SELECT 1").is_ok() {
                    return Ok(());
                }
                if began.elapsed() > START_MAX {
                    return Err(io::Error::other(format!("Postgres does not answer: {}", cluster.log())));
                }
                thread::sleep(Duration::from_millis(20));
            }
            // Right after a kill the old server's processes still hold its memory for a moment.
            if began.elapsed() > START_MAX {
                return Err(io::Error::other(format!("Postgres does not start: {}", cluster.log())));
            }
            cluster.release();
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the server's first process with `kill -9`; the others follow by themselves.
    ///
    /// # Errors
    /// When the server is somebody else's, or does not run.
    pub fn kill(&self) -> io::Result<()> {
        let cluster = self.own()?;
        let ended = Command::new("kill").args(["-9", &cluster.pid()?]).output()?;
        check("kill", &ended)?;
        cluster.release();
        Ok(())
    }

    /// Stops the server as `pg_ctl stop -m immediate` does: without finishing anything.
    ///
    /// # Errors
    /// When the server is somebody else's, or does not run.
    pub fn stop_immediately(&self) -> io::Result<()> {
        let cluster = self.own()?;
        let data = cluster.data();
        check("pg_ctl", &cluster.run("pg_ctl", &["stop", "-D", &data, "-m", "immediate", "-w"])?)?;
        cluster.release();
        Ok(())
    }

    /// Where its files are.
    ///
    /// # Errors
    /// When the server is somebody else's.
    pub fn folder(&self) -> io::Result<&Path> {
        Ok(&self.own()?.folder)
    }

    fn own(&self) -> io::Result<&Cluster> {
        match &self.place {
            Place::Own(cluster) => Ok(cluster),
            Place::Given { .. } => Err(io::Error::other("this server is not the test's own")),
        }
    }
}

impl Cluster {
    fn data(&self) -> String {
        self.folder.join("data").to_string_lossy().into_owned()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<Output> {
        // A server that outlived it would hold its pipes open.
        self.command(&self.binaries.join(program)).args(arguments).output()
    }

    fn launch(&self) -> io::Result<()> {
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", KEEPER, "sh"]).arg(self.binaries.join("postgres"));
        let port = format!("port={}", self.port);
        let folder = format!("unix_socket_directories={}", self.folder.display());
        let settings = [port.as_str(), "listen_addresses=127.0.0.1", folder.as_str(), "max_connections=200"];
        command.args(["-D", &self.data()]);
        for setting in settings.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = command.spawn()?;
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
        // It writes its pid file first of all, and without one it may be about to.
        let began = Instant::now();
        while !self.is_up() && began.elapsed() < LAUNCH_MAX {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn pid(&self) -> io::Result<String> {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let first = file.lines().next().unwrap_or_default().trim();
        if first.is_empty() {
            Err(io::Error::other("the server has no pid yet"))
        } else {
            Ok(first.to_owned())
        }
    }

    /// Whether the keeper still has a server.
    fn is_up(&self) -> bool {
        let pid = self.pid();
        pid.is_ok_and(|pid| {
            Command::new("kill").args(["-0", &pid]).output().is_ok_and(|sent| sent.status.success())
        })
    }

    /// Lets the keeper go, which ends the server if it still runs, and waits for both.
    fn release(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut keeper) = keeper {
            if let Some(mut pipe) = keeper.stdin.take() {
                let _gone = pipe.write_all(b"keep\n").is_err();
            }
            let _ended = keeper.wait().is_ok();
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let mut last: Vec<&str> = log.lines().rev().take(5).collect();
        last.reverse();
        last.join("; ")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.release();
        let _left_behind = fs::remove_dir_all(&self.folder).is_err();
    }
}

/// Where Postgres's programs are: on the path, or where Debian puts them.
fn binaries() -> io::Result<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    installed.sort();
    // The newest first; a wrapper of a single program on the path is no installation.
    installed.reverse();
    let complete = |folder: &PathBuf| {
        ["postgres", "initdb", "psql", "pg_dump"].iter().all(|name| folder.join(name).exists())
    };
    installed.into_iter().chain(on_path).find(complete).ok_or_else(|| {
        let message = "Postgres is not on this machine: install its server (`apt-get install postgresql`)";
        io::Error::new(io::ErrorKind::NotFound, format!("{message}, or set {URL_VARIABLE}"))
    })
}

/// Who runs the server, if this process is root: Postgres would refuse.
fn unprivileged() -> io::Result<Option<(u32, u32)>> {
    let id = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(name);
            let (user, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_it.then_some((user, group))
        })
    };
    let found = find("postgres").or_else(|| find("nobody"));
    found.map(Some).ok_or_else(|| io::Error::other("there is no user `postgres` or `nobody` to run Postgres"))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn check(program: &str, output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", said.trim())))
}
