//! Six pieces of work whose instructions are counted, so that a slower one is noticed on a machine whose clock is not to be trusted:
//! `./dev bench check` runs each under callgrind and compares with `benches/instructions.txt`.
//!
//! `instructions` prints the names; `instructions NAME` does that piece. Only what happens inside of `measured` is counted.

use std::hint::black_box;

use bytes::Bytes;
use headwater::document::Document;
use headwater::ingest::{ChangeLimits, check_change};
use headwater::wire::{Frame, Limits, Push, Seal};
use headwater::{Map, Replica, Value};
use headwater_benches::OrExit;
use headwater_benches::prepared::{self, Edits, Fixed};
use headwater_benches::record::Bag;
use headwater_storage::{
    Append, ChangeRecord, DeviceId, FeedEntry, FeedEpoch, InMemoryBackend, NewFeed, Pusher, RedbFeed,
};

const PIECES: [(&str, fn()); 6] = [
    ("edit", edit),
    ("get", get),
    ("encode", encode),
    ("check", check),
    ("append", append),
    ("apply", apply),
];
const TIMES: usize = 100;

fn main() {
    let wanted = std::env::args().nth(1);
    for (name, piece) in PIECES {
        match &wanted {
            None => println!("{name}"),
            Some(wanted) if wanted == name => return piece(),
            Some(_) => {}
        }
    }
    if let Some(wanted) = wanted {
        None.or_exit(&format!("finding the piece of work {wanted}"))
    }
}

/// What callgrind counts.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// One field of a loaded entity, on a replica in memory.
fn edit() {
    let replica = Replica::in_memory(Fixed::seeded(1)).or_exit("opening a replica");
    let bags = prepared::bags(&replica);
    let id = bags.insert(&Bag::numbered(1)).or_exit("inserting").id;
    let rating = |edit: usize| Map::from([("rating".to_owned(), Value::Float(edit as f64 / 8.0))]);
    bags.as_dynamic().set(id, rating(TIMES)).or_exit("editing");
    measured(|| {
        for edit in 0..TIMES {
            bags.as_dynamic().set(id, rating(edit)).or_exit("editing");
        }
    });
}

/// One entity by its id, decoded into its struct.
fn get() {
    let replica = Replica::in_memory(Fixed::seeded(1)).or_exit("opening a replica");
    let ids = prepared::fill(&replica, 50);
    let bags = prepared::bags(&replica);
    measured(|| {
        for id in &ids {
            black_box(bags.get(*id).or_exit("reading"));
        }
    });
}

/// Pushes of 16 edits to bytes, and back.
fn encode() {
    let (space, limits) = (prepared::space(), Limits::default());
    let pushes: Vec<Frame> = (0..TIMES as u64 / 16)
        .map(|push_id| Frame::Push(Push { space, push_id, entries: changes(15) }))
        .collect();
    let (mut sending, mut receiving) = (Seal::default(), Seal::default());
    measured(|| {
        for push in &pushes {
            let message = sending.seal(&push.encode());
            let frame = receiving.open(&message).or_exit("unsealing");
            black_box(Frame::decode(frame, &limits).or_exit("reading a frame"));
        }
    });
}

/// The checks of a change by itself.
fn check() {
    let (changes, limits) = (changes(TIMES), ChangeLimits::default());
    measured(|| {
        for change in &changes {
            black_box(check_change(&change.payload, &limits).or_exit("checking"));
        }
    });
}

/// Appends of 16 edits to a feed in memory.
fn append() {
    let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 });
    let feed = feed.or_exit("opening a feed");
    let changes = changes(16 * 10 - 1);
    let appends: Vec<Append> = changes
        .chunks(16)
        .map(|records| Append {
            space: prepared::space(),
            origin: DeviceId::from_bytes([1; 16]),
            pusher: Pusher::default(),
            received_ms: 0,
            epoch_if_new: FeedEpoch::from_bytes([1; 16]),
            entries: records.iter().map(|record| FeedEntry::new(record.clone(), Vec::new())).collect(),
        })
        .collect();
    measured(|| {
        for append in appends {
            black_box(feed.append_all(vec![append]).or_exit("appending"));
        }
    });
}

/// Changes of somebody else into a loaded entity.
fn apply() {
    let changes: Vec<Bytes> = changes(TIMES).into_iter().map(|change| change.payload).collect();
    let (first, rest) = changes.split_at(1);
    let mut document = Document::from_changes(first.iter().cloned()).or_exit("loading");
    measured(|| {
        for change in rest {
            document.apply(std::slice::from_ref(change)).or_exit("applying");
        }
    });
}

/// An entity's creation and so many edits.
fn changes(edits: usize) -> Vec<ChangeRecord> {
    Edits::make(1, edits).of_each.remove(0)
}
