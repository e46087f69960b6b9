//! What no system can go below on this machine: an echo on loopback, a commit of redb, an insert of Postgres, and Automerge alone.

use std::path::Path;
use std::time::{Duration, Instant};

use automerge::Change;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use headwater_benches::prepared::Edits;
use headwater_benches::raw::{Flush, Log, connect, serve_echo};
use headwater_benches::table::{Samples, time};
use headwater_storage::testing::Postgres;
use tokio_postgres::NoTls;
use tokio_tungstenite::tungstenite::Message;

use crate::Result;
use crate::figures::Figures;
use crate::workloads::Sizes;

const NAME: &str = "floors";
const BYTES: usize = 200;

/// Takes all of them.
pub(crate) fn measure(sizes: &Sizes, directory: &Path, figures: &mut Figures) -> Result<()> {
    let rounds = if sizes.documents.len() > 1 { 500 } else { 20 };
    let mut note = |what: &str, samples: Samples| {
        figures.note(NAME, &format!("{what}, p50, ms"), "raw", samples.median().as_secs_f64() * 1e3);
    };
    let runtime = tokio::runtime::Runtime::new()?;
    note("echo of 200 bytes over a WebSocket", runtime.block_on(echo(rounds)));
    for (what, flush) in [("one flush", Flush::Plain), ("two flushes, quick repair", Flush::QuickRepair)] {
        let log = Log::create(&directory.join(what), flush);
        let samples = (0..rounds).map(|_| time(|| log.append(&[7; BYTES])).0).collect();
        note(&format!("redb: commit of one row, {what}"), samples);
    }
    let postgres = Postgres::private(&[])?;
    let url = postgres.database()?;
    for rows in [1, 100, 1_000] {
        let samples = runtime.block_on(insert(&url, rows, rounds / 5))?;
        note(&format!("Postgres: insert of {rows} rows, committed"), samples);
    }
    let edits = Edits::make(1, rounds).of_each.remove(0);
    let changes: Vec<Bytes> = edits.into_iter().map(|change| change.payload).collect();
    let mut document = automerge::Automerge::new();
    let mut apply = |bytes: &Bytes| -> Result<Duration> {
        let start = Instant::now();
        document.apply_changes([Change::from_bytes(bytes.to_vec())?])?;
        Ok(start.elapsed())
    };
    let samples = changes.iter().map(&mut apply).collect::<Result<Vec<_>>>()?;
    note("Automerge: parse and apply one change", samples.into_iter().collect());
    Ok(())
}

async fn echo(rounds: usize) -> Samples {
    let mut socket = connect(serve_echo(None).await).await;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let sent = socket.send(Message::Binary(Bytes::from_static(&[7; BYTES]))).await;
        let answered = socket.next().await;
        if sent.is_ok() && answered.is_some() {
            samples.push(start.elapsed());
        }
    }
    samples
}

async fn insert(url: &str, rows: i64, rounds: usize) -> Result<Samples> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE IF NOT EXISTS plain (id bigserial PRIMARY KEY, payload bytea)")
        .await?;
    let statement = "INSERT INTO plain (payload) SELECT $1::bytea FROM generate_series(1, $2::bigint)";
    let statement = client.prepare(statement).await?;
    let payload = vec![7_u8; BYTES];
    let mut samples = Samples::default();
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        client.execute(&statement, &[&payload, &rows]).await?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}
