//! Opening a store's file without harming it: whose file is it, which version, and is it whole?
//!
//! A new file is made by [`crate::create`]. An existing file is not written to before it is known to be ours, because redb
//! repairs a file that was not closed cleanly as soon as it opens it; see [`crate::held`].

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction,
};

use crate::create::{self, OnDisk};
use crate::error::StoreError;
use crate::held::Held;
use crate::meta::{self, OpenError, refused, unusable};
use crate::named::Named;

#[cfg(test)]
mod tests;

/// Which kind of store a file holds.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) version: u64,
    /// Memory for pages read or written lately, in bytes.
    pub(crate) cache_bytes: usize,
}

/// What a new file starts with.
pub(crate) struct NewFile<'a> {
    pub(crate) created_ms: u64,
    /// Makes the name of the temporary file differ from one creation to the next.
    pub(crate) tag: &'a str,
    /// Makes the tables. Runs in the transaction that also writes the format and version.
    pub(crate) init: &'a dyn Fn(&WriteTransaction) -> Result<(), StoreError>,
}

// The first nine bytes of every redb file.
pub(crate) const REDB_MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

/// An open file: the database, and whether it can still be trusted.
pub(crate) struct StoreFile {
    /// `None` while it is being dropped, and after it could not be opened again. Written only to open it again, so that calls
    /// share it. A call must not make another one meanwhile: the two would wait for each other once a writer waits between them.
    db: RwLock<Option<Database>>,
    /// The worst that has been met: [`SOUND`], [`DOUBTED`], [`HELD_UP`] or [`BROKEN`].
    health: AtomicU8,
    /// `None` if it has no name.
    named: Mutex<Option<Named>>,
    /// How often another file has taken its place.
    replaced: AtomicU64,
    /// What is gone with the process needs no protection from its end.
    outlives_process: bool,
}

/// Nothing has failed.
const SOUND: u8 = 0;
/// redb refuses to go on because a call failed. What failed is known to the call that met it.
const DOUBTED: u8 = 1;
/// A write was refused, or the file is away, which says nothing against what the disk has kept.
const HELD_UP: u8 = 2;
/// The disk failed, or the file is damaged.
const BROKEN: u8 = 3;

impl StoreFile {
    /// Opens the file at `path`. If there is none, creates it and the directory it is in.
    pub(crate) fn open(path: &Path, format: &Format, new: &NewFile<'_>) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let (directory, name) = OnDisk::of(path).map_err(io)?;
        create::ensure(&directory, name, path, format, new)?;
        Self::open_file(path, format)
    }

