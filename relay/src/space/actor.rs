//! The task of a space.
//!
//! Whatever arrives while an append is being made durable goes into the next one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use headwater::ingest::ChangeLimits;
use headwater_storage::{AppendError, Appended, FeedEpoch, FeedStore, SpaceId};
use tokio::sync::{mpsc, oneshot};

use super::inbox::{ConnectionId, Inbox};
use super::machine::{Push, SpaceMachine};
use crate::examiner::News;

pub(crate) type SpaceHandle = mpsc::Sender<Mail>;

#[derive(Clone)]
pub(crate) struct ActorConfig {
    pub(crate) store: FeedStore,
    /// Told of every append.
    pub(crate) news: Arc<News>,
    pub(crate) change: ChangeLimits,
    pub(crate) queue_pushes_max: usize,
    pub(crate) append_changes_max: usize,
}

pub(crate) enum Mail {
    Subscribe {
        connection: ConnectionId,
        inbox: Inbox,
        /// Told once live frames go to the connection. Only then may it read where the feed stands: what was appended before is
        /// in what it reads, and what is appended later comes to it.
        done: oneshot::Sender<()>,
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
    let machine = SpaceMachine::new(space, config.change);
    let (changes_waiting, handles) = (0, Vec::new());
    tokio::spawn(Actor { space, config, machine, changes_waiting, handles }.run(mailbox));
    handle
}

struct Actor {
    space: SpaceId,
    config: ActorConfig,
    machine: SpaceMachine,
    /// Changes of the pushes that wait for the next append.
    changes_waiting: usize,
    /// Of the pushes that wait.
    handles: Vec<SpaceHandle>,
}

/// An append that the store works on, and the handles of its pushes.
struct UnderWay {
    appended: Pin<Box<dyn Future<Output = Result<Vec<Appended>, AppendError>> + Send>>,
    _handles: Vec<SpaceHandle>,
}

impl Actor {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Mail>) {
        let mut under_way: Option<UnderWay> = None;
        loop {
            if under_way.is_none() {
                under_way = self.begin_append();
            }
            let has_room = self.changes_waiting < self.config.append_changes_max;
            tokio::select! {
                mail = mailbox.recv(), if has_room => match mail {
                    Some(mail) => {
                        self.take(mail);
                        // Everything that has come by now goes into the same append.
                        while self.changes_waiting < self.config.append_changes_max
                            && let Ok(mail) = mailbox.try_recv()
                        {
                            self.take(mail);
                        }
                    }
                    // No handle is left, so nothing waits and nothing is under way.
                    None => return,
                },
                Some(appended) = finished(under_way.as_mut()) => {
                    under_way = None;
                    if let Err(error) = &appended {
                        tracing::error!(space = %self.space, %error, "an append failed");
                    }
                    self.machine.end_append(appended.ok());
                    self.config.news.of(self.space);
                }
            }
        }
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Subscribe { connection, inbox, done } => {
                self.machine.subscribe(connection, inbox);
                // A connection that is gone by now unsubscribes as well.
                let _gone = done.send(()).is_err();
            }
            Mail::Unsubscribe { connection } => self.machine.unsubscribe(connection),
            Mail::Push { push, actor } => {
                self.changes_waiting += push.entries.len();
                self.handles.push(actor);
                self.machine.push(push);
            }
        }
    }

    fn begin_append(&mut self) -> Option<UnderWay> {
        let received_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let appends = self.machine.begin_append(received_ms, || FeedEpoch::from_bytes(rand::random()))?;
        self.changes_waiting = 0;
        let store = self.config.store.clone();
        let appended = Box::pin(async move { store.append_all(appends).await });
        Some(UnderWay { appended, _handles: std::mem::take(&mut self.handles) })
    }
}

/// Resolves when the append has ended; `None` if there is none.
async fn finished(under_way: Option<&mut UnderWay>) -> Option<Result<Vec<Appended>, AppendError>> {
    match under_way {
        Some(under_way) => Some(under_way.appended.as_mut().await),
        None => None,
    }
}
