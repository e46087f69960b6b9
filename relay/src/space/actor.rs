//! The task of a space.
//!
//! Whatever arrives while an append is being made durable goes into the next one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use headwater::ingest::ChangeLimits;
use headwater_storage::{AppendError, Appended, FeedEpoch, FeedStore, PageLimit, Seq, SpaceId, Watermark};
use tokio::sync::{mpsc, oneshot};

use super::inbox::{ConnectionId, Inbox};
use super::machine::{Push, SpaceMachine};
use crate::news::News;

/// How much is read at once of what others have appended: as much as fits a frame.
const FOLLOWED: PageLimit = PageLimit { entries_max: 500, bytes_max: 256 << 10 };

pub(crate) type SpaceHandle = mpsc::Sender<Mail>;

#[derive(Clone)]
pub(crate) struct ActorConfig {
    pub(crate) store: FeedStore,
    /// Told of every append.
    pub(crate) news: Arc<News>,
    pub(crate) change: ChangeLimits,
    pub(crate) queue_pushes_max: usize,
    pub(crate) append_changes_max: usize,
    pub(crate) append_bytes_max: usize,
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
    /// Another relay says that the feed has come so far.
    Grown {
        seq: Seq,
    },
    /// The store's file is another one by now.
    Replaced,
    /// The feed was seen to be here, or not to be there at all.
    Look {
        head: Option<Watermark>,
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
    let (changes_waiting, bytes_waiting, handles) = (0, 0, Vec::new());
    let is_shared = config.store.database().is_some();
    tokio::spawn(
        Actor { space, config, machine, is_shared, changes_waiting, bytes_waiting, handles }.run(mailbox),
    );
    handle
}

struct Actor {
    space: SpaceId,
    config: ActorConfig,
    machine: SpaceMachine,
    /// Whether other relays append to the same feed.
    is_shared: bool,
    /// Changes of the pushes that wait for the next append, and their bytes.
    changes_waiting: usize,
    bytes_waiting: usize,
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
            let has_room = self.has_room();
            tokio::select! {
                mail = mailbox.recv(), if has_room => match mail {
                    Some(mail) => {
                        self.take(mail).await;
                        // Everything that has come by now goes into the same append.
                        while self.has_room()
                            && let Ok(mail) = mailbox.try_recv()
                        {
                            self.take(mail).await;
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
                    let head = appended.as_ref().ok().and_then(|appended| Some(appended.last()?.head()));
                    self.machine.end_append(appended.ok());
                    self.config.news.of(self.space);
                    if self.is_shared && head.is_some() && self.machine.delivered() != head {
                        self.follow().await;
                    }
                }
            }
        }
    }

    /// Whether more may go into the next append.
    fn has_room(&self) -> bool {
        self.changes_waiting < self.config.append_changes_max
            && self.bytes_waiting < self.config.append_bytes_max
    }

    async fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Subscribe { connection, inbox, done } => {
                self.machine.subscribe(connection, inbox);
                if self.is_shared && self.machine.delivered().is_none() {
                    // From here on everything is passed on; the connection reads what was before.
                    self.begin_to_share().await;
                }
                // A connection that is gone by now unsubscribes as well.
                let _gone = done.send(()).is_err();
            }
            Mail::Unsubscribe { connection } => self.machine.unsubscribe(connection),
            Mail::Grown { seq } => {
                if self.machine.delivered().is_none_or(|delivered| delivered.seq < seq) {
                    self.follow().await;
                }
            }
            Mail::Replaced => self.machine.rewind(),
            Mail::Look { head: None } => {
                // One that was never there is no news.
                if self.machine.delivered().is_some() {
                    self.machine.rewind();
                }
            }
            Mail::Look { head } => {
                if self.machine.delivered() != head {
                    self.follow().await;
                }
            }
            Mail::Push { push, actor } => {
                self.changes_waiting += push.entries.len();
                self.bytes_waiting += push.entries.bytes();
                self.handles.push(actor);
                self.machine.push(push);
            }
        }
    }

    async fn begin_to_share(&mut self) {
        match self.config.store.head(self.space).await {
            Ok(Some(head)) => self.machine.share(head),
            // There is nothing yet; the first append begins it.
            Ok(None) => {}
            Err(error) => tracing::error!(space = %self.space, %error, "the feed's head cannot be read"),
        }
    }

    /// Passes on what others have appended. Whatever fails here is found again at the next look.
    async fn follow(&mut self) {
        loop {
            let Some(delivered) = self.machine.delivered() else {
                self.begin_to_share().await;
                // What was appended until now has passed the connections by.
                self.machine.lag_all();
                return;
            };
            match self.config.store.read_by_seq(self.space, delivered.seq, FOLLOWED).await {
                Ok(page) => {
                    if page.end != delivered {
                        self.machine.pass_on(&page);
                    }
                    if page.end == page.head {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(space = %self.space, %error, "what other relays have appended cannot be read");
                    return;
                }
            }
        }
    }

    fn begin_append(&mut self) -> Option<UnderWay> {
        let received_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let appends = self.machine.begin_append(received_ms, || FeedEpoch::from_bytes(rand::random()))?;
        (self.changes_waiting, self.bytes_waiting) = (0, 0);
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
