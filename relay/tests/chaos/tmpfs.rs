//! A small disk that can be full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const BLOCK_BYTES: usize = 4096;
const BALLAST: &str = "ballast";

/// A file system in memory with a fixed size. It is unmounted and gone when this is dropped.
pub(crate) struct Tmpfs {
    directory: TempDir,
}

impl Tmpfs {
    /// A disk of so many bytes. `None`, after saying why, where mounting is not permitted.
    pub(crate) fn mount(bytes: usize) -> Option<Tmpfs> {
        let directory = tempfile::Builder::new().prefix("headwater-full-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "headwater"])
            .arg(directory.path());
        let why = match mount.output() {
            Ok(output) if output.status.success() => return Some(Tmpfs { directory }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        println!("skipped: no small disk can be mounted: {why}");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes so many bytes of the disk.
    pub(crate) fn weigh_down(&self, bytes: usize) {
        File::create(self.ballast()).unwrap().write_all(&vec![0; bytes]).unwrap();
    }

    /// Takes all of the disk that is free, except for so many bytes.
    pub(crate) fn fill_but(&self, free_bytes: usize) {
        let mut ballast = File::create(self.ballast()).unwrap();
        let mut len = 0;
        let error = loop {
            match ballast.write_all(&[0; BLOCK_BYTES]) {
                Ok(()) => len += BLOCK_BYTES,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        ballast.set_len((len - free_bytes) as u64).unwrap();
    }

    /// Frees what was taken.
    pub(crate) fn make_room(&self) {
        // A process that another test starts just now may hold the file open, and its bytes with it, until it runs.
        File::create(self.ballast()).unwrap();
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join(BALLAST)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmount = |lazily: &[&str]| {
            Command::new("umount").args(lazily).arg(self.path()).status().is_ok_and(|status| status.success())
        };
        // On failure something may still be open on it; it is gone then once that is closed.
        if !unmount(&[]) && !unmount(&["-l"]) {
            println!("left behind: {}", self.path().display());
        }
    }
}
