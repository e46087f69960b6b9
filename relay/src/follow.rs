//! Follows what other relays append to the same database, for the spaces that are open here.
//!
//! A wake-up says which feed has grown; a poll finds what no wake-up told. The actor of the space reads the new rows once and
//! passes them on to all its connections.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_storage::{PostgresFeed, SpaceId, Wake, Watermark};

use crate::space::Mail;
use crate::state::{Relay, until_draining};

/// Runs until the relay drains. Returns at once where nobody else can append.
pub(crate) async fn run(relay: Arc<Relay>) {
    let Some(database) = relay.config.store.database() else { return };
    let mut draining = relay.draining.clone();
    let news = relay.hub.news();
    let mut wakes = database.wakes();
    loop {
        let wake = tokio::select! {
            () = until_draining(&mut draining) => return,
            wake = wakes.next() => wake,
        };
        match wake {
            Wake::Edited => news.elsewhere(),
            Wake::Grown(space, seq) => {
                news.elsewhere();
                if let Some(actor) = relay.hub.open_space(space) {
                    // One that is full of work finds out at the next poll.
                    let _full = actor.try_send(Mail::Grown { seq }).is_err();
                }
            }
            Wake::Look => look(&relay, database).await,
        }
    }
}

/// Tells the actors of all open spaces where their feeds are. One that has passed on everything has nothing to do then.
async fn look(relay: &Relay, database: &PostgresFeed) {
    let actors = relay.hub.open_spaces();
    if actors.is_empty() {
        return;
    }
    let spaces: Vec<SpaceId> = actors.keys().copied().collect();
    let heads: HashMap<SpaceId, Watermark> = match database.heads_of(&spaces).await {
        Ok(heads) => heads.into_iter().collect(),
        Err(error) => {
            tracing::warn!(%error, "the database cannot be asked what other relays have stored");
            return;
        }
    };
    for (space, actor) in actors {
        // One that is full of work is told by the next look.
        let _full = actor.try_send(Mail::Look { head: heads.get(&space).copied() }).is_err();
    }
}