    pub(crate) fn open_file(path: &Path, format: &Format) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(REDB_MAGIC.len() as u64).read_to_end(&mut magic).map_err(io)?;
        if magic != REDB_MAGIC {
            let found = if magic.is_empty() { "an empty file" } else { "a file of another program" };
            return Err(OpenError::Foreign { path: path.to_owned(), found: found.to_owned() });
        }
        let named = Named::new(path, &file).map_err(io)?;
        let backend = FileBackend::new(file).map_err(|error| refused(path, error))?;
        let opened = Self::open_existing(path, backend, format)?;
        *opened.named.lock().unwrap_or_else(PoisonError::into_inner) = Some(named);
        Ok(opened)
    }

    /// Opens a backend instead of a file. An empty one is initialised in place.
    pub(crate) fn open_backend(
        backend: impl StorageBackend,
        format: &Format,
        new: &NewFile<'_>,
    ) -> Result<Self, OpenError> {
        let path = Path::new("(backend)");
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let len = backend.len().map_err(io)?;
        if len == 0 {
            return Self::create_in(backend, format, new);
        }
        let mut magic = [0; REDB_MAGIC.len()];
        if len >= REDB_MAGIC.len() as u64 {
            backend.read(0, &mut magic).map_err(io)?;
        }
        if magic != REDB_MAGIC {
            let found = "a file of another program".to_owned();
            return Err(OpenError::Foreign { path: path.to_owned(), found });
        }
        Self::open_existing(path, backend, format)
    }

    /// A new store in memory, which is gone when it is dropped.
    pub(crate) fn in_memory(format: &Format, new: &NewFile<'_>) -> Result<Self, OpenError> {
        let mut file = Self::create_in(InMemoryBackend::new(), format, new)?;
        file.outlives_process = false;
        Ok(file)
    }

    fn create_in(
        backend: impl StorageBackend,
        format: &Format,
        new: &NewFile<'_>,
    ) -> Result<Self, OpenError> {
        let path = Path::new("(backend)");
        let file = Self::new(database(path, backend, format)?);
        file.guarded(|db| initialise(db, format, new)).map_err(|error| unusable(path, error))?;
        Ok(file)
    }

    fn open_existing(path: &Path, backend: impl StorageBackend, format: &Format) -> Result<Self, OpenError> {
        let held = Held::new(backend);
        let file = Self::new(database(path, held.clone(), format)?);
        let meta = file.guarded(meta::read).map_err(|error| unusable(path, error))?;
        meta::check(path, meta, format)?;
        held.release().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(file)
    }

    fn new(db: Database) -> Self {
        Self {
            db: RwLock::new(Some(db)),
            health: AtomicU8::new(SOUND),
            named: Mutex::new(None),
            replaced: AtomicU64::new(0),
            outlives_process: true,
        }
    }

    /// Opens the store again with `open` if a write was refused, for want of room most often, or the file was away, and nothing
    /// worse happened, and leaves it as it is otherwise. Waits
    /// for calls that are under way. What the store then shows is what was really kept, and is durable: redb syncs what it
    /// repairs. If `open` fails, calls go on to answer [`StoreError::Poisoned`], and this can be tried again.
    pub(crate) fn reopen_if_held_up(
        &self,
        open: impl FnOnce() -> Result<Self, OpenError>,
    ) -> Result<(), OpenError> {
        if self.health.load(Ordering::Acquire) != HELD_UP {
            return Ok(());
        }
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have done it while this call waited.
        if self.health.load(Ordering::Acquire) != HELD_UP {
            return Ok(());
        }
        self.open_again(&mut db, open)
    }

    fn open_again(
        &self,
        db: &mut Option<Database>,
        open: impl FnOnce() -> Result<Self, OpenError>,
    ) -> Result<(), OpenError> {
        close(db.take());
        let again = open()?;
        *db = again.db.write().unwrap_or_else(PoisonError::into_inner).take();
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let now = again.named.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(before), Some(now)) = (&*named, &now)
            && !before.is_same(now)
        {
            self.replaced.fetch_add(1, Ordering::AcqRel);
        }
        *named = now;
        self.health.store(SOUND, Ordering::Release);
        Ok(())
    }

    /// Finds out whether the disk takes this write. Where it refuses, the store is opened again with `open` before anybody else
    /// gets to it, so that readers wait for a moment and never hear of it.
    pub(crate) fn try_out(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
        open: impl FnOnce() -> Result<Self, OpenError>,
    ) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        let sound = db.as_ref().filter(|_| self.health.load(Ordering::Acquire) == SOUND);
        let sound = sound.ok_or(StoreError::Poisoned)?;
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let mut txn = sound.begin_write()?;
            prepare(&mut txn, Durability::Immediate, self.outlives_process)?;
            write(&txn)?;
            txn.commit().map_err(StoreError::from)
        }));
        let tried = tried.unwrap_or_else(|_| Err(StoreError::corrupt("its structure is broken")));
        if let Err(error) = &tried {
            self.note(error);
            if self.health.load(Ordering::Acquire) == HELD_UP
                && let Err(error) = self.open_again(&mut db, open)
            {
                tracing::debug!(%error, "the store could not be opened again; tried once more later");
            }
        }
        tried
    }

    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.guarded(|db| read(&db.begin_read()?))
    }

    /// Whether the file is still where it was opened.
    pub(crate) fn is_there(&self) -> Result<(), StoreError> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let there = named.as_ref().map_or(Ok(()), Named::check);
        there.inspect_err(|error| self.note(error))
    }

    /// How often another file has taken the place of the one that was open, and was opened in its stead.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// Runs `write` in one transaction. `None` from it means that there is nothing to commit. Nobody hears that something is
    /// durable while the file has no name: not of what was there before, either.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        write: impl FnOnce(&WriteTransaction) -> Result<Written<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let written = self.guarded(|db| {
            let mut txn = db.begin_write()?;
            prepare(&mut txn, durability, self.outlives_process)?;
            match write(&txn)? {
                Written::Commit(value) => {
                    // After a failed commit the disk is in an unknown state, whatever the error was.
                    txn.commit().map_err(StoreError::from).inspect_err(|error| self.note(error))?;
                    Ok(value)
                }
                Written::Nothing(value) => {
                    txn.abort()?;
                    Ok(value)
                }
            }
        })?;
        if matches!(durability, Durability::Immediate) {
            self.is_there()?;
        }
        Ok(written)
    }

    /// Runs `run` unless the store is poisoned, and poisons it when the disk fails. A damaged file can also break an
    /// assumption inside redb: its panic ends here, and the store with it.
    fn guarded<T>(&self, run: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.as_ref().filter(|_| self.health.load(Ordering::Acquire) == SOUND) else {
            return Err(StoreError::Poisoned);
        };
        let result = catch_unwind(AssertUnwindSafe(|| run(db)));
        let result = result.unwrap_or_else(|_| {
            self.health.store(BROKEN, Ordering::Release);
            Err(StoreError::corrupt("its structure is broken"))
        });
        result.inspect_err(|error| {
            if error.needs_reopen() {
                self.note(error);
            }
        })
    }

    /// After this error memory and disk may differ.
    fn note(&self, error: &StoreError) {
        let health = match error {
            StoreError::Io(error) if is_held_up(error) => HELD_UP,
            StoreError::Gone { .. } => HELD_UP,
            StoreError::Poisoned => DOUBTED,
            _ => BROKEN,
        };
        self.health.fetch_max(health, Ordering::AcqRel);
    }
}

