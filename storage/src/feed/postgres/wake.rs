//! Relays that share a database wake each other up.
//!
//! A notification only says where to look, so one that is lost costs time and nothing else; a poll finds what was missed, and is all
//! that there is on an engine without notifications. They are sent after the commit, on a connection of their own and many at a
//! time, because in Postgres every commit that notifies takes one lock of the whole server.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client};
use uuid::Uuid;

use super::connect::{PostgresOptions, full};
use crate::id::SpaceId;
use crate::position::Seq;

const CHANNEL: &str = "headwater_feed";
/// The migrations' triggers tell here that somebody has edited with SQL.
const INBOX: &str = "headwater_inbox";
/// A notification holds 8,000 bytes at most, and a space takes less than 60.
const SPACES_AT_ONCE: usize = 100;
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const WAKES_MAX: usize = 1024;

/// Why a relay looks at its feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Another relay says that this feed has come so far.
    Grown(SpaceId, Seq),
    /// Somebody has edited with SQL.
    Edited,
    /// Something may have been missed: look at every feed that somebody follows.
    Look,
}

/// Tells the other relays what this one has appended. Cheap to clone.
#[derive(Clone)]
pub(super) struct News {
    waiting: Arc<Waiting>,
    _task: Arc<Ends>,
}

#[derive(Default)]
struct Waiting {
    spaces: Mutex<BTreeMap<SpaceId, Seq>>,
    some: Notify,
}

/// Ends a task when it is dropped.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl News {
    pub(super) fn start(options: Arc<PostgresOptions>, instance: Uuid) -> Self {
        let waiting = Arc::new(Waiting::default());
        let task = tokio::spawn(tell_all(Arc::clone(&waiting), options, instance));
        Self { waiting, _task: Arc::new(Ends(task)) }
    }

    /// The feed of `space` has come to `seq`.
    pub(super) fn tell(&self, space: SpaceId, seq: Seq) {
        let mut spaces = self.waiting.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let told = spaces.entry(space).or_insert(seq);
        *told = seq.max(*told);
        drop(spaces);
        self.waiting.some.notify_one();
    }
}

async fn tell_all(waiting: Arc<Waiting>, options: Arc<PostgresOptions>, instance: Uuid) {
    let mut connected: Option<(Client, Ends)> = None;
    loop {
        waiting.some.notified().await;
        let spaces = std::mem::take(&mut *waiting.spaces.lock().unwrap_or_else(PoisonError::into_inner));
        let spaces: Vec<_> = spaces.into_iter().collect();
        if connected.as_ref().is_none_or(|(client, _)| client.is_closed()) {
            connected = match connect(&options, None).await {
                Ok(connected) => Some(connected),
                Err(error) => {
                    tracing::warn!(%error, "other relays cannot be told; they find out when they look");
                    tokio::time::sleep(AGAIN_AFTER).await;
                    continue;
                }
            };
        }
        let Some((client, _)) = &connected else { continue };
        for spaces in spaces.chunks(SPACES_AT_ONCE) {
            let mut text = instance.to_string();
            for (space, seq) in spaces {
                text.push_str(&format!(" {space} {seq}"));
            }
            let told = async { client.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &text]).await };
            let told = tokio::time::timeout(options.answer_max(), told).await;
            match told {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => {
                    tracing::info!("this database has no notifications; relays look for themselves");
                    return;
                }
                // Another connection next time.
                Err(_) => {
                    connected = None;
                    break;
                }
                Ok(Err(error)) => tracing::debug!(error = full(&error), "a notification was not sent"),
            }
        }
    }
}

/// What other relays append, from when it was made.
pub struct Wakes {
    wakes: mpsc::Receiver<Wake>,
    _tasks: Vec<Ends>,
}

impl Wakes {
    pub(super) fn start(options: Arc<PostgresOptions>, instance: Uuid) -> Self {
        let (sender, wakes) = mpsc::channel(WAKES_MAX);
        let poll = Duration::from_millis(options.poll_ms.max(1));
        let listening = tokio::spawn(listen(options, instance, sender.clone()));
        let polling = tokio::spawn(async move {
            loop {
                tokio::time::sleep(poll).await;
                // A queue that is full has enough to look at.
                if matches!(sender.try_send(Wake::Look), Err(mpsc::error::TrySendError::Closed(_))) {
                    return;
                }
            }
        });
        Self { wakes, _tasks: vec![Ends(listening), Ends(polling)] }
    }

    /// The next reason to look. Safe to be cancelled.
    pub async fn next(&mut self) -> Wake {
        // The poll never ends while this is here.
        self.wakes.recv().await.unwrap_or(Wake::Look)
    }
}

async fn listen(options: Arc<PostgresOptions>, instance: Uuid, sender: mpsc::Sender<Wake>) {
    loop {
        let forward = Forward { instance, sender: sender.clone() };
        match connect(&options, Some(forward)).await {
            Ok((client, mut driver)) => {
                match client.batch_execute(&format!("LISTEN {CHANNEL}; LISTEN {INBOX}")).await {
                    Ok(()) => {
                        // What came before it listened was missed.
                        if sender.send(Wake::Look).await.is_err() {
                            return;
                        }
                        let _ended = (&mut driver.0).await.is_ok();
                    }
                    Err(error) if error.as_db_error().is_some() => {
                        tracing::info!(
                            error = full(&error),
                            "this database has no notifications; the relay polls"
                        );
                        return;
                    }
                    Err(error) => tracing::debug!(error = full(&error), "listening failed"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the relay cannot listen for other relays; it polls meanwhile")
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

struct Forward {
    instance: Uuid,
    sender: mpsc::Sender<Wake>,
}

impl Forward {
    /// Passes a notification on, unless it is this relay's own.
    fn pass(&self, channel: &str, text: &str) {
        if channel == INBOX {
            let _full = self.sender.try_send(Wake::Edited).is_err();
            return;
        }
        let mut words = text.split(' ');
        if words.next() == Some(self.instance.to_string().as_str()) {
            return;
        }
        while let (Some(space), Some(seq)) = (words.next(), words.next()) {
            let wake = match (space.parse(), seq.parse()) {
                (Ok(space), Ok(seq)) => Wake::Grown(space, seq),
                // From a version that says it in another way.
                _ => Wake::Look,
            };
            // Whoever falls behind looks at everything at the next poll.
            let _full = self.sender.try_send(wake).is_err();
        }
    }
}

/// A connection of its own, whose notifications go to `forward`.
async fn connect(
    options: &PostgresOptions,
    forward: Option<Forward>,
) -> Result<(Client, Ends), super::DatabaseError> {
    let unreachable = |error: tokio_postgres::Error| super::DatabaseError::Unreachable(full(&error));
    let (client, mut connection) = options.config()?.connect(options.tls()?).await.map_err(unreachable)?;
    let driver = tokio::spawn(async move {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(said))) => {
                    if let Some(forward) = &forward {
                        forward.pass(said.channel(), said.payload());
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    });
    let driver = Ends(driver);
    // A notification is nothing that has to survive.
    client.batch_execute("SET synchronous_commit = off").await.map_err(unreachable)?;
    Ok((client, driver))
}
