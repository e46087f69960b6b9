//! The task of a space.
//!
//! Whatever arrives while an append is being made durable goes into the next one.

use std::time::{SystemTime, UNIX_EPOCH};

use headwater::document::ingest::ChangeLimits;
use headwater_storage::{FeedEpoch, FeedStore, SpaceId};
use tokio::sync::mpsc;

use super::inbox::{ConnectionId, Inbox};
use super::machine::{Push, SpaceMachine};

pub(crate) type SpaceHandle = mpsc::Sender<Mail>;

#[derive(Clone)]
pub(crate) struct ActorConfig {
    pub(crate) store: FeedStore,
    pub(crate) change: ChangeLimits,
    pub(crate) queue_pushes_max: usize,
    pub(crate) append_changes_max: usize,
}

pub(crate) enum Mail {
    Subscribe {
        connection: ConnectionId,
        inbox: Inbox,
    },
    Unsubscribe {
        connection: ConnectionId,
    },
    Push {
        push: Push,
        /// Keeps the actor, and with it the order of the feed, until the push is done, even if its connection is gone.
        actor: SpaceHandle,
    },
}

/// Starts the actor of a space. It ends when the last handle is dropped.
pub(crate) fn start(space: SpaceId, config: ActorConfig) -> SpaceHandle {
    let (handle, mailbox) = mpsc::channel(config.queue_pushes_max);
    tokio::spawn(run(SpaceMachine::new(space, config.change.clone()), space, config, mailbox));
    handle
}

async fn run(
    mut machine: SpaceMachine,
    space: SpaceId,
    config: ActorConfig,
    mut mailbox: mpsc::Receiver<Mail>,
) {
    while let Some(first) = mailbox.recv().await {
        let mut changes = 0;
        let mut handles = Vec::new();
        let mut next = Some(first);
        while let Some(mail) = next {
            match mail {
                Mail::Subscribe { connection, inbox } => machine.subscribe(connection, inbox),
                Mail::Unsubscribe { connection } => machine.unsubscribe(connection),
                Mail::Push { push, actor } => {
                    changes += push.entries.len();
                    handles.push(actor);
                    machine.push(push);
                }
            }
            next = if changes < config.append_changes_max { mailbox.try_recv().ok() } else { None };
        }
        let received_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let Some(appends) = machine.begin_append(received_ms, || FeedEpoch::from_bytes(rand::random()))
        else {
            continue;
        };
        match config.store.append_all(appends).await {
            Ok(appended) => machine.end_append(Some(appended)),
            Err(error) => {
                tracing::error!(%space, %error, "an append failed");
                machine.end_append(None);
            }
        }
    }
}
