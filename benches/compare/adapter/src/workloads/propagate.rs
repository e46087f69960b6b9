//! W4: how long an edit takes from one client, through the server, to another.

use std::time::Instant;

use super::{connected, numbered, publish};
use crate::Result;
use crate::dataset::Item;
use crate::system::{Changes, Client, Document, System};

/// Milliseconds for each counted edit, from before the call until the other client's change event with the new value.
pub(crate) async fn run<S: System>(
    system: &S,
    url: &str,
    items: &[Item],
    edits: usize,
    warm: usize,
) -> Result<Vec<f64>> {
    let (writer, reader) = (connected(system, url).await?, connected(system, url).await?);
    let written = publish(&writer, items).await?;
    let read = reader.fetch(&written.iter().map(Document::id).collect::<Vec<_>>()).await?;
    let changes: Result<Vec<_>> = read.iter().map(Document::changes).collect();
    let mut changes = changes?;

    let mut latencies_ms = Vec::with_capacity(edits);
    for number in 0..warm + edits {
        let document = number % items.len();
        let rating = numbered::rating(number);
        let started = Instant::now();
        written[document].edit("rating", &rating).await?;
        while numbered::seen(changes[document].next().await?) <= number {}
        let elapsed = started.elapsed();
        if number >= warm {
            latencies_ms.push(elapsed.as_secs_f64() * 1000.0);
        }
    }
    writer.close().await?;
    reader.close().await?;
    Ok(latencies_ms)
}
