//! The queue from the spaces to one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use headwater::sync::Time;
use headwater::sync::relay::{Author, Input, RelaySession, StoreTask};
use headwater::wire::ErrorCode;
use headwater_storage::{Appended, Seq, SpaceId, Watermark};
use tokio::sync::{Notify, mpsc};

/// A connection, unique in its process.
pub type ConnectionId = u64;

/// What a space has for a connection. Small: a queue keeps room for 32 of them, however empty it is.
#[derive(Clone, Debug)]
pub enum Message {
    /// A push was made durable, or was refused in part.
    Appended(Box<PushEnd>),
    /// The store could not take a push. Nothing of it is acknowledged.
    AppendFailed {
        /// Of the push.
        space: SpaceId,
        /// The client's number for it.
        push_id: u64,
    },
    /// Changes that are new in the feed, and whose they are. Shared by all connections.
    Live(Arc<LiveFrame>, Author),
    /// The feed is not the one any more that it was: every client has to open it again.
    Rewound,
}

/// What became of a push.
#[derive(Clone, Debug)]
pub struct PushEnd {
    /// Where it was pushed to.
    pub space: SpaceId,
    /// The client's number for it.
    pub push_id: u64,
    /// What the store said. `None` if every change was refused.
    pub appended: Option<Arc<Appended>>,
    /// Changes that were not taken: their place in the push, and why.
    pub refused: Vec<(usize, ErrorCode, String)>,
}

/// Changes that are new in a feed, encoded once for everyone.
#[derive(Clone, Debug)]
pub struct LiveFrame {
    /// Whose feed.
    pub space: SpaceId,
    /// Where the feed is before the first of them.
    pub before: Watermark,
    /// The seq of the first of them.
    pub first: Seq,
    /// Where the feed is after the last of them.
    pub watermark: Watermark,
    /// The frame, without a seal.
    pub frame: Bytes,
}

/// The sending end of a connection's queue: one for each space that has something for it.
///
/// Answers are bounded by the push window of the protocol; live frames by their bytes: what is above the bound is dropped, and
/// the connection is told that it lags and reads the feed instead.
#[derive(Clone, Debug)]
pub struct Inbox {
    messages: mpsc::UnboundedSender<Message>,
    state: Arc<State>,
}

/// The receiving end, which belongs to the connection.
#[derive(Debug)]
pub struct InboxReceiver {
    messages: mpsc::UnboundedReceiver<Message>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    live_bytes: AtomicUsize,
    live_bytes_max: usize,
    /// Set when a live frame was dropped; which spaces to read again is found out by asking all of them.
    lagged: AtomicBool,
    lagging: Notify,
}

impl Inbox {
    /// A queue in which live frames of at most `live_bytes_max` bytes may wait.
    ///
    /// ```
    /// let (inbox, mut receiver) = headwater_relay::space::Inbox::new(4096);
    /// drop(inbox);
    /// assert!(receiver.try_recv().is_none());
    /// ```
    pub fn new(live_bytes_max: usize) -> (Inbox, InboxReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (live_bytes, lagged, lagging) = (AtomicUsize::new(0), AtomicBool::new(false), Notify::new());
        let state = Arc::new(State { live_bytes, live_bytes_max, lagged, lagging });
        (Inbox { messages: sender, state: Arc::clone(&state) }, InboxReceiver { messages: receiver, state })
    }

    /// Queues a live frame, or notes that the connection lags when too many wait.
    pub(super) fn live(&self, live: &Arc<LiveFrame>, author: Author) {
        let (state, bytes) = (&self.state, live.frame.len());
        let waiting = state.live_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting.saturating_add(bytes) > state.live_bytes_max && !cfg!(bug = "inbox-without-bound") {
            state.live_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lag();
        } else {
            self.answer(Message::Live(Arc::clone(live), author));
        }
    }

    /// Tells the connection to read the feeds.
    pub(super) fn lag(&self) {
        self.state.lagged.store(!cfg!(bug = "lag-not-told"), Ordering::Release);
        self.state.lagging.notify_one();
    }

    pub(super) fn answer(&self, message: Message) {
        // A connection that is gone no longer needs it: its client will push again, and the changes are known then.
        let _gone = self.messages.send(message).is_err();
    }
}

/// What a connection takes out of its queue.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// Live frames were dropped: every space has to go back to reading the feed from where it is.
    Lagged,
}

impl InboxReceiver {
    /// The next delivery, once there is one. Safe to be cancelled.
    pub async fn recv(&mut self) -> Delivery {
        loop {
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => return Delivery::Message(self.state.taken(message)),
                () = self.state.lagging.notified() => {
                    if self.state.lagged.swap(false, Ordering::AcqRel) {
                        return Delivery::Lagged;
                    }
                }
            }
        }
    }

    /// The next delivery, if there is one.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        match self.messages.try_recv() {
            Ok(message) => Some(Delivery::Message(self.state.taken(message))),
            Err(_) => self.state.lagged.swap(false, Ordering::AcqRel).then_some(Delivery::Lagged),
        }
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.state.lagged.load(Ordering::Acquire)
    }

    /// The bytes of the live frames that wait. Never above the bound.
    pub fn live_bytes(&self) -> usize {
        self.state.live_bytes.load(Ordering::Relaxed)
    }
}

impl State {
    fn taken(&self, message: Message) -> Message {
        if let Message::Live(live, _) = &message {
            self.live_bytes.fetch_sub(live.frame.len(), Ordering::Relaxed);
        }
        message
    }
}

impl Delivery {
    /// Tells the session.
    pub fn hand_over(self, now: Time, session: &mut RelaySession) {
        match self {
            Delivery::Message(Message::Appended(end)) => {
                let PushEnd { space, push_id, appended, refused } = *end;
                session
                    .handle(now, Input::Appended { space, push_id, appended: appended.as_deref(), refused });
            }
            Delivery::Message(Message::AppendFailed { space, push_id }) => {
                session.handle(now, Input::StoreFailed { space, what: StoreTask::Append { push_id } });
            }
            Delivery::Message(Message::Live(live, author)) => {
                let LiveFrame { space, before, first, watermark, ref frame } = *live;
                let frame = frame.clone();
                session.handle(now, Input::Live { space, before, first, watermark, frame, author });
            }
            Delivery::Message(Message::Rewound) => session.handle(now, Input::Rewound),
            Delivery::Lagged => {
                let spaces: Vec<SpaceId> = session.spaces().collect();
                for space in spaces {
                    session.handle(now, Input::Lagged { space });
                }
            }
        }
    }
}
