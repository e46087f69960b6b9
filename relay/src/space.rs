//! One actor per space: checks pushed changes, appends them, acknowledges, fans out.
//!
//! Whatever arrives while an append is being made durable goes into the next one. Answers and live frames go to each connection
//! through one queue, so a connection sees them in the order of the feed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater::document::ingest::{ChangeLimits, IngestError, check_record};
use headwater::sync::relay::{Author, encode_live};
use headwater::wire::ErrorCode;
use headwater_storage::{
    Append, Appended, ChangeRecord, DeviceId, FeedEntry, FeedEpoch, FeedStore, Seq, SpaceId, Watermark,
};
use tokio::sync::{Notify, mpsc};

pub(crate) type SpaceHandle = mpsc::Sender<Command>;

/// A connection, unique in this process.
pub(crate) type ConnectionId = u64;

#[derive(Clone)]
pub(crate) struct SpaceConfig {
    pub(crate) store: FeedStore,
    pub(crate) change: ChangeLimits,
    pub(crate) queue_pushes_max: usize,
    pub(crate) append_changes_max: usize,
    pub(crate) live_queue_bytes_max: usize,
}

pub(crate) enum Command {
    /// From now on, live frames go to this connection.
    Subscribe {
        connection: ConnectionId,
        inbox: Inbox,
    },
    Unsubscribe {
        connection: ConnectionId,
    },
    Push(PushCommand),
}

pub(crate) struct PushCommand {
    pub(crate) connection: ConnectionId,
    pub(crate) device: DeviceId,
    pub(crate) push_id: u64,
    pub(crate) entries: Vec<ChangeRecord>,
    /// Where the answer goes; the connection need not be subscribed.
    pub(crate) answer: Inbox,
    /// Keeps the actor, and with it the order of the feed, until the push is done, even if its connection is gone.
    pub(crate) _actor: SpaceHandle,
}

/// A connection's queue.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub(crate) messages: mpsc::UnboundedSender<Message>,
    pub(crate) state: Arc<InboxState>,
}

/// What keeps the queue bounded: answers are bounded by the push window, live frames by their bytes.
#[derive(Default)]
pub(crate) struct InboxState {
    live_bytes: AtomicUsize,
    /// Set when a live frame was dropped; which spaces to read again is found out by asking all of them.
    pub(crate) lagged: AtomicBool,
    pub(crate) lagging: Notify,
}

pub(crate) enum Message {
    Appended {
        space: SpaceId,
        push_id: u64,
        appended: Option<Arc<Appended>>,
        refused: Vec<(usize, ErrorCode, String)>,
    },
    AppendFailed {
        space: SpaceId,
        push_id: u64,
    },
    Live {
        space: SpaceId,
        first: Seq,
        watermark: Watermark,
        frame: Bytes,
        author: Author,
    },
}

impl InboxState {
    /// Must be called once for each live message that was taken out of the queue.
    pub(crate) fn taken(&self, live_bytes: usize) {
        self.live_bytes.fetch_sub(live_bytes, Ordering::Relaxed);
    }
}

impl Inbox {
    /// Queues a live frame, or notes that the connection lags when too many wait.
    fn live(&self, message: Message, bytes: usize, bytes_max: usize) {
        let waiting = self.state.live_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting.saturating_add(bytes) > bytes_max {
            self.state.live_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.state.lagged.store(true, Ordering::Release);
            self.state.lagging.notify_one();
        } else {
            self.answer(message);
        }
    }

    fn answer(&self, message: Message) {
        // A connection that is gone no longer needs it: its client will push again, and the changes are known then.
        let _gone = self.messages.send(message).is_err();
    }
}

/// Starts the actor of a space. It ends when the last handle is dropped.
pub(crate) fn start(space: SpaceId, config: SpaceConfig) -> SpaceHandle {
    let (handle, mailbox) = mpsc::channel(config.queue_pushes_max);
    tokio::spawn(Actor { space, config, subscribers: HashMap::new() }.run(mailbox));
    handle
}

