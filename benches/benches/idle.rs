//! W7: what an idle connection costs: memory of the relay's process, and the processor time that its heartbeats take.
//!
//! Beside it, a WebSocket server that holds as many sockets and does nothing else.

use std::time::Duration;

use criterion::Criterion;
use headwater_benches::curve::Curves;
use headwater_benches::process::Process;
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::time;
use headwater_benches::wire::WireClient;
use headwater_benches::{OrExit, directory, prepared, run, scaled};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const NAME: &str = "idle";
/// How many connect at the same time.
const AT_ONCE: usize = 50;

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    println!("\n== W7: idle connections, each with the same space open (goal: 14 KiB each)");
    let mut curves = Curves::new("scale-idle", "W7: idle connections", "connections");
    for connections in [200, 1_000, 5_000] {
        measure(scaled(connections), &mut curves);
    }
}

fn measure(connections: usize, curves: &mut Curves) {
    let directory = directory();
    let runtime = Runtime::new().or_exit("starting tokio");
    let relay = RelayProcess::start(directory.path());
    let source = prepared::open(&directory.path().join("source"), 1);
    prepared::fill(&source, 1);
    runtime
        .block_on(source.sync(&relay.url(), headwater::SyncOptions::new([prepared::space()])))
        .or_exit("pushing");
    let settle = || std::thread::sleep(Duration::from_millis(300));
    settle();
    let before = relay.process().resident_kb();
    let mut clients = JoinSet::new();
    let address = relay.address();
    let (took, ()) = time(|| {
        runtime.block_on(async {
            let mut open = JoinSet::new();
            let mut live = Vec::with_capacity(connections);
            for device in 0..connections {
                if open.len() >= AT_ONCE {
                    live.extend(open.join_next().await);
                }
                open.spawn(async move {
                    let mut client = WireClient::connect(address, device as u64 + 2).await;
                    client.open_live(prepared::space()).await;
                    client
                });
            }
            live.extend(open.join_all().await.into_iter().map(Ok));
            for client in live {
                let mut client = client.or_exit("joining a client");
                clients.spawn(async move { client.idle(prepared::space()).await });
            }
        });
    });
    settle();
    let after = relay.process().resident_kb();
    let processor = relay.process().processor_time();
    let watched = Duration::from_secs(if headwater_benches::is_measuring() { 5 } else { 0 });
    std::thread::sleep(watched);
    let spent = relay.process().processor_time().saturating_sub(processor);
    let memory_kb = after.saturating_sub(before) as f64;
    curves.point("the relay's memory for all, MiB", connections, memory_kb / 1024.0);
    curves.point("until all were open, s", connections, took.as_secs_f64());
    curves.point(
        "the relay's processor time a second, ms",
        connections,
        spent.as_secs_f64() * 1e3 / watched.as_secs_f64().max(1.0),
    );
    println!(
        "{connections:>6} connections: {:>6.1} KiB each; {:.0} connections opened a second; {:.1} ms of processor time a second while idle; load {:.1} KiB each",
        memory_kb / connections as f64,
        connections as f64 / took.as_secs_f64(),
        spent.as_secs_f64() * 1e3 / watched.as_secs_f64().max(1.0),
        Process::this().resident_kb() as f64 / connections as f64,
    );
    // Before the relay, which would say goodbye to each of them.
    runtime.block_on(clients.shutdown());
    drop(relay);
}
