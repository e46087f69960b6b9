//! Finds the actor of a space, starting it when the first connection opens the space.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use headwater_storage::SpaceId;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::news::News;
use crate::space::{self, ActorConfig, SpaceHandle};

pub(crate) struct Hub {
    news: Arc<News>,
    config: ActorConfig,
    /// space -> its actor, as long as anybody holds a handle to it. A std mutex, because nothing awaits while holding it.
    spaces: Mutex<HashMap<SpaceId, mpsc::WeakSender<space::Mail>>>,
}

impl Hub {
    pub(crate) fn new(config: &Config) -> Hub {
        let news = Arc::new(News::default());
        let config = ActorConfig {
            store: config.store.clone(),
            news: Arc::clone(&news),
            change: config.session.limits.change,
            queue_pushes_max: config.space_queue_pushes_max,
            append_changes_max: config.append_changes_max,
            append_bytes_max: config.append_bytes_max,
        };
        Hub { news, config, spaces: Mutex::new(HashMap::new()) }
    }

    /// Changes whenever a feed has grown, here or at another relay, or somebody has edited with SQL.
    pub(crate) fn growing(&self) -> watch::Receiver<u64> {
        self.news.growing()
    }

    /// Which feeds have grown.
    pub(crate) fn news(&self) -> Arc<News> {
        Arc::clone(&self.news)
    }

    /// The actor of a space, if it is open.
    pub(crate) fn open_space(&self, id: SpaceId) -> Option<SpaceHandle> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }

    /// The actors of all spaces that are open.
    pub(crate) fn open_spaces(&self) -> HashMap<SpaceId, SpaceHandle> {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.iter().filter_map(|(space, actor)| Some((*space, actor.upgrade()?))).collect()
    }

    pub(crate) fn space(&self, id: SpaceId) -> SpaceHandle {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        match spaces.entry(id) {
            Entry::Occupied(mut entry) => entry.get().upgrade().unwrap_or_else(|| {
                let handle = space::start(id, self.config.clone());
                entry.insert(handle.downgrade());
                handle
            }),
            Entry::Vacant(entry) => {
                let handle = space::start(id, self.config.clone());
                entry.insert(handle.downgrade());
                // Ended actors are few compared to the map's growth, so clearing them here keeps it in proportion.
                spaces.retain(|_, actor| actor.strong_count() > 0);
                handle
            }
        }
    }
}