struct Actor {
    space: SpaceId,
    config: SpaceConfig,
    subscribers: HashMap<ConnectionId, Inbox>,
}

/// A push whose changes were checked.
struct CheckedPush {
    command: PushCommand,
    refused: Vec<(usize, ErrorCode, String)>,
    has_entries: bool,
}

impl Actor {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        while let Some(first) = mailbox.recv().await {
            let mut pushes = Vec::new();
            let mut changes = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Subscribe { connection, inbox } => {
                        self.subscribers.insert(connection, inbox);
                    }
                    Command::Unsubscribe { connection } => {
                        self.subscribers.remove(&connection);
                    }
                    Command::Push(push) => {
                        changes += push.entries.len();
                        pushes.push(push);
                    }
                }
                next = if changes < self.config.append_changes_max { mailbox.try_recv().ok() } else { None };
            }
            if !pushes.is_empty() {
                self.append(pushes).await;
            }
        }
    }

    async fn append(&self, pushes: Vec<PushCommand>) {
        let received_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut checked = Vec::with_capacity(pushes.len());
        let mut appends = Vec::with_capacity(pushes.len());
        for mut command in pushes {
            let (entries, refused) = self.check(std::mem::take(&mut command.entries));
            let has_entries = !entries.is_empty();
            if has_entries {
                appends.push(Append {
                    space: self.space,
                    origin: command.device,
                    received_ms,
                    epoch_if_new: FeedEpoch::from_bytes(rand::random()),
                    entries,
                });
            }
            checked.push(CheckedPush { command, refused, has_entries });
        }
        let appended = match self.config.store.append_all(appends).await {
            Ok(appended) => appended,
            Err(error) => {
                tracing::error!(space = %self.space, %error, "an append failed");
                for CheckedPush { command, .. } in checked {
                    command
                        .answer
                        .answer(Message::AppendFailed { space: self.space, push_id: command.push_id });
                }
                return;
            }
        };
        let mut appended = appended.into_iter();
        for CheckedPush { command, refused, has_entries } in checked {
            let receipt = if has_entries { appended.next().map(Arc::new) } else { None };
            let PushCommand { connection, push_id, answer, .. } = command;
            // The answer first: it moves the pusher's position past its own changes, which then need not be sent back.
            let message =
                Message::Appended { space: self.space, push_id, appended: receipt.clone(), refused };
            answer.answer(message);
            if let Some(receipt) = receipt {
                self.fan_out(connection, &receipt);
            }
        }
    }

    fn check(&self, records: Vec<ChangeRecord>) -> (Vec<FeedEntry>, Vec<(usize, ErrorCode, String)>) {
        let mut entries = Vec::with_capacity(records.len());
        let mut refused = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            match check_record(&record, &self.config.change) {
                Ok(change) => entries.push(FeedEntry { deps: change.deps, record }),
                Err(error) => refused.push((index, code_of(&error), error.to_string())),
            }
        }
        (entries, refused)
    }

    fn fan_out(&self, author: ConnectionId, appended: &Appended) {
        let Some(first) = appended.rows().first().map(|row| row.seq) else { return };
        if self.subscribers.is_empty() {
            return;
        }
        let watermark = appended.head();
        let frame = encode_live(self.space, first, appended.rows().iter().map(|row| &row.record), watermark);
        for (connection, inbox) in &self.subscribers {
            let author = if *connection == author { Author::Own } else { Author::Other };
            let message = Message::Live { space: self.space, first, watermark, frame: frame.clone(), author };
            inbox.live(message, frame.len(), self.config.live_queue_bytes_max);
        }
    }
}

fn code_of(error: &IngestError) -> ErrorCode {
    match error {
        IngestError::TooLarge { .. } => ErrorCode::ChangeTooLarge,
        IngestError::WrongHash { .. } => ErrorCode::HashMismatch,
        IngestError::UnsupportedKind => ErrorCode::UnknownKind,
        _ => ErrorCode::ChangeInvalid,
    }
}