fn is_held_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::ReadOnlyFilesystem
    )
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        close(self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Closing writes, so it can meet damage just as any other call.
fn close(db: Option<Database>) {
    if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
        tracing::error!("the store's file is damaged, and could not be closed in order");
    }
}

/// What a write transaction came to.
pub(crate) enum Written<T> {
    Commit(T),
    Nothing(T),
}

/// Makes a new store in an empty file, and closes it.
pub(crate) fn build(
    file: impl StorageBackend,
    path: &Path,
    format: &Format,
    new: &NewFile<'_>,
) -> Result<(), OpenError> {
    let db = database(path, file, format)?;
    let made = initialise(&db, format, new).map_err(|error| unusable(path, error));
    close(Some(db));
    made
}

fn initialise(db: &Database, format: &Format, new: &NewFile<'_>) -> Result<(), StoreError> {
    let mut txn = db.begin_write()?;
    prepare(&mut txn, Durability::Immediate, true)?;
    meta::write(&txn, format, new.created_ms)?;
    (new.init)(&txn)?;
    Ok(txn.commit()?)
}

fn prepare(
    txn: &mut WriteTransaction,
    durability: Durability,
    outlives_process: bool,
) -> Result<(), StoreError> {
    // Quick repair brings two-phase commit with it, which the feed needs and the replica gets along the way.
    txn.set_two_phase_commit(outlives_process);
    txn.set_quick_repair(outlives_process);
    // A commit that is less durable than was asked for would be acknowledged all the same.
    txn.set_durability(durability).map_err(|error| StoreError::NotDurable(error.to_string()))
}

fn database(path: &Path, backend: impl StorageBackend, format: &Format) -> Result<Database, OpenError> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new().set_cache_size(format.cache_bytes).create_with_backend(backend)
    }));
    match opened {
        Ok(opened) => opened.map_err(|error| refused(path, error)),
        // A damaged file can break an assumption inside redb. Nothing of it is left in memory.
        Err(_) => {
            Err(OpenError::Corrupt { path: path.to_owned(), reason: "its structure is broken".to_owned() })
        }
    }
}
