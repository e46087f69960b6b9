//! W5: how fast several clients can write, each to a document of its own.

use std::slice;
use std::time::Instant;

use tokio::task::{JoinSet, yield_now};

use super::{connected, numbered, publish};
use crate::Result;
use crate::dataset::Item;
use crate::system::{Client, Document, System};

/// When a writer makes its next edit.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// When the server has confirmed the one before.
    OneAtATime,
    /// At once.
    Unbounded,
}

/// One writer for each record. Seconds until the server has confirmed all edits of all writers.
pub(crate) async fn run<S: System>(
    system: &S,
    url: &str,
    items: &[Item],
    edits: usize,
    pace: Pace,
) -> Result<f64> {
    let mut writers = Vec::with_capacity(items.len());
    for item in items {
        let client = connected(system, url).await?;
        let documents = publish(&client, slice::from_ref(item)).await?;
        writers.push((client, documents));
    }

    let started = Instant::now();
    let mut writing = JoinSet::new();
    for (client, documents) in writers {
        writing.spawn(async move {
            write(&client, &documents, edits, pace).await?;
            Ok(client)
        });
    }
    let clients: Result<Vec<S::Client>> = writing.join_all().await.into_iter().collect();
    let seconds = started.elapsed().as_secs_f64();

    for client in clients? {
        client.close().await?;
    }
    Ok(seconds)
}

async fn write<C: Client>(client: &C, documents: &[C::Document], edits: usize, pace: Pace) -> Result<()> {
    for number in 0..edits {
        for document in documents {
            document.edit("rating", &numbered::rating(number)).await?;
        }
        match pace {
            Pace::OneAtATime => client.confirmed(documents).await?,
            // An app's edits come out of its event loop too. Where an edit never waits, the writers would else hold all workers of
            // the runtime, and nothing would be sent before the last edit.
            Pace::Unbounded => yield_now().await,
        }
    }
    client.confirmed(documents).await
}
