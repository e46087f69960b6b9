//! W6: how long an edit takes from one client to all subscribers of the document.
//!
//! The subscribers share the machine with the server, so they do little: one task each, which appends to a list of its own.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::audience::{audience, publisher};
use super::numbered;
use crate::dataset::Item;
use crate::system::{Changes, Client, Document, System};
use crate::{Answer, Result};

/// How long subscribers wait for edits after the last was made.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who listens, and to how much.
pub(crate) struct Load {
    pub(crate) subscribers: usize,
    pub(crate) per_second: u32,
    pub(crate) edits: usize,
}

/// When each edit was begun. The writer sets a place before it makes the edit, so whoever sees the edit finds it set.
type Begun = Arc<[OnceLock<Instant>]>;

/// What one subscriber saw.
struct Received {
    latencies_ms: Vec<f64>,
    events: usize,
}

/// Lets one client edit at a steady rate, and gathers when each edit reached each subscriber.
pub(crate) async fn run<S: System>(system: &S, url: &str, item: &Item, load: &Load) -> Result<Answer> {
    let (writer, document) = publisher(system, url, item).await?;
    let begun: Begun = (0..load.edits).map(|_| OnceLock::new()).collect();
    let (give_up, given_up) = watch::channel(());
    let mut clients = vec![writer];
    let mut listening = JoinSet::new();
    for (client, document) in audience(system, url, &document.id(), load.subscribers).await? {
        listening.spawn(listen(document.changes()?, begun.clone(), given_up.clone()));
        clients.push(client);
    }

    let mut ticks = interval(Duration::from_secs(1) / load.per_second.max(1));
    for (number, begun) in begun.iter().enumerate() {
        ticks.tick().await;
        let rating = numbered::rating(number);
        begun.get_or_init(Instant::now);
        document.edit("rating", &rating).await?;
    }

    let patience = tokio::spawn(async move {
        sleep(PATIENCE).await;
        drop(give_up);
    });
    let received: Result<Vec<Received>> = listening.join_all().await.into_iter().collect();
    patience.abort();
    for client in clients {
        client.close().await?;
    }
    Ok(answer(received?, load))
}

/// Takes down the latency of every edit that an event shows or passes, until all are there or the sender of `given_up` is gone.
async fn listen<C: Changes>(
    mut changes: C,
    begun: Begun,
    mut given_up: watch::Receiver<()>,
) -> Result<Received> {
    let mut received = Received { latencies_ms: Vec::with_capacity(begun.len()), events: 0 };
    let mut given_up = pin!(given_up.changed());
    while received.latencies_ms.len() < begun.len() {
        let rating = tokio::select! {
            biased;
            rating = changes.next() => rating?,
            _ = &mut given_up => break,
        };
        let now = Instant::now();
        let new = received.latencies_ms.len()..numbered::seen(rating).min(begun.len());
        received.events += usize::from(!new.is_empty());
        let latencies = begun[new].iter().filter_map(OnceLock::get).map(|&begun| now - begun);
        received.latencies_ms.extend(latencies.map(|latency| latency.as_secs_f64() * 1000.0));
    }
    Ok(received)
}

fn answer(received: Vec<Received>, load: &Load) -> Answer {
    let events: usize = received.iter().map(|received| received.events).sum();
    let latencies_ms: Vec<f64> = received.into_iter().flat_map(|received| received.latencies_ms).collect();
    let delivered = latencies_ms.len();
    eprintln!("fan_out: {delivered} deliveries came in {events} events");
    Answer::Delivered { latencies_ms, delivered, expected: load.edits * load.subscribers }
}
