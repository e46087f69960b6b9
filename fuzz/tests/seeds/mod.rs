//! What fuzzers begin with: real frames, changes and snapshots, and the attacks that are known.

mod frames;

use std::collections::BTreeMap;

use automerge::Automerge;
use automerge::sync::{ChunkList, MessageVersion, State, SyncDoc};
use bytes::Bytes;
use headwater::document::examine;
use headwater::model::{JsonStyle, json_from_map};
use headwater_fuzz::targets::{framed, history};
use headwater_fuzz::{Act, Random};

const DOCUMENT: u8 = 0;
const CHANGE: u8 = 1;
const DEFLATED: u8 = 2;

/// File name -> contents.
type Seeds = BTreeMap<String, Vec<u8>>;

/// The seeds of every target.
pub(crate) fn all() -> Vec<(&'static str, Seeds)> {
    vec![
        ("frame", frames::frames()),
        ("chunk", chunks()),
        ("snapshot", snapshots()),
        ("ingest", ingest()),
        ("sync_message", sync_messages()),
        ("relay_stream", frames::streams()),
        ("json", json()),
        ("intent", noise(6, |random| (0..12).map(|_| random.below(256) as u8).collect())),
        ("convergence", noise(6, |random| (0..90).map(|_| random.below(256) as u8).collect())),
        ("sim", noise(6, world)),
    ]
}

