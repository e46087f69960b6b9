//! A backend whose writes wait until the file is known to be ours.
//!
//! redb repairs a file that was not closed cleanly while it opens it. For a file of a newer version that repair would be a
//! change by a program that does not understand it. So until [`Held::release`] every write, resize and sync is only noted
//! (reads see it); then they are carried out in their order, which is what redb's crash safety rests on.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

pub(crate) struct Held<B>(Arc<Shared<B>>);

struct Shared<B> {
    inner: B,
    released: AtomicBool,
    noted: Mutex<Vec<Noted>>,
}

enum Noted {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl<B: StorageBackend> Held<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self(Arc::new(Shared { inner, released: AtomicBool::new(false), noted: Mutex::new(Vec::new()) }))
    }

    /// Carries out what was noted; from here on everything passes straight through.
    pub(crate) fn release(&self) -> io::Result<()> {
        let mut noted = self.noted();
        for operation in noted.drain(..) {
            match operation {
                Noted::Write(offset, data) => self.0.inner.write(offset, &data)?,
                Noted::SetLen(len) => self.0.inner.set_len(len)?,
                Noted::Sync => self.0.inner.sync_data()?,
            }
        }
        self.0.released.store(true, Ordering::Release);
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Noted>> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the operation, or gives it back when it may be carried out.
    fn note(&self, operation: impl FnOnce() -> Noted) -> bool {
        if self.0.released.load(Ordering::Acquire) {
            return false;
        }
        let mut noted = self.noted();
        if self.0.released.load(Ordering::Acquire) {
            return false;
        }
        noted.push(operation());
        true
    }
}

impl<B> Clone for Held<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Held<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl<B: StorageBackend> StorageBackend for Held<B> {
    fn len(&self) -> io::Result<u64> {
        if self.0.released.load(Ordering::Acquire) {
            return self.0.inner.len();
        }
        let noted = self.noted();
        let start = self.0.inner.len()?;
        Ok(noted.iter().fold(start, |len, operation| match operation {
            Noted::Write(offset, data) => len.max(offset.saturating_add(data.len() as u64)),
            Noted::SetLen(len) => *len,
            Noted::Sync => len,
        }))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.released.load(Ordering::Acquire) {
            return self.0.inner.read(offset, out);
        }
        let noted = self.noted();
        if noted.is_empty() {
            return self.0.inner.read(offset, out);
        }
        out.fill(0);
        let stored = usize::try_from(self.0.inner.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let stored = stored.min(out.len());
        if stored > 0 {
            self.0.inner.read(offset, &mut out[..stored])?;
        }
        for operation in noted.iter() {
            match operation {
                Noted::Write(start, data) => overlay(offset, out, *start, data),
                Noted::SetLen(len) => {
                    let kept = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
                    let kept = kept.min(out.len());
                    out[kept..].fill(0);
                }
                Noted::Sync => {}
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.note(|| Noted::SetLen(len)) { Ok(()) } else { self.0.inner.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.note(|| Noted::Sync) { Ok(()) } else { self.0.inner.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.note(|| Noted::Write(offset, data.to_vec())) {
            Ok(())
        } else {
            self.0.inner.write(offset, data)
        }
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

/// Copies the part of `data`, which lies at `start`, that falls into `out`, which lies at `offset`.
fn overlay(offset: u64, out: &mut [u8], start: u64, data: &[u8]) {
    let from = offset.max(start);
    let to = offset.saturating_add(out.len() as u64).min(start.saturating_add(data.len() as u64));
    if from >= to {
        return;
    }
    let len = (to - from) as usize;
    let (target, source) = ((from - offset) as usize, (from - start) as usize);
    out[target..target + len].copy_from_slice(&data[source..source + len]);
}
