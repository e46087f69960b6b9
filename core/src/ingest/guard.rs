//! Where document work is done: on a stack that is deep enough, and where a panic ends.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What recursion in the merge engine may need; an app's own threads can have as little as 512 KiB in all.
const STACK_BYTES: usize = 8 << 20;
/// With this much left, work stays on the caller's stack: making one takes longer than most work.
const ENOUGH_BYTES: usize = 1 << 20;

/// The merge engine panicked. What it worked on is in no known state, and must not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the merge engine panicked")]
pub struct Panicked;

/// Runs `work`, which does not recurse, and ends a panic in it.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// Runs `work`, on a stack of 8 MiB of its own where the caller's has less than 1 MiB left, and ends a panic in it.
///
/// # Errors
/// When `work` panicked. Whatever it could change is in no known state then.
///
/// ```
/// use headwater::ingest::{Panicked, guarded};
/// assert_eq!(guarded(|| 1 + 1), Ok(2));
/// let nothing: Vec<u8> = Vec::new();
/// assert_eq!(guarded(|| nothing[0]), Err(Panicked));
/// ```
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    stacker::maybe_grow(ENOUGH_BYTES, STACK_BYTES, || caught(work))
}
