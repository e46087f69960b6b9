//! W6: one writer edits 20 times a second, and many subscribers follow, through a relay process.
//!
//! Beside it, as many messages of the same size through a raw WebSocket server that passes them on and keeps nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use futures_util::{SinkExt, StreamExt};
use headwater_benches::curve::Curves;
use headwater_benches::prepared::{self, Edits};
use headwater_benches::process::Process;
use headwater_benches::raw::{Socket, connect, serve_broadcast};
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::{Samples, Table};
use headwater_benches::wire::WireClient;
use headwater_benches::{OrExit, directory, run, scaled};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const NAME: &str = "fan_out";
const EDITS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);
/// How long an edit may take to be everywhere.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    let mut curves = Curves::new("scale-fan-out", "W6: one edit to all subscribers", "subscribers");
    for subscribers in [1, 50, 200, 500, 1_500] {
        print!("{}", measure(scaled(subscribers), &mut curves));
    }
}

fn measure(subscribers: usize, curves: &mut Curves) -> Table {
    let directory = directory();
    let runtime = Runtime::new().or_exit("starting tokio");
    let relay = RelayProcess::start(directory.path());
    let edits = scaled(EDITS);
    let before = relay.process().processor_time();
    let (of_relay, received) = runtime.block_on(through_relay(relay.address(), subscribers, edits));
    let processor = relay.process().processor_time().saturating_sub(before);
    drop(relay);
    let me = Process::this().processor_time();
    let of_raw = runtime.block_on(async {
        let address = serve_broadcast().await;
        through_raw(address, subscribers, edits, received.frame_bytes).await
    });
    let raw_processor = Process::this().processor_time().saturating_sub(me);
    let times = |samples: &Samples, percent| samples.percentile(percent);
    for (line, samples, percent) in [
        ("relay, p50, ms", &of_relay, 50),
        ("raw broadcast, p50, ms", &of_raw, 50),
        ("relay, p99, ms", &of_relay, 99),
        ("raw broadcast, p99, ms", &of_raw, 99),
    ] {
        curves.point(line, subscribers, samples.percentile(percent).as_secs_f64() * 1e3);
    }
    Table::new(&format!("W6: {edits} edits, 20 a second, to {subscribers} subscribers"))
        .goal("with 200: 4.5 / 14 ms; with 1,500: twice the raw broadcast")
        .row("relay, p50", times(&of_relay, 50))
        .row("raw broadcast, p50", times(&of_raw, 50))
        .row("relay, p99", times(&of_relay, 99))
        .row("raw broadcast, p99", times(&of_raw, 99))
        .note(format!(
            "{:.2} s of the relay's processor time (connecting included); raw, with its load, {:.2} s",
            processor.as_secs_f64(),
            raw_processor.as_secs_f64()
        ))
        .note(format!("{} of {} deliveries", received.changes, edits * subscribers))
}

/// What the subscribers of a relay got.
struct Received {
    changes: usize,
    frame_bytes: usize,
}

async fn through_relay(relay: SocketAddr, subscribers: usize, edits: usize) -> (Samples, Received) {
    let space = prepared::space();
    let mut changes = Edits::make(1, edits).of_each.remove(0).into_iter();
    let mut writer = WireClient::connect(relay, 1).await;
    writer.open_to_push(space).await;
    writer.push(space, changes.by_ref().take(1).collect()).await;
    writer.flush().await;
    writer.acknowledged().await;
    let start = Instant::now();
    // When each edit was sent; a subscriber knows by the seq which one it got.
    let (sent, times) = watch::channel(Vec::<Duration>::with_capacity(edits));
    let mut following = JoinSet::new();
    for device in 0..subscribers {
        let mut client = WireClient::connect(relay, device as u64 + 2).await;
        client.open_live(space).await;
        let times = times.clone();
        following.spawn(async move {
            let mut samples = Vec::with_capacity(edits);
            while samples.len() < edits {
                let frame = client.follow(space).await;
                let now = start.elapsed();
                let times = times.borrow();
                for change in 0..frame.entries.len() {
                    // The entity's creation has the seq 1.
                    let edit = frame.first.map_or(0, |first| first.get() as usize + change - 2);
                    samples.push(now.saturating_sub(times[edit]));
                }
            }
            samples
        });
    }
    let frame_bytes = changes.as_slice().first().map_or(0, |change| change.payload.len() + 220);
    let mut ticks = tokio::time::interval(EVERY);
    for change in changes {
        ticks.tick().await;
        sent.send_modify(|sent| sent.push(start.elapsed()));
        writer.push(space, vec![change]).await;
        writer.flush().await;
        writer.acknowledged().await;
    }
    let samples = tokio::time::timeout(PATIENCE, following.join_all()).await.or_exit("delivering everything");
    let changes = samples.iter().map(Vec::len).sum();
    (samples.into_iter().flatten().collect(), Received { changes, frame_bytes })
}

async fn through_raw(address: SocketAddr, subscribers: usize, edits: usize, bytes: usize) -> Samples {
    let start = Instant::now();
    let (sent, times) = watch::channel(Vec::<Duration>::with_capacity(edits));
    let mut writer = connect(address).await;
    let mut following = JoinSet::new();
    for _ in 0..subscribers {
        let mut socket = connect(address).await;
        let times = times.clone();
        following.spawn(async move {
            let mut samples = Vec::with_capacity(edits);
            while samples.len() < edits {
                receive(&mut socket).await;
                samples.push(start.elapsed().saturating_sub(times.borrow()[samples.len()]));
            }
            samples
        });
    }
    let mut ticks = tokio::time::interval(EVERY);
    for _ in 0..edits {
        ticks.tick().await;
        sent.send_modify(|sent| sent.push(start.elapsed()));
        writer.send(Message::Binary(Bytes::from(vec![7; bytes]))).await.or_exit("sending");
        receive(&mut writer).await;
    }
    let samples = tokio::time::timeout(PATIENCE, following.join_all()).await.or_exit("delivering everything");
    samples.into_iter().flatten().collect()
}

async fn receive(socket: &mut Socket) {
    socket.next().await.or_exit("receiving").or_exit("receiving");
}
