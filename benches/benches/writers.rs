//! W5: many writers, each on an entity of its own, all in one space; a relay process, and clients that keep nothing, so that what is
//! measured is the relay. One edit at a time, waiting for each to be durable there; and pipelined, as the session of a client does it.
//!
//! Beside it, group commit without Headwater: the same messages over WebSocket into one redb table, answered once they are durable.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use futures_util::{SinkExt, StreamExt};
use headwater_benches::prepared::{self, Edits};
use headwater_benches::raw::{connect, serve_group_commit};
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::Table;
use headwater_benches::wire::WireClient;
use headwater_benches::{OrExit, directory, run, scaled};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio_tungstenite::tungstenite::Message;

const NAME: &str = "writers";

/// How a run goes.
#[derive(Clone, Copy)]
struct Way {
    writers: usize,
    edits: usize,
    /// Edits in one push: what a client has made while the pushes before were under way.
    together: usize,
    /// Pushes under way at the same time.
    under_way: usize,
}

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    let way =
        |writers, edits, together, under_way| Way { writers, edits: scaled(edits), together, under_way };
    print!("{}", measure("one at a time", "2,500 edits/s", way(16, 500, 1, 1)));
    print!("{}", measure("one at a time", "8,900 edits/s", way(256, 50, 1, 1)));
    print!("{}", measure("pipelined, one edit a push", "20,000 edits/s", way(16, 2_000, 1, 16)));
    print!("{}", measure("pipelined, 16 edits a push", "20,000 edits/s", way(16, 4_000, 16, 16)));
}

fn measure(title: &str, goal: &str, way: Way) -> Table {
    let directory = directory();
    let runtime = Runtime::new().or_exit("starting tokio");
    let edits = Edits::make(way.writers, way.edits);
    let relay = RelayProcess::start(directory.path());
    let before = relay.process().processor_time();
    let took = runtime.block_on(push_all(relay.address(), edits, way));
    let processor = relay.process().processor_time().saturating_sub(before);
    drop(relay);
    let of_raw = runtime.block_on(async {
        let address = serve_group_commit(&directory.path().join("raw")).await;
        send_all(address, way).await
    });
    let edits = (way.writers * way.edits) as f64;
    Table::new(&format!("W5: {} writers, {title}, {} edits each, durable", way.writers, way.edits))
        .goal(goal)
        .row("relay", took)
        .row("group commit of as many bytes, nothing checked", of_raw)
        .note(format!("{:.0} edits/s; raw {:.0}", edits / took.as_secs_f64(), edits / of_raw.as_secs_f64()))
        .note(format!(
            "{:.3} s of the relay's processor time for 1,000 edits",
            processor.as_secs_f64() / edits * 1e3
        ))
}

async fn push_all(relay: SocketAddr, edits: Edits, way: Way) -> Duration {
    let barrier = Arc::new(Barrier::new(way.writers + 1));
    let mut tasks = Vec::new();
    for (writer, changes) in edits.of_each.into_iter().enumerate() {
        let barrier = Arc::clone(&barrier);
        tasks.push(tokio::spawn(async move {
            let mut client = WireClient::connect(relay, writer as u64 + 1).await;
            client.open_to_push(prepared::space()).await;
            let mut changes = changes.into_iter();
            client.push(prepared::space(), changes.by_ref().take(1).collect()).await;
            client.flush().await;
            client.acknowledged().await;
            barrier.wait().await;
            let (mut pushed, mut acknowledged) = (0, 0);
            let mut under_way = 0;
            while acknowledged < way.edits {
                while under_way < way.under_way && pushed < way.edits {
                    let entries: Vec<_> = changes.by_ref().take(way.together).collect();
                    pushed += entries.len();
                    under_way += 1;
                    client.push(prepared::space(), entries).await;
                }
                client.flush().await;
                acknowledged += client.acknowledged().await;
                under_way -= 1;
            }
        }));
    }
    clocked(&barrier, tasks).await
}

async fn send_all(address: SocketAddr, way: Way) -> Duration {
    let barrier = Arc::new(Barrier::new(way.writers + 1));
    let message = Bytes::from(vec![7; 180 * way.together]);
    let mut tasks = Vec::new();
    for _ in 0..way.writers {
        let (barrier, message) = (Arc::clone(&barrier), message.clone());
        tasks.push(tokio::spawn(async move {
            let mut socket = connect(address).await;
            barrier.wait().await;
            let pushes = way.edits.div_ceil(way.together);
            let (mut pushed, mut acknowledged) = (0, 0);
            while acknowledged < pushes {
                while pushed - acknowledged < way.under_way && pushed < pushes {
                    socket.feed(Message::Binary(message.clone())).await.or_exit("sending");
                    pushed += 1;
                }
                socket.flush().await.or_exit("sending");
                socket.next().await.or_exit("receiving").or_exit("receiving");
                acknowledged += 1;
            }
        }));
    }
    clocked(&barrier, tasks).await
}

/// From when all tasks have reached the barrier until all have ended.
async fn clocked(barrier: &Barrier, tasks: Vec<tokio::task::JoinHandle<()>>) -> Duration {
    barrier.wait().await;
    let start = Instant::now();
    for task in tasks {
        task.await.or_exit("joining a writer");
    }
    start.elapsed()
}
