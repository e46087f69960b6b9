//! Making a store's file, so that its name never leads to half a store, and never takes the place of another file.
//!
//! 1. Lock the directory, and remove what a dead creation left in it.
//! 2. Build the store under a temporary name, and make its contents durable.
//! 3. Give it its name with a hard link, which fails if the name is taken meanwhile. Remove the temporary name.
//! 4. Make the names durable. This is done for a file that is already there as well, because the process that made it may have
//!    died before it came to that.
//!
//! A crash leaves no store or a whole one, and at most a temporary name, which nothing else ever reads.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::file::{Format, NewFile, REDB_MAGIC, build};
use crate::meta::OpenError;

#[cfg(test)]
mod tests;

/// Stands between the name of a store and the tag of its creation, in a temporary name.
const TEMPORARY: &str = ".tmp-";

/// How many temporary names are tried. They are only taken where leftovers cannot be removed.
const NAMES_MAX: usize = 1000;

/// What creation needs of a file system. Tests crash it between any two steps.
pub(crate) trait Directory {
    /// An open file.
    type File: StorageBackend;
    /// Nobody else has the lock until this is dropped.
    type Lock;

    /// Makes the directory, durably, if it is not there.
    fn make(&self) -> io::Result<()>;
    /// Waits for the lock. Not every file system has it.
    fn lock(&self) -> io::Result<Self::Lock>;
    fn exists(&self, name: &OsStr) -> io::Result<bool>;
    fn names(&self) -> io::Result<Vec<OsString>>;
    /// At most `len` bytes from the start of a file.
    fn start_of(&self, name: &OsStr, len: usize) -> io::Result<Vec<u8>>;
    /// Makes an empty file. [`ErrorKind::AlreadyExists`] if the name is taken.
    fn create(&self, name: &OsStr) -> io::Result<Self::File>;
    /// Makes the contents of a file durable.
    fn sync_file(&self, name: &OsStr) -> io::Result<()>;
    /// Gives a file a second name. [`ErrorKind::AlreadyExists`] if that is taken.
    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// Gives a file another name, whether that is taken or not.
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;
    fn remove(&self, name: &OsStr) -> io::Result<()>;
    /// Makes the names in the directory durable.
    fn sync(&self) -> io::Result<()>;
}

/// Makes sure that there is a file with this name, and that both are durable. What is there already is not looked into.
/// `path` is for errors.
pub(crate) fn ensure<D: Directory>(
    directory: &D,
    name: &OsStr,
    path: &Path,
    format: &Format,
    new: &NewFile<'_>,
) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    if !directory.exists(name).map_err(io)? {
        directory.make().map_err(io)?;
        let lock = directory.lock().ok();
        // Whoever had the lock before may have made the file.
        if !directory.exists(name).map_err(io)? {
            let temporary = Temporary::of(name);
            if lock.is_some() {
                temporary.remove_leftovers(directory);
            }
            let (temporary, file) = temporary.create(directory, new.tag).map_err(io)?;
            let made = build(file, path, format, new)
                .and_then(|()| directory.sync_file(&temporary).map_err(io))
                .and_then(|()| publish(directory, &temporary, name).map_err(io));
            // The error that matters is the one above; a leftover is removed by the next creation.
            let _ = directory.remove(&temporary);
            made?;
        }
    }
    directory.sync().map_err(io)
}

/// Gives the finished file its name, unless somebody else has given that to a file meanwhile.
fn publish(directory: &impl Directory, temporary: &OsStr, name: &OsStr) -> io::Result<()> {
    // Some file systems have no hard links. What takes the name between the last two steps would be replaced; the lock keeps at
    // least other creations away.
    if directory.link(temporary, name).is_err() && !directory.exists(name)? {
        directory.rename(temporary, name)?;
    }
    Ok(())
}

/// The temporary names of one store: its own name, [`TEMPORARY`], then hexadecimal digits and hyphens.
struct Temporary(OsString);

impl Temporary {
    fn of(name: &OsStr) -> Self {
        let mut prefix = name.to_owned();
        prefix.push(TEMPORARY);
        Self(prefix)
    }

    /// Makes an empty file under a name that nobody else uses.
    fn create<D: Directory>(&self, directory: &D, tag: &str) -> io::Result<(OsString, D::File)> {
        let mut taken = ErrorKind::AlreadyExists.into();
        for number in 0..NAMES_MAX {
            let mut name = self.0.clone();
            name.push(tag);
            if number > 0 {
                name.push(format!("-{number:x}"));
            }
            match directory.create(&name) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => taken = error,
                Err(error) => return Err(error),
            }
        }
        Err(taken)
    }

    /// Removes what dead creations left. Only called while holding the directory's lock, so nobody is still writing them.
    fn remove_leftovers(&self, directory: &impl Directory) {
        for name in directory.names().unwrap_or_default() {
            if self.is_leftover(directory, &name) {
                let _ = directory.remove(&name);
            }
        }
    }

    /// Whether a file has a temporary name, and starts like a store or not at all. The second is for a file of someone else
    /// that happens to have such a name.
    fn is_leftover(&self, directory: &impl Directory, name: &OsStr) -> bool {
        let Some(tag) = name.as_encoded_bytes().strip_prefix(self.0.as_encoded_bytes()) else { return false };
        if !tag.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') {
            return false;
        }
        let start = directory.start_of(name, REDB_MAGIC.len());
        start.is_ok_and(|start| start == REDB_MAGIC || start.iter().all(|byte| *byte == 0))
    }
}

/// A directory of the file system.
pub(crate) struct OnDisk(PathBuf);

impl OnDisk {
    /// The directory that `path` is in, and its name there.
    pub(crate) fn of(path: &Path) -> io::Result<(Self, &OsStr)> {
        let unnamed = || io::Error::new(ErrorKind::InvalidInput, "the path has no file name");
        let name = path.file_name().ok_or_else(unnamed)?;
        Ok((Self(parent(path).to_owned()), name))
    }
}

impl Directory for OnDisk {
    type File = FileBackend;
    type Lock = File;

    fn make(&self) -> io::Result<()> {
        // A directory that is not durable takes with it whatever is in it.
        let missing = self.0.ancestors().take_while(|part| *part != Path::new("") && !part.exists());
        let parents: Vec<_> = missing.map(parent).collect();
        fs::create_dir_all(&self.0)?;
        parents.into_iter().try_for_each(sync_directory)
    }

    fn lock(&self) -> io::Result<File> {
        let directory = File::open(&self.0)?;
        directory.lock()?;
        Ok(directory)
    }

    fn exists(&self, name: &OsStr) -> io::Result<bool> {
        self.0.join(name).try_exists()
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn start_of(&self, name: &OsStr, len: usize) -> io::Result<Vec<u8>> {
        let path = self.0.join(name);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut start = Vec::new();
        File::open(path)?.take(len as u64).read_to_end(&mut start)?;
        Ok(start)
    }

    fn create(&self, name: &OsStr) -> io::Result<FileBackend> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // What people write is nobody else's on this machine.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.0.join(name))?;
        FileBackend::new(file).map_err(io::Error::other)
    }

    fn sync_file(&self, name: &OsStr) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.0.join(name))?.sync_all()
    }

    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::hard_link(self.0.join(from), self.0.join(to))
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_directory(&self.0)
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        // One that may not be listed cannot be synced either, and some file systems know no such thing.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file, and a name is durable with the file system's own journal.
    Ok(())
}
