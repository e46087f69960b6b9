//! Tells the work behind the feeds that there is something to do.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use headwater_storage::SpaceId;
use tokio::sync::{Notify, watch};

/// The spaces whose feeds have grown.
#[derive(Debug, Default)]
pub(crate) struct News {
    spaces: Mutex<BTreeSet<SpaceId>>,
    some: Notify,
    /// Counts up with all news, those of other relays included.
    growing: watch::Sender<u64>,
}

impl News {
    /// Says that the feed of `space` has grown.
    pub(crate) fn of(&self, space: SpaceId) {
        self.again(space);
        self.elsewhere();
    }

    /// Says that there is more to do in `space`, of what was told before.
    pub(crate) fn again(&self, space: SpaceId) {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).insert(space);
        self.some.notify_one();
    }

    /// Says that there is something new that another relay looks after.
    pub(crate) fn elsewhere(&self) {
        self.growing.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes with all news.
    pub(crate) fn growing(&self) -> watch::Receiver<u64> {
        self.growing.subscribe()
    }

    /// A space whose feed has grown here, once there is one; see [`News::take`].
    pub(crate) async fn next(&self, after: Option<SpaceId>) -> SpaceId {
        loop {
            match self.take(after) {
                Some(space) => return space,
                None => self.some.notified().await,
            }
        }
    }

    /// A space whose feed has grown here, if there is one: the one that comes after `after`, and then from the first on, so that a
    /// space that always grows holds up no other.
    pub(crate) fn take(&self, after: Option<SpaceId>) -> Option<SpaceId> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let space = spaces.range((from, Bound::Unbounded)).next().or_else(|| spaces.first()).copied()?;
        spaces.take(&space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_that_always_grows_holds_up_no_other() {
        // Would leave every other space unexamined for as long as one with a low id is written to.
        let news = News::default();
        let [low, high] = [1, 2].map(|byte| SpaceId::from_bytes([byte; 16]));
        news.of(low);
        news.of(high);
        let first = news.take(None);
        news.of(low);
        assert_eq!((first, news.take(first)), (Some(low), Some(high)));
        assert_eq!((news.take(Some(high)), news.take(None)), (Some(low), None));
    }
}
