//! What an edit costs at each stage of its way, without disks and sockets: the whole edit in memory (difference, commit, view, rows),
//! frames to bytes and back, the append's decisions and rows, passing on to many, and loading an entity.
//!
//! Checks and applying are in `ingest`, snapshots in `snapshot`. Beside each, what Automerge, zstd or redb alone need for it.

use std::hint::black_box;

use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ROOT};
use bytes::Bytes;
use criterion::Criterion;
use headwater::document::Document;
use headwater::ingest::ChangeLimits;
use headwater::wire::{Frame, Limits, Push, Seal};
use headwater::{Map, Replica, Value};
use headwater_benches::prepared::{self, Edits, Fixed};
use headwater_benches::record::Bag;
use headwater_benches::table::{Samples, Table, time};
use headwater_benches::{OrExit, run, scaled};
use headwater_relay::space::{self, Entries, Inbox, InboxReceiver, SpaceMachine};
use headwater_storage::{
    Append, ChangeRecord, DeviceId, FeedEntry, FeedEpoch, InMemoryBackend, NewFeed, Pusher, RedbFeed,
};

const NAME: &str = "stages";
const TOGETHER: usize = 16;
const SUBSCRIBERS: u64 = 200;

fn main() {
    run(NAME, bench);
}

fn bench(criterion: &mut Criterion) {
    edit(criterion);
    encode(criterion);
    append(criterion);
    fan_out();
    load(criterion);
}

/// Difference, commit, view, rows: an edit on a replica in memory, beside the same edit on a bare document.
fn edit(criterion: &mut Criterion) {
    let replica = Replica::in_memory(Fixed::seeded(1)).or_exit("opening a replica");
    let bags = prepared::bags(&replica);
    let id = bags.insert(&Bag::numbered(1)).or_exit("inserting").id;
    let mut document = Automerge::new();
    let mut rating = 0.0;
    let mut next = || {
        rating += 0.125;
        rating
    };
    let on_replica = |rating: f64| {
        let fields = Map::from([("rating".to_owned(), Value::Float(rating))]);
        black_box(bags.as_dynamic().set(id, fields).or_exit("editing"));
    };
    let mut on_document = |rating: f64| {
        let mut transaction = document.transaction();
        transaction.put(ROOT, "rating", rating).or_exit("putting");
        transaction.commit();
        black_box(document.get_last_local_change().map(|change| change.raw_bytes().len()));
    };
    let mut group = criterion.benchmark_group("stages/edit");
    group.bench_function("replica in memory", |bencher| bencher.iter(|| on_replica(next())));
    group.bench_function("automerge", |bencher| bencher.iter(|| on_document(next())));
    group.finish();
    let replica: Samples = (0..scaled(500)).map(|_| time(|| on_replica(next())).0).collect();
    let automerge: Samples = (0..scaled(500)).map(|_| time(|| on_document(next())).0).collect();
    let table = Table::new("edit of one field: difference, commit, view and rows, in memory")
        .row("replica in memory", replica.median())
        .row("automerge: put, commit, the change's bytes", automerge.median());
    print!("{table}");
}

/// A push to bytes with its seal, and back.
fn encode(criterion: &mut Criterion) {
    let entries = changes(TOGETHER);
    let push = Frame::Push(Push { space: prepared::space(), push_id: 1, entries });
    let limits = Limits::default();
    let frame = push.encode();
    let mut group = criterion.benchmark_group("stages/encode");
    group.bench_function("a push of 16 edits", |bencher| {
        bencher.iter(|| black_box(Seal::default().seal(&push.encode())));
    });
    group.bench_function("read it", |bencher| {
        bencher.iter(|| black_box(Frame::decode(&frame, &limits).or_exit("reading a frame")));
    });
    group.finish();
}

