//! How `status` asks a running `watch`: over a Unix domain socket beside the replica's file, which only the
//! file's owner can open.
//!
//! One line of JSON asks, one line of JSON answers. The replica itself stays with the watch, which holds the
//! file's lock: so there is one watch of a file at most, and a socket to which nobody listens was left behind
//! by one that was killed.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use headwater::{Replica, Status};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::status::{ConnectionReport, Report};

/// A longer path does not fit into the address of a socket on every system.
const PATH_BYTES_MAX: usize = 90;
const REQUEST_BYTES_MAX: u64 = 4096;
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Who connects and says nothing is let go after this time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// Who answers nothing within this time is no watch.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Questions that are answered at the same time. Others wait.
const QUESTIONS_MAX: usize = 8;
/// The namespace of sockets that are called by the path of a replica.
const NAMESPACE: Uuid = Uuid::from_u128(0x6865_6164_7761_5465_b2d1_736f_636b_6574);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// How the replica is, with this space as the one that is asked about.
    Status { space: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Status(Box<Report>),
    Refused(String),
}

/// What came of asking.
pub(crate) enum Answer {
    Report(Box<Report>),
    /// No watch listens.
    Nobody,
    /// Somebody listens who is no watch of this version, or the watch could not read the replica.
    Garbage,
}

/// Asks the watch that has the replica open.
pub(crate) fn ask(replica: &Path, space: &str) -> Answer {
    let Some(path) = socket_path(replica) else { return Answer::Nobody };
    let request = Request::Status { space: space.to_owned() };
    let (sender, answered) = mpsc::channel();
    // On a thread, because connecting to a socket whose owner accepts nobody has no time limit of its own.
    std::thread::spawn(move || sender.send(exchange(&path, &request)));
    match answered.recv_timeout(ANSWER_TIME_MAX) {
        Ok(Ok(Reply::Status(report))) => Answer::Report(report),
        Ok(Err(error))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            Answer::Nobody
        }
        Ok(Ok(Reply::Refused(_)) | Err(_)) | Err(_) => Answer::Garbage,
    }
}

fn exchange(path: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    io::BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The socket of a watch. It goes with this.
pub(crate) struct Beside {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file, by which it is told from another that took its place.
    file: (u64, u64),
}

impl Beside {
    /// Listens for questions about the replica, which the caller has open. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no place for a socket, or something else is in it; that is left alone.
    pub(crate) fn listen(replica: &Path) -> io::Result<Beside> {
        let path = socket_path(replica).ok_or_else(|| io::Error::other("the replica's path is too long"))?;
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other(format!("{} is no socket", path.display())));
            }
            // Somebody listens, and it is no watch of this replica: that would have the file open.
            Ok(_) if UnixStream::connect(&path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
            _ => {}
        }
        // In a folder of its own until its permissions are right; and a rename replaces one that was left
        // behind.
        let folder = path.with_file_name(format!(".w{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let made = folder.join("s");
        let listener = UnixListener::bind(&made).and_then(|listener| {
            fs::set_permissions(&made, Permissions::from_mode(0o600))?;
            fs::rename(&made, &path)?;
            Ok(listener)
        });
        // Whatever is left in it is empty or ours.
        let _is_left = fs::remove_dir_all(&folder).is_err();
        let found = fs::symlink_metadata(&path)?;
        Ok(Beside { listener: listener?, file: (found.dev(), found.ino()), path })
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(
        self,
        replica: Replica,
        replica_path: PathBuf,
        status: watch::Receiver<Status>,
    ) {
        let permits = Arc::new(Semaphore::new(QUESTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of file descriptors, most often: wait until some are free instead of spinning.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (replica, path, status) = (replica.clone(), replica_path.clone(), status.clone());
            tokio::spawn(async move {
                // Who is not answered asks again.
                let _is_answered = answer(stream, replica, path, status).await.is_ok();
                drop(permit);
            });
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        // The next watch replaces what is left behind.
        let _is_left = is_ours && fs::remove_file(&self.path).is_err();
    }
}

async fn answer(
    stream: tokio::net::UnixStream,
    replica: Replica,
    path: PathBuf,
    status: watch::Receiver<Status>,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIME_MAX, read.read_until(b'\n', &mut line)).await??;
    let reply = match serde_json::from_slice(&line) {
        Ok(Request::Status { space }) => {
            let read = tokio::task::spawn_blocking(move || Report::read(&replica, &space, &path)).await;
            match read.map_err(io::Error::other)? {
                Ok(mut report) => {
                    report.connection = Some(ConnectionReport::new(&status.borrow()));
                    Reply::Status(Box::new(report))
                }
                Err(failure) => Reply::Refused(failure.to_string()),
            }
        }
        Err(error) => Reply::Refused(format!("not a request: {error}")),
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    tokio::time::timeout(REQUEST_TIME_MAX, write.write_all(&line)).await?
}

/// Where the socket of a replica is: beside its file, or, if that path is too long for a socket, in the
/// user's runtime folder.
fn socket_path(replica: &Path) -> Option<PathBuf> {
    // However the file was named, its socket is one.
    let replica = fs::canonicalize(replica).ok()?;
    let mut name = replica.file_name().map(OsString::from)?;
    name.push(".watch");
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let called = Uuid::new_v5(&NAMESPACE, replica.as_os_str().as_bytes());
    let elsewhere = runtime.map(|runtime| runtime.join(format!("headwater-{called}.watch")));
    [Some(replica.with_file_name(name)), elsewhere]
        .into_iter()
        .flatten()
        .find(|path| path.as_os_str().len() <= PATH_BYTES_MAX)
}
