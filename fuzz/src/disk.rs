use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_storage::StorageBackend;

/// Storage in memory. All clones are the same storage, so that what was written is there when a store opens it again.
///
/// ```
/// use headwater_fuzz::Disk;
/// use headwater_storage::{NewFeed, RedbFeed};
/// let disk = Disk::default();
/// drop(RedbFeed::open_backend(disk.clone(), NewFeed { created_ms: 0 })?);
/// let older = disk.copy();
/// RedbFeed::open_backend(older, NewFeed { created_ms: 0 })?;
/// # Ok::<(), headwater_storage::OpenError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Disk {
    /// What is on it now, as a disk of its own.
    #[must_use]
    pub fn copy(&self) -> Disk {
        Disk { bytes: Arc::new(Mutex::new(self.bytes().clone())) }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let bytes = self.bytes();
        out.copy_from_slice(bytes.get(range(offset, out.len())?).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.bytes().resize(usize::try_from(len).map_err(|_| ErrorKind::InvalidInput)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut bytes = self.bytes();
        bytes.get_mut(range(offset, data.len())?).ok_or(ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

fn range(offset: u64, len: usize) -> Result<std::ops::Range<usize>, Error> {
    let start = usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
    let end = start.checked_add(len).ok_or(ErrorKind::InvalidInput)?;
    Ok(start..end)
}