/// The decisions on a push of 16 edits and its rows, on redb in memory.
fn append(criterion: &mut Criterion) {
    let mut feed = Appending::new();
    let mut group = criterion.benchmark_group("stages/append");
    group.bench_function("16 edits, redb in memory", |bencher| bencher.iter(|| feed.append()));
    group.finish();
    let each: Samples = (0..scaled(200)).map(|_| time(|| feed.append()).0 / TOGETHER as u32).collect();
    print!("{}", Table::new("append, per edit, 16 at a time, redb in memory").row("feed", each.median()));
}

struct Appending {
    feed: RedbFeed,
    edits: std::vec::IntoIter<ChangeRecord>,
}

impl Appending {
    fn new() -> Appending {
        let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 });
        Appending { feed: feed.or_exit("opening a feed"), edits: Vec::new().into_iter() }
    }

    fn append(&mut self) {
        let mut taken: Vec<ChangeRecord> = self.edits.by_ref().take(TOGETHER).collect();
        if taken.len() < TOGETHER {
            // From the first one again, into a new feed: a change is taken in once.
            *self = Appending { edits: changes(scaled(4_096).max(TOGETHER)).into_iter(), ..Appending::new() };
            taken = self.edits.by_ref().take(TOGETHER).collect();
        }
        let entries = taken.into_iter().map(|record| FeedEntry::new(record, Vec::new())).collect();
        let append = Append {
            space: prepared::space(),
            origin: DeviceId::from_bytes([1; 16]),
            pusher: Pusher::default(),
            received_ms: 0,
            epoch_if_new: FeedEpoch::from_bytes([1; 16]),
            entries,
        };
        black_box(self.feed.append_all(vec![append]).or_exit("appending"));
    }
}

/// From the end of an append to the queues of 200 connections.
fn fan_out() {
    let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 });
    let feed = feed.or_exit("opening a feed");
    let mut space = SpaceMachine::new(prepared::space(), ChangeLimits::default());
    let mut receivers: Vec<InboxReceiver> = Vec::new();
    for connection in 1..=SUBSCRIBERS {
        let (inbox, receiver) = Inbox::new(4 << 20);
        space.subscribe(connection, inbox);
        receivers.push(receiver);
    }
    let (answer, answered) = Inbox::new(4 << 20);
    receivers.push(answered);
    let mut pass_on = |record| {
        let (device, pusher) = (DeviceId::from_bytes([1; 16]), Pusher::default());
        let (entries, answer) = (Entries::Changes(vec![record]), answer.clone());
        space.push(space::Push { connection: 0, device, pusher, push_id: 1, entries, answer });
        let appends = space.begin_append(0, || FeedEpoch::from_bytes([1; 16])).or_exit("beginning an append");
        let appended = feed.append_all(appends).or_exit("appending");
        let (took, ()) = time(|| space.end_append(Some(appended)));
        for receiver in &mut receivers {
            while receiver.try_recv().is_some() {}
        }
        took
    };
    let samples: Samples = changes(scaled(2_000)).into_iter().map(&mut pass_on).collect();
    let table = Table::new("passing an append on to 200 connections: one encode, 200 queues");
    print!("{}", table.row("space", samples.median()));
}

/// An entity of six changes from its bytes.
fn load(criterion: &mut Criterion) {
    let changes: Vec<Bytes> = changes(5).into_iter().map(|change| change.payload).collect();
    let headwater = || black_box(Document::from_changes(changes.iter().cloned()).or_exit("loading").heads());
    let automerge = || {
        let parsed = changes.iter().map(|bytes| Change::from_bytes(bytes.to_vec()).or_exit("parsing"));
        let mut document = Automerge::new();
        document.apply_changes(parsed.collect::<Vec<_>>()).or_exit("applying");
        black_box(document.get_heads())
    };
    let mut group = criterion.benchmark_group("stages/load");
    group.bench_function("headwater, 6 changes", |bencher| bencher.iter(headwater));
    group.bench_function("automerge, 6 changes", |bencher| bencher.iter(automerge));
    group.finish();
}

/// An entity's creation and so many edits.
fn changes(edits: usize) -> Vec<ChangeRecord> {
    Edits::make(1, edits).of_each.remove(0)
}