fn named<const N: usize>(seeds: [(&str, Vec<u8>); N]) -> Seeds {
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

fn noise(count: u64, mut seed: impl FnMut(&mut Random) -> Vec<u8>) -> Seeds {
    (0..count).map(|number| (format!("noise-{number}"), seed(&mut Random::new(number)))).collect()
}

/// Every form that a value has in JSON, and what people get wrong.
fn json() -> Seeds {
    let values = (0..6).map(|seed| {
        let fields = headwater_fuzz::values::fields(&mut Random::new(seed));
        (format!("fields-{seed}"), json_from_map(&fields, JsonStyle::Kinds).to_string().into_bytes())
    });
    let wrong = [
        ("twice", br#"{"a":1,"a":2}"#.to_vec()),
        ("beyond", br#"[18446744073709551616,-9223372036854775809,1e400,0.12345678901234567890]"#.to_vec()),
        ("half-a-pair", br#"{"a":"\ud800"}"#.to_vec()),
        (
            "forms",
            br#"{"a":{"$map":{"$text":1}},"b":{"$float":"0x7ff8000000000001"},"c":{"$string":"a\\u0000"}}"#
                .to_vec(),
        ),
    ];
    values.chain(wrong.map(|(name, text)| (name.to_owned(), text))).collect()
}

/// As signed LEB128, which is how the lengths of runs are written.
fn signed(mut number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if (number == 0 && byte & 0x40 == 0) || (number == -1 && byte & 0x40 != 0) {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// One column, of actions, that is one run.
fn run_of(rows: i64) -> Vec<u8> {
    let run = [signed(rows), vec![1]].concat();
    [&[1, 0x42, run.len() as u8][..], &run].concat()
}

fn change_with(columns: &[u8]) -> Vec<u8> {
    // No dependencies, an actor of two bytes, first change, first operation, time 0, no message, no other actors.
    let mut body = vec![0, 2, 7, 7, 1, 1, 0, 0, 0];
    body.extend_from_slice(columns);
    body
}

/// An inflated form of many zeros, written by hand: fixed codes, one literal, then copies of 258 bytes.
fn deflated_zeros(copies: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    // Huffman codes are written from their highest bit on. The literal 0 is 00110000.
    bits.extend([false, false, true, true, false, false, false, false]);
    for _ in 0..copies {
        // The length 258 is 11000101, the distance 1 is 00000.
        bits.extend([true, true, false, false, false, true, false, true]);
        bits.extend([false; 5]);
    }
    bits.extend([false; 7]);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

fn chunks() -> Seeds {
    let mut seeds = named([
        ("no-operations", framed(CHANGE, &change_with(&[0])).to_vec()),
        ("run-of-ten-million", framed(CHANGE, &change_with(&run_of(10_000_000))).to_vec()),
        ("run-without-end", framed(CHANGE, &change_with(&run_of(i64::MAX))).to_vec()),
        ("deflate-bomb", framed(DEFLATED, &deflated_zeros(4096)).to_vec()),
        ("body-alone", change_with(&run_of(2))),
        ("unknown-column", framed(CHANGE, &change_with(&[1, 0xf6, 1, 0])).to_vec()),
    ]);
    for (number, (_, change)) in history().iter().enumerate() {
        seeds.insert(format!("change-{number:02}"), change.to_vec());
    }
    let two: Vec<u8> = history().iter().take(2).flat_map(|(_, change)| change.to_vec()).collect();
    seeds.insert("two-chunks".into(), two);
    seeds
}

fn snapshots() -> Seeds {
    let beginning = |changes: usize| {
        let snapshot = examine(history()[..changes].to_vec()).snapshot;
        snapshot.unwrap_or_default().to_vec()
    };
    // No actors, no heads, no changes; then the operations' columns.
    let document = |operations: &[u8]| {
        // The changes' columns and the operations' columns are described before the data of either.
        let (described, data) = operations.split_at(operations.len().min(3));
        framed(DOCUMENT, &[&[0, 0, 0][..], described, data].concat()).to_vec()
    };
    named([
        ("one-change", beginning(1)),
        ("half", beginning(history().len() / 2)),
        ("whole", beginning(history().len())),
        ("empty", document(&[0])),
        ("run-of-two", document(&run_of(2))),
        ("run-of-all-rows", document(&run_of(16 << 20))),
        ("run-of-too-many-rows", document(&run_of((16 << 20) + 1))),
    ])
}

/// Mutations of the changes of the fixture: the change, the position in two bytes, the new byte.
fn ingest() -> Seeds {
    let mut seeds = noise(6, |random| {
        (0..=random.below(5))
            .flat_map(|_| [random.below(16) as u8, 0, random.below(200) as u8, random.below(256) as u8])
            .collect()
    });
    seeds.insert("nothing".into(), vec![0]);
    // Behind the header (10 bytes), the hash of a dependency (33), the actor (25) comes the number of the change.
    seeds.insert("number".into(), vec![1, 0, 68, 9]);
    seeds
}

fn sync_messages() -> Seeds {
    let from = |changes: usize| {
        let changes = history()[..changes].iter();
        let parsed = changes.map(|(_, bytes)| automerge::Change::from_bytes(bytes.to_vec()).unwrap());
        let mut document = Automerge::new();
        document.apply_changes(parsed).unwrap();
        let mut message = document.generate_sync_message(&mut State::new()).unwrap();
        (message.changes, message.flags, message.version) = (ChunkList::empty(), None, MessageVersion::V1);
        message.encode()
    };
    let bloom = |bloom: &[u8]| [&[0x42, 0, 0, 1, 0, bloom.len() as u8][..], bloom, &[0]].concat();
    let need = |hash: &[u8]| [&[0x42, 0, 1][..], hash, &[0, 0]].concat();
    named([
        ("from-nothing", from(0)),
        ("from-half", from(history().len() / 2)),
        ("from-all", from(history().len())),
        ("needs-unknown", need(&[9; 32])),
        ("needs-known", need(history()[0].0.as_bytes())),
        // Ten bytes at which the engine divides by zero.
        ("zero-bits-per-entry", bloom(&[1, 0, 7])),
        ("many-probes", bloom(&[1, 8, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xaa])),
        ("probes-at-the-limit", bloom(&[1, 8, 64, 0xaa])),
        ("no-entries", bloom(&[0, 10, 7])),
        ("many-heads", vec![0x42, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("flags", vec![0x42, 0, 0, 0, 0, 2, 2, 0x84]),
        ("empty", Vec::new()),
    ])
}

/// A seed in two bytes, then three bytes to a step. Most of what happens in a world is edits and deliveries.
fn world(random: &mut Random) -> Vec<u8> {
    let place = |act: Act| Act::ALL.iter().position(|other| *other == act).unwrap_or(0) as u8;
    let calm = [Act::Edit, Act::Edit, Act::Connect, Act::Deliver, Act::Deliver].map(place);
    let mut bytes = vec![0, random.below(256) as u8];
    for _ in 0..60 {
        let rare = random.below(Act::ALL.len()) as u8;
        let act = if random.chance(75) { *random.pick(&calm).unwrap_or(&0) } else { rare };
        bytes.extend([act, random.below(256) as u8, random.below(256) as u8]);
    }
    bytes
}

/// A change of the fixture as it travels.
fn change(number: usize) -> (headwater::ChangeHash, Bytes) {
    history()[number % history().len()].clone()
}
