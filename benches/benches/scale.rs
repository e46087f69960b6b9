//! What happens as there is more of everything: a space that grows to a million changes, a replica with 100,000 entities, and 150
//! clients that join an entity of 20 MB at the same time. A cost that grows faster than what it is for would be a cliff.

use std::time::{Duration, Instant};

use criterion::Criterion;
use headwater::{Collection, EntityId, Map, SpaceId, Value};
use headwater_benches::curve::Curves;
use headwater_benches::prepared::{self, Edits};
use headwater_benches::record::{Bag, Random};
use headwater_benches::relay::RelayProcess;
use headwater_benches::table::{Samples, time};
use headwater_benches::wire::WireClient;
use headwater_benches::{OrExit, directory, run, scaled};
use headwater_storage::ChangeRecord;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const NAME: &str = "scale";
/// Changes of one push, and pushes under way.
const TOGETHER: usize = 200;
const UNDER_WAY: usize = 8;

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    space_grows();
    replica_grows();
    join_storm();
}

/// A space in steps up to a million changes: what it costs to append, to come back, and to see an edit.
fn space_grows() {
    let directory = directory();
    let runtime = Runtime::new().or_exit("starting tokio");
    let relay = RelayProcess::start(directory.path());
    println!("\n== a space that grows: 100 changes an entity");
    println!("   changes   appended/s   reconnect   one edit acknowledged, p50   relay MiB   file MiB");
    let mut curves = Curves::new("scale-space", "a space that grows", "changes in the space");
    let mut changes = 0;
    let mut returning = runtime.block_on(async {
        let mut client = WireClient::connect(relay.address(), 1).await;
        client.open_to_push(prepared::space()).await;
        client
    });
    let mut seed = 0;
    for upto in [10_000, 30_000, 100_000, 300_000, 1_000_000].map(scaled) {
        let mut took = Duration::ZERO;
        let before = changes;
        while changes < upto {
            // Made in portions, so that they need not all fit into memory.
            let portion = (upto - changes).min(10_000);
            seed += 1;
            let edits = Edits::seeded(seed, portion.div_ceil(100), 99.min(portion.saturating_sub(1)));
            let made: Vec<ChangeRecord> = edits.of_each.into_iter().flatten().collect();
            changes += made.len();
            took += time(|| runtime.block_on(push(&mut returning, made))).0;
        }
        seed += 1;
        let edits = Edits::seeded(seed, 1, scaled(100)).of_each.remove(0);
        let mut one = Samples::default();
        for change in edits {
            one.push(time(|| runtime.block_on(push(&mut returning, vec![change]))).0);
            changes += 1;
        }
        let reconnect: Samples = (0..scaled(20)).map(|_| runtime.block_on(reconnect(&relay))).collect();
        let file = std::fs::metadata(directory.path().join("feed.redb")).map_or(0, |file| file.len());
        curves.point("appending 1,000, ms", changes, took.as_secs_f64() * 1e6 / (changes - before) as f64);
        curves.point(
            "connecting, and where the feed stands, ms",
            changes,
            reconnect.median().as_secs_f64() * 1e3,
        );
        curves.point("one edit acknowledged, ms", changes, one.median().as_secs_f64() * 1e3);
        curves.point("the relay's memory, MiB", changes, relay.process().resident_kb() as f64 / 1024.0);
        curves.point("its file, MiB", changes, file as f64 / 1_048_576.0);
        println!(
            "{changes:>10} {:>12.0} {:>8.2} ms {:>25.2} ms {:>11} {:>10}",
            (changes - before) as f64 / took.as_secs_f64(),
            reconnect.median().as_secs_f64() * 1e3,
            one.median().as_secs_f64() * 1e3,
            relay.process().resident_kb() / 1024,
            file >> 20,
        );
    }
}

async fn push(client: &mut WireClient, changes: Vec<ChangeRecord>) {
    let (all, mut acknowledged, mut under_way) = (changes.len(), 0, 0);
    let mut left = changes.into_iter().peekable();
    while acknowledged < all {
        while under_way < UNDER_WAY && left.peek().is_some() {
            client.push(prepared::space(), left.by_ref().take(TOGETHER).collect()).await;
            under_way += 1;
        }
        client.flush().await;
        acknowledged += client.acknowledged().await;
        under_way -= 1;
    }
}

/// Connect, and hear where the feed stands.
async fn reconnect(relay: &RelayProcess) -> Duration {
    let start = Instant::now();
    let mut client = WireClient::connect(relay.address(), 2).await;
    client.open_to_push(prepared::space()).await;
    start.elapsed()
}

