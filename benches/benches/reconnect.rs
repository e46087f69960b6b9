//! W2 and W3: a replica that comes back, to nothing new and to 100 changes among all that it has; a relay process, and replicas in
//! files, opened before the clock starts.
//!
//! Beside it, the least that a connection can do: connect, upgrade to a WebSocket, and one message each way.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use futures_util::{SinkExt, StreamExt};
use headwater::{EntityId, Replica, SyncOptions, SyncReport};
use headwater_benches::raw::{connect, serve_echo};
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::{Samples, Table, time};
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

const NAME: &str = "reconnect";
const CHANGED: usize = 100;
const ROUNDS: usize = 40;

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    for entities in [1_000, 10_000] {
        measure(scaled(entities));
    }
}

fn measure(entities: usize) {
    let directory = directory();
    let runtime = Runtime::new().or_exit("starting tokio");
    let relay = RelayProcess::start(directory.path());
    let url = relay.url();
    let [author, reader] =
        [1, 2].map(|seed| prepared::open(&directory.path().join(format!("replica-{seed}")), seed));
    let ids = prepared::fill(&author, entities);
    let sync = |replica: &Replica| sync(&runtime, replica, &url);
    sync(&author);
    sync(&reader);
    let echo = runtime.block_on(serve_echo(None));
    let changed = CHANGED.min(entities);
    let [mut nothing, mut some, mut raw] = std::array::from_fn::<_, 3, _>(|_| Samples::default());
    let (mut of_nothing, mut of_some) = (SyncReport::default(), SyncReport::default());
    for round in 0..scaled(ROUNDS) {
        raw.push(time(|| runtime.block_on(round_trip(echo))).0);
        let (took, report) = time(|| sync(&reader));
        (report.pulled == 0).then_some(()).or_exit("finding nothing new");
        nothing.push(took);
        of_nothing = report;
        edit(&author, &ids, round, changed);
        sync(&author);
        let (took, report) = time(|| sync(&reader));
        (report.pulled == changed as u64).then_some(()).or_exit("finding what is new");
        some.push(took);
        of_some = report;
    }
    let bytes = |report: &SyncReport| report.bytes_sent + report.bytes_received;
    let rows = |table: Table, samples: &Samples| {
        table
            .row("replica, until it knows that it has everything", samples.median())
            .row("raw: connect, upgrade and one message each way", raw.median())
            .row("   p99 of the replica", samples.percentile(99))
    };
    let table = Table::new(&format!("W2: reconnect, nothing changed among {entities}")).goal("3 ms, 1 KiB");
    print!("{}", rows(table, &nothing).note(format!("{} bytes of frames", bytes(&of_nothing))));
    let title = format!("W3: reconnect, {changed} of {entities} changed, stored when it ends");
    let table = Table::new(&title).goal("10 ms, 20 KB");
    print!("{}", rows(table, &some).note(format!("{} bytes of frames", bytes(&of_some))));
}

fn sync(runtime: &Runtime, replica: &Replica, url: &str) -> SyncReport {
    runtime.block_on(replica.sync(url, SyncOptions::new([prepared::space()]))).or_exit("syncing")
}

/// One field of each of the first entities, to something new.
fn edit(author: &Replica, ids: &[EntityId], round: usize, changed: usize) {
    let bags = prepared::bags(author);
    let rating = headwater::Map::from([("rating".to_owned(), (1000.5 + round as f64).into())]);
    let edits = ids.iter().take(changed).map(|id| (*id, rating.clone()));
    bags.as_dynamic().upsert_all(edits).or_exit("editing");
}

async fn round_trip(address: SocketAddr) {
    let mut socket = connect(address).await;
    socket.send(Message::Binary(Bytes::from_static(&[7; 200]))).await.or_exit("sending");
    tokio::time::timeout(Duration::from_secs(10), socket.next())
        .await
        .or_exit("waiting for the echo")
        .or_exit("receiving")
        .or_exit("receiving");
}
