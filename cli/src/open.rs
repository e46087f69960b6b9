//! Finds and opens the replica that the options name.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use headwater::{CollectionName, DynamicCollection, OpenError, Replica, Space};

use crate::args::Options;
use crate::failure::Failure;

/// How often, and how long, a verb waits for another that has the replica open for a moment.
pub(crate) const ATTEMPTS_MAX: u32 = 20;
pub(crate) const ATTEMPTS_APART: Duration = Duration::from_millis(100);

/// What to do when there is no replica yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Create it: the verb has something to put into it.
    Create,
    /// Refuse: the verb looks at what is there, and a wrong path would look like an empty replica.
    Refuse,
}

impl Options {
    /// Where the replica is, whether or not there is one.
    pub(crate) fn replica_path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.replica {
            return Ok(path.clone());
        }
        // The XDG base directory specification has relative and empty paths ignored.
        let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || env::home_dir().filter(|path| path.is_absolute()).map(|home| home.join(".local/share"));
        let data = data.or_else(home).ok_or(Failure::NoHome)?;
        Ok(data.join("headwater").join("replica.redb"))
    }

    pub(crate) fn open(&self, missing: Missing) -> Result<Replica, Failure> {
        let path = self.replica_path()?;
        if missing == Missing::Refuse && !path.exists() {
            return Err(Failure::NoReplica(path));
        }
        Ok(Replica::open(path)?)
    }

    /// As [`Options::open`], for a verb that stays: a command that has the replica open for a moment is
    /// waited for.
    pub(crate) fn open_to_stay(&self, missing: Missing) -> Result<Replica, Failure> {
        let mut attempts = 0;
        loop {
            match self.open(missing) {
                Err(Failure::Open(OpenError::InUse { .. })) if attempts < ATTEMPTS_MAX => attempts += 1,
                opened => return opened,
            }
            std::thread::sleep(ATTEMPTS_APART);
        }
    }

    pub(crate) fn open_space(&self, missing: Missing) -> Result<Space, Failure> {
        Ok(self.open(missing)?.space(self.space.as_str()))
    }

    pub(crate) fn open_collection(
        &self,
        missing: Missing,
        name: &CollectionName,
    ) -> Result<DynamicCollection, Failure> {
        Ok(self.open_space(missing)?.dynamic(name.as_str())?)
    }

    /// A collection that is only looked at: a name that has never been used is most likely a typing error.
    pub(crate) fn open_existing_collection(
        &self,
        name: &CollectionName,
    ) -> Result<DynamicCollection, Failure> {
        let space = self.open_space(Missing::Refuse)?;
        if space.collections().contains(name) {
            Ok(space.dynamic(name.as_str())?)
        } else {
            Err(Failure::NoCollection(name.clone()))
        }
    }
}