/// A replica in steps up to 100,000 entities: opening, reading, and editing one of them.
fn replica_grows() {
    println!("\n== a replica that grows (goal: open 100,000 in 50 ms, no document loaded)");
    println!("  entities    opened in   typed get   edit of one, durable   file MiB");
    let mut curves = Curves::new("scale-replica", "a replica that grows", "entities");
    for entities in [1_000, 10_000, 100_000].map(scaled) {
        let directory = directory();
        let path = directory.path().join("replica");
        let replica = prepared::open(&path, 1);
        let bags = prepared::bags(&replica);
        let mut ids = Vec::with_capacity(entities);
        let mut random = Random::seeded(7);
        for portion in (0..entities as u64).collect::<Vec<_>>().chunks(500) {
            let new: Vec<(EntityId, Bag)> =
                portion.iter().map(|number| (any_id(&mut random), Bag::numbered(*number))).collect();
            bags.insert_all(new.iter().map(|(id, bag)| (*id, bag))).or_exit("inserting");
            ids.extend(new.into_iter().map(|(id, _)| id));
        }
        drop((bags, replica));
        let (opened, replica) = time(|| prepared::open(&path, 2));
        (replica.documents_loaded() == 0).then_some(()).or_exit("opening without loading");
        let bags = prepared::bags(&replica);
        let mut any = || ids[random.next_u64() as usize % ids.len()];
        let gets: Samples = (0..scaled(2_000)).map(|_| get(&bags, any())).collect();
        let edits: Samples = (0..scaled(100))
            .map(|edit| time(|| bags.update(any(), |bag| bag.rating = edit as f64).or_exit("editing")).0)
            .collect();
        let file = std::fs::metadata(&path).map_or(0, |file| file.len());
        curves.point("opening, ms", entities, opened.as_secs_f64() * 1e3);
        curves.point("a typed get, µs", entities, gets.median().as_secs_f64() * 1e6);
        curves.point("an edit of one, durable, ms", entities, edits.median().as_secs_f64() * 1e3);
        curves.point("its file, MiB", entities, file as f64 / 1_048_576.0);
        println!(
            "{entities:>10} {:>9.2} ms {:>8.2} µs {:>19.2} ms {:>10}",
            opened.as_secs_f64() * 1e3,
            gets.median().as_secs_f64() * 1e6,
            edits.median().as_secs_f64() * 1e3,
            file >> 20
        );
    }
}

fn get(bags: &Collection<Bag>, id: EntityId) -> Duration {
    time(|| bags.get(id).or_exit("reading").or_exit("finding")).0
}

fn any_id(random: &mut Random) -> EntityId {
    EntityId::from_bytes((u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())).to_be_bytes())
}

/// Many clients that join one large entity at the same time.
fn join_storm() {
    let directory = directory();
    let runtime = Runtime::new().or_exit("starting tokio");
    let relay = RelayProcess::start(directory.path());
    let source = prepared::open(&directory.path().join("source"), 1);
    let megabytes = scaled(20);
    let bags = prepared::bags(&source);
    let id = bags.insert(&Bag::numbered(1)).or_exit("inserting").id;
    let mut random = Random::seeded(3);
    for part in 0..megabytes * 10 {
        // Evenly drawn letters: what compresses badly.
        let text: String = (0..15_000).map(|_| random.letters()).collect();
        bags.as_dynamic().set(id, Map::from([(format!("part {part}"), Value::Str(text))])).or_exit("editing");
    }
    runtime
        .block_on(source.sync(&relay.url(), headwater::SyncOptions::new([prepared::space()])))
        .or_exit("pushing");
    println!("\n== clients that join an entity of {megabytes} MB at the same time");
    println!("   clients    until all have it   joins/s   relay's processor time   relay's peak MiB");
    let mut curves = Curves::new(
        "scale-joins",
        format!("clients that join an entity of {megabytes} MB"),
        "clients at the same time",
    );
    for clients in [1, 10, 50, 150].map(scaled) {
        relay.process().forget_peak();
        let before = relay.process().processor_time();
        let (took, ()) = time(|| runtime.block_on(join(&relay, clients, prepared::space())));
        let processor = relay.process().processor_time().saturating_sub(before).as_secs_f64();
        let peak_kb = relay.process().peak_kb();
        curves.point("until all have it, s", clients, took.as_secs_f64());
        curves.point("the relay's processor time, s", clients, processor);
        curves.point("the relay's memory at its peak, MiB", clients, peak_kb as f64 / 1024.0);
        println!(
            "{clients:>10} {:>18.2} s {:>9.1} {processor:>22.2} s {:>18}",
            took.as_secs_f64(),
            clients as f64 / took.as_secs_f64(),
            peak_kb / 1024
        );
    }
}

async fn join(relay: &RelayProcess, clients: usize, space: SpaceId) {
    let mut joining = JoinSet::new();
    for device in 0..clients {
        let address = relay.address();
        joining.spawn(async move {
            let mut client = WireClient::connect(address, device as u64 + 2).await;
            client.open_live(space).await;
        });
    }
    joining.join_all().await;
}
