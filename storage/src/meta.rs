//! What a store's file says of itself, and why one cannot be opened.

use std::cmp;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, TableHandle, WriteTransaction};
use thiserror::Error;

use crate::error::StoreError;
use crate::file::Format;

/// A store could not be opened. The file is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is something else. Choose another path; this file was not touched.
    #[error("{} is not the expected store, but {found}; choose another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the file is instead.
        found: String,
    },
    /// An older version of Headwater wrote the file. Export what it holds with the build that made it, and import that with this one;
    /// the file was not touched.
    #[error(
        "{} has format version {found}, and this program reads version {supported} only; the file was not touched: export its data \
         with the build of Headwater that made it, and import the export into a new file with this one",
        path.display()
    )]
    OlderVersion {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: u64,
        /// The version that this program can open.
        supported: u64,
    },
    /// A newer version of Headwater wrote the file. Update this program; the file was not touched.
    #[error("{} has format version {found}, this program knows up to {supported}; update the program", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: u64,
        /// The newest version that this program can open.
        supported: u64,
    },
    /// Another process or handle has the file open. Close that one, or share its handle.
    #[error("{} is open in another process or handle; close that one first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is ours but damaged. Move it away and restore it from a backup or from the relay.
    #[error("{} is damaged: {reason}; move it away and restore it", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused. Check the path, its permissions and the free space, then open again.
    #[error("{} could not be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

// meta_v1: what the file is. Every store has it.
//   key: text      value:
//   "format"       text, the format's name
//   "version"      u64 big-endian
//   "created_ms"   u64 big-endian, milliseconds since 1970
//   "device"       16 bytes, replicas only
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta_v1");
const FORMAT: &str = "format";
const VERSION: &str = "version";
const CREATED_MS: &str = "created_ms";

/// Writes what a new file says.
pub(crate) fn write(txn: &WriteTransaction, format: &Format, created_ms: u64) -> Result<(), StoreError> {
    let mut meta = txn.open_table(META)?;
    meta.insert(FORMAT, format.name.as_bytes())?;
    meta.insert(VERSION, format.version.to_be_bytes().as_slice())?;
    meta.insert(CREATED_MS, created_ms.to_be_bytes().as_slice())?;
    Ok(())
}

/// What a file says it is, as it says it.
pub(crate) struct Meta {
    format: Vec<u8>,
    version: Vec<u8>,
}

/// What the file says it is. `None` if it does not say.
pub(crate) fn read(db: &Database) -> Result<Option<Meta>, StoreError> {
    let txn = db.begin_read()?;
    if !txn.list_tables()?.any(|table| table.name() == META.name()) {
        return Ok(None);
    }
    let table = match txn.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let value = |key| -> Result<Vec<u8>, StoreError> {
        Ok(table.get(key)?.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    Ok(Some(Meta { format: value(FORMAT)?, version: value(VERSION)? }))
}

pub(crate) fn check(path: &Path, meta: Option<Meta>, format: &Format) -> Result<(), OpenError> {
    let foreign = |found: String| OpenError::Foreign { path: path.to_owned(), found };
    let Some(Meta { format: name, version }) = meta else {
        return Err(foreign("a redb file of another program".to_owned()));
    };
    if name != format.name.as_bytes() {
        let name: String = String::from_utf8_lossy(&name).chars().take(80).collect();
        return Err(foreign(format!("a file with the format {name:?}")));
    }
    let found = version.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| OpenError::Corrupt {
        path: path.to_owned(),
        reason: "its version is not readable".to_owned(),
    })?;
    let (path, supported) = (path.to_owned(), format.version);
    match found.cmp(&supported) {
        cmp::Ordering::Less => Err(OpenError::OlderVersion { path, found, supported }),
        cmp::Ordering::Equal => Ok(()),
        cmp::Ordering::Greater => Err(OpenError::NewerVersion { path, found, supported }),
    }
}

pub(crate) fn refused(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        // Older redb files exist, but Headwater never wrote one.
        DatabaseError::UpgradeRequired(version) => {
            OpenError::Foreign { path, found: format!("a redb file of the old format {version}") }
        }
        DatabaseError::Storage(error) => unusable(&path, error.into()),
        other => OpenError::Corrupt { path, reason: other.to_string() },
    }
}

pub(crate) fn unusable(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_owned();
    match error {
        StoreError::Io(error) if error.kind() == ErrorKind::InvalidData => {
            OpenError::Corrupt { path, reason: error.to_string() }
        }
        StoreError::Io(error) => OpenError::Io { path, source: io::Error::new(error.kind(), error) },
        other => OpenError::Corrupt { path, reason: other.to_string() },
    }
}
