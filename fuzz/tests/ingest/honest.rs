use std::io::Read;
use std::path::PathBuf;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, ObjType, ROOT, ReadDoc, ScalarValue};
use bytes::Bytes;
use headwater::ingest::{ChangeLimits, check_change};
use headwater_fuzz::Random;

/// The changes of one entity that several people edited in every way there is, in causal order.
pub(crate) fn history(seed: u64) -> Vec<Bytes> {
    let random = &mut Random::new(seed);
    let mut first = AutoCommit::new().with_actor(actor(random));
    let text = first.put_object(ROOT, "text", ObjType::Text).unwrap();
    let list = first.put_object(ROOT, "list", ObjType::List).unwrap();
    first.put(ROOT, "count", ScalarValue::counter(0)).unwrap();
    first.commit();
    let mut people: Vec<AutoCommit> = (0..3).map(|_| first.fork().with_actor(actor(random))).collect();
    for _ in 0..24 {
        let one = random.below(people.len());
        let person = &mut people[one];
        for _ in 0..=random.below(3) {
            edit(random, person, &text, &list);
        }
        let mut options = CommitOptions::default();
        if random.chance(70) {
            options = options.with_time(random.bits() as i64 >> 20);
        }
        if random.chance(20) {
            options = options.with_message("why");
        }
        person.commit_with(options);
        if random.chance(10) {
            person.empty_change(CommitOptions::default());
        }
        let other = random.below(people.len());
        if random.chance(40) && other != one {
            let mut from = people[other].clone();
            people[one].merge(&mut from).unwrap();
        }
    }
    let [mut all, others @ ..] =
        <[AutoCommit; 3]>::try_from(people).unwrap_or_else(|_| unreachable!("three people"));
    for mut other in others {
        all.merge(&mut other).unwrap();
    }
    all.get_changes(&[]).into_iter().map(|change| Bytes::copy_from_slice(change.raw_bytes())).collect()
}

fn actor(random: &mut Random) -> ActorId {
    let bytes: Vec<u8> = (0..1 + random.below(32)).map(|_| random.bits() as u8).collect();
    ActorId::from(bytes)
}

fn edit(random: &mut Random, document: &mut AutoCommit, text: &automerge::ObjId, list: &automerge::ObjId) {
    let key = format!("k{}", random.below(5));
    let number = random.bits() as i64;
    let (text_len, list_len) = (document.length(text), document.length(list));
    match random.below(12) {
        0 => document.put(ROOT, key, number).unwrap(),
        1 => document.put(ROOT, key, f64::from(number as i32)).unwrap(),
        2 => document.put(ROOT, key, "x".repeat(random.below(400))).unwrap(),
        3 => document.put(ROOT, key, vec![7u8; random.below(40)]).unwrap(),
        4 => drop(document.put_object(ROOT, key, ObjType::Map).unwrap()),
        5 => document.increment(ROOT, "count", number >> 40).unwrap(),
        6 => document.delete(ROOT, key).unwrap(),
        7 => document.splice_text(text, random.below(text_len + 1), 0, "pear, été 🍐").unwrap(),
        8 if text_len > 2 => document.splice_text(text, random.below(text_len - 2), 2, "").unwrap(),
        9 if text_len > 4 => {
            let mark = Mark::new("bold".to_owned(), true, 0, 3);
            document.mark(text, mark, ExpandMark::Both).unwrap();
        }
        10 if list_len > 0 => document.delete(list, random.below(list_len)).unwrap(),
        _ => document.insert(list, random.below(list_len + 1), number % 9).unwrap(),
    }
}

#[test]
fn no_honest_change_is_refused() {
    // Would lose people's edits to a guard that is meant for attackers.
    let limits = ChangeLimits::default();
    let mut count = 0;
    for seed in 0..100 {
        for change in history(seed) {
            let checked = check_change(&change, &limits);
            assert!(checked.is_ok(), "seed {seed}: {:?}", checked.err());
            count += 1;
        }
    }
    for name in ["friendsforever", "sveltecomponent", "automerge-paper"] {
        count += trace(name, &limits);
    }
    println!("{count} honest changes, none refused");
}

/// Types a recorded trace, one change for each transaction, each in its deflated form too. Returns how many there were.
fn trace(name: &str, limits: &ChangeLimits) -> u64 {
    let data = std::env::var_os("HEADWATER_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = data.join(format!("{name}.json.gz"));
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: there is no {}", path.display());
        return 0;
    };
    let mut json = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut json).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&json).unwrap();
    let most =
        std::env::var("HEADWATER_TRACE_CHANGES").ok().and_then(|most| most.parse().ok()).unwrap_or(1_000);
    let mut document = AutoCommit::new();
    let text = document.put_object(ROOT, "text", ObjType::Text).unwrap();
    if let Some(start) = trace["startContent"].as_str() {
        document.splice_text(&text, 0, 0, start).unwrap();
    }
    document.commit();
    let mut count = 0;
    for transaction in trace["txns"].as_array().unwrap().iter().take(most) {
        for patch in transaction["patches"].as_array().unwrap() {
            let length = document.length(&text);
            // One person's view of a text that several wrote: a patch may lie beyond its end, and is moved there.
            let at = (patch[0].as_u64().unwrap() as usize).min(length);
            let deleted = (patch[1].as_u64().unwrap() as usize).min(length - at);
            document.splice_text(&text, at, deleted as isize, patch[2].as_str().unwrap()).unwrap();
        }
        document.commit();
        let Some(mut change) = document.get_last_local_change() else { continue };
        for bytes in [Bytes::copy_from_slice(change.raw_bytes()), Bytes::copy_from_slice(&change.bytes())] {
            let checked = check_change(&bytes, limits);
            assert!(checked.is_ok(), "{name}, change {count}: {:?}", checked.err());
        }
        count += 1;
    }
    count
}
