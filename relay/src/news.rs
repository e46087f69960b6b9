//! Tells the work behind the feeds that there is something to do.

use std::collections::BTreeSet;
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

    /// A space whose feed has grown here, once there is one.
    pub(crate) async fn next(&self) -> SpaceId {
        loop {
            let first = self.spaces.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match first {
                Some(space) => return space,
                None => self.some.notified().await,
            }
        }
    }
}
