//! A file and the name that it was opened by, which can part while the file is open: a folder is removed, a volume
//! takes the place of another one, a backup is copied over it. What is written from then on is gone with the process.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

pub(crate) struct Named {
    path: PathBuf,
    identity: Identity,
}

/// Device and number of a file. While the file is open, no other one gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Named {
    pub(crate) fn new(path: &Path, file: &File) -> io::Result<Named> {
        Ok(Named { path: path.to_owned(), identity: Identity::of(&file.metadata()?) })
    }

    /// Whether the name still leads to the file.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if Identity::of(&metadata) == self.identity => Ok(()),
            Ok(_) => Err(StoreError::Gone { path: self.path.clone(), what: "another file has its name" }),
            Err(_) => Err(StoreError::Gone { path: self.path.clone(), what: "nothing has its name" }),
        }
    }

    /// Whether both are the same file.
    pub(crate) fn is_same(&self, other: &Named) -> bool {
        self.identity == other.identity
    }
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Identity {
        use std::os::unix::fs::MetadataExt;
        Identity(metadata.dev(), metadata.ino())
    }

    /// Elsewhere an open file keeps its name.
    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Identity {
        Identity(0, 0)
    }
}
