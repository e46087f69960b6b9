//! Long texts and lists that are handed over whole, as a save, an import or another program does: what an edit costs that changes a
//! little of them, beside Automerge making the same change from what changed.

use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT, ReadDoc};
use criterion::Criterion;
use headwater::{DynamicCollection, EntityId, Map, Replica, Text, Value};
use headwater_benches::prepared::{self, Fixed};
use headwater_benches::record::Random;
use headwater_benches::table::{Table, time};
use headwater_benches::{OrExit, run, scaled};

const NAME: &str = "whole";
const LETTERS: usize = 200_000;
const ELEMENTS: usize = 20_000;
const EDITS: usize = 100;
/// Of so many edits the middle one is shown.
const TIMES: usize = 9;

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    let random = &mut Random::seeded(7);
    text(random);
    list(random);
}

fn text(random: &mut Random) {
    let mut letters: Vec<char> = Vec::with_capacity(LETTERS);
    while letters.len() < scaled(LETTERS) {
        let word = (0..2 + random.next_u64() % 9).map(|_| char::from(b'a' + (random.next_u64() % 26) as u8));
        letters.extend(word.chain([' ']).collect::<Vec<_>>());
    }
    let (things, id) = thing(Value::Text(Text::from(letters.iter().collect::<String>())));
    let mut plain = AutoCommit::new();
    let text = plain.put_object(ROOT, "body", ObjType::Text).or_exit("making a text");
    plain.splice_text(&text, 0, 0, &letters.iter().collect::<String>()).or_exit("filling a text");
    plain.commit();
    let (mut of_replica, mut of_automerge) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let places: Vec<usize> =
            (0..EDITS).map(|_| (random.next_u64() % letters.len() as u64) as usize).collect();
        for place in &places {
            letters[*place] = 'Q';
        }
        let whole = Value::from(letters.iter().collect::<String>());
        of_replica.push(set(&things, id, whole));
        let (took, ()) = time(|| {
            for place in &places {
                plain.splice_text(&text, *place, 1, "Q").or_exit("editing");
            }
            plain.commit();
            drop(plain.text(&text).or_exit("reading"));
        });
        of_automerge.push(took);
    }
    let title =
        format!("{EDITS} corrections in a text of {} letters, handed over whole, in memory", letters.len());
    let table = Table::new(&title)
        .goal("50 ms")
        .row("replica: `set` of the whole text", middle(of_replica))
        .row("automerge: the same as splices, committed and read", middle(of_automerge));
    print!("{table}");
}

fn list(random: &mut Random) {
    let mut words: Vec<String> = (0..scaled(ELEMENTS)).map(|n| format!("element {n}")).collect();
    let list = |words: &[String]| Value::List(words.iter().map(|word| Value::from(word.as_str())).collect());
    let (things, id) = thing(list(&words));
    let mut plain = AutoCommit::new();
    let body = plain.put_object(ROOT, "body", ObjType::List).or_exit("making a list");
    for (index, word) in words.iter().enumerate() {
        plain.insert(&body, index, word.as_str()).or_exit("filling a list");
    }
    plain.commit();
    let (mut of_replica, mut of_automerge) = (Vec::new(), Vec::new());
    for round in 0..TIMES {
        let places: Vec<usize> =
            (0..EDITS).map(|_| (random.next_u64() % words.len() as u64) as usize).collect();
        for (number, place) in places.iter().enumerate() {
            words.insert(*place, format!("new {round} {number}"));
        }
        of_replica.push(set(&things, id, list(&words)));
        let (took, ()) = time(|| {
            for (number, place) in places.iter().enumerate() {
                plain.insert(&body, *place, format!("new {round} {number}")).or_exit("editing");
            }
            plain.commit();
            assert_eq!(plain.list_range(&body, ..).count(), words.len());
        });
        of_automerge.push(took);
    }
    let title =
        format!("{EDITS} insertions into a list of {} strings, handed over whole, in memory", words.len());
    let table = Table::new(&title)
        .goal("50 ms, the document cached")
        .row("replica: `set` of the whole list", middle(of_replica))
        .row("automerge: the same as insertions, committed and read", middle(of_automerge));
    print!("{table}");
}

/// A replica in memory with one entity.
fn thing(body: Value) -> (DynamicCollection, EntityId) {
    let replica = Replica::in_memory(Fixed::seeded(1)).or_exit("opening a replica");
    let things = replica.space(prepared::SPACE).dynamic("things").or_exit("opening the collection");
    let id = things.insert(Map::from([("body".to_owned(), body)])).or_exit("inserting").id;
    (things, id)
}

fn set(things: &DynamicCollection, id: EntityId, body: Value) -> Duration {
    let fields = Map::from([("body".to_owned(), body)]);
    let (took, receipt) = time(|| things.set(id, fields).or_exit("editing"));
    assert!(!receipt.is_empty());
    took
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
