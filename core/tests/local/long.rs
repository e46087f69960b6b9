//! Long texts and lists, handed over whole: an edit touches what it changes, and one that is too large for one change becomes several.

use headwater::{EntityId, Map, Replica, Text, Value};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, carry, changes, exchange, replica};

fn set(replica: &Replica, id: EntityId, value: Value) -> usize {
    let before = changes(replica, id).len();
    let notes = replica.space(SPACE).dynamic("notes").unwrap();
    notes.upsert_all([(id, Map::from([("body".to_owned(), value)]))]).unwrap();
    changes(replica, id).len() - before
}

fn body(replica: &Replica, id: EntityId) -> Value {
    replica.space(SPACE).dynamic("notes").unwrap().get(id).unwrap().unwrap().fields["body"].clone()
}

/// Both have the body.
fn shared(value: Value) -> (Replica, Replica, EntityId) {
    let (a, b, id) = (replica(), replica(), EntityId::from_bytes([3; 16]));
    set(&a, id, value);
    carry(&a, &b);
    (a, b, id)
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("w{:05x}", n * 7_919 % 0xf_ffff)).collect()
}

#[test]
fn two_edits_of_a_long_text_and_one_between_them_are_all_there() {
    // Would double the text, and take back what somebody else corrected in its middle.
    let text = words(6_000).join(" ");
    let (a, b, id) = shared(Value::Text(Text::from(text.as_str())));
    let edited = format!("first {} last", text.replace("w00000 ", ""));
    set(&a, id, Value::from(edited.as_str()));
    let middle = words(6_000)[2_999].clone();
    set(&b, id, Value::from(text.replace(&middle, "corrected")));
    exchange(&a, &b);
    let expected = edited.replace(&middle, "corrected");
    assert_eq!(body(&a, id).as_str(), Some(expected.as_str()));
    assert_eq!(body(&b, id).as_str(), Some(expected.as_str()));
}

#[test]
fn edits_of_a_long_list_keep_each_others_elements() {
    // Would pair the elements by their places, and lose insertions, removals and replacements of the other device.
    let list = |words: &[String]| Value::List(words.iter().map(|word| Value::from(word.as_str())).collect());
    let base = words(4_200);
    let (a, b, id) = shared(list(&base));
    let mut by_a = base.clone();
    by_a.insert(0, "new".into());
    set(&a, id, list(&by_a));
    let mut by_b = base.clone();
    by_b[10] = "replaced".into();
    by_b.remove(3_000);
    by_b.push("end".into());
    set(&b, id, list(&by_b));
    exchange(&a, &b);
    by_b.insert(0, "new".into());
    assert_eq!(body(&a, id), list(&by_b));
    assert_eq!(body(&b, id), list(&by_b));
}

#[test]
fn a_record_that_takes_anothers_place_does_not_inherit_its_edits() {
    // Would make a record that nobody wrote: one device's name with the other one's mark.
    let record = |name: &str, price: i64| {
        Value::Map(Map::from([("name".into(), Value::from(name)), ("price".into(), Value::Int(price))]))
    };
    let names = ["guji", "yirga", "harrar"];
    let base: Vec<Value> = names.iter().zip(10..).map(|(name, price)| record(name, price)).collect();
    let (a, b, id) = shared(Value::List(base.clone()));
    let by_a = [vec![record("kochere", 20)], base[1..].to_vec()].concat();
    set(&a, id, Value::List(by_a.clone()));
    let mut by_b = base.clone();
    by_b[0] = record("guji", 0);
    by_b[1] = record("yirga", 5);
    set(&b, id, Value::List(by_b.clone()));
    exchange(&a, &b);
    let merged = body(&a, id);
    let known: Vec<&Value> = base.iter().chain(&by_a).chain(&by_b).collect();
    let found = merged.as_list().unwrap();
    assert!(found.iter().all(|record| known.contains(&record)), "{found:?}");
    assert!(found.contains(&record("kochere", 20)) && found.contains(&record("yirga", 5)), "{found:?}");
    // A name that is spelled in another way is the same record all the same.
    let mut renamed = found.to_vec();
    let at = renamed.iter().position(|found| *found == record("harrar", 12)).unwrap();
    renamed[at] = record("harar", 12);
    set(&a, id, Value::List(renamed));
    let mut priced = found.to_vec();
    priced[at] = record("harrar", 13);
    set(&b, id, Value::List(priced));
    exchange(&a, &b);
    assert!(body(&a, id).as_list().unwrap().contains(&record("harar", 13)), "{:?}", body(&a, id));
}

#[test]
fn runs_that_two_devices_append_stay_whole() {
    // Would mix two runs element by element.
    let list = |words: &[&str]| Value::List(words.iter().map(|word| Value::from(*word)).collect());
    let (a, b, id) = shared(list(&["milk"]));
    set(&a, id, list(&["milk", "a1", "a2", "a3"]));
    set(&b, id, list(&["milk", "b1", "b2", "b3"]));
    exchange(&a, &b);
    let merged = body(&a, id);
    let (first, second) = (["a1", "a2", "a3"], ["b1", "b2", "b3"]);
    let either = [[first, second].concat(), [second, first].concat()];
    assert!(either.iter().any(|run| merged == list(&[&["milk"], run.as_slice()].concat())), "{merged:?}");
}

#[test]
fn what_one_update_puts_in_front_in_several_steps_is_one_run() {
    // Would let the lines of two devices alternate.
    #[derive(Serialize, Deserialize)]
    struct Note {
        body: Text,
    }
    let (a, b, id) = shared(Value::Text(Text::from("start")));
    for (replica, lines) in [(&a, ["milk ", "tea "]), (&b, ["corn ", "rye "])] {
        let notes = replica.space(SPACE).collection::<Note>("notes").unwrap();
        notes.update(id, |note| lines.iter().for_each(|line| note.body.insert(0, line))).unwrap();
    }
    exchange(&a, &b);
    let merged = body(&a, id).as_str().unwrap().to_owned();
    assert!(["tea milk rye corn start", "rye corn tea milk start"].contains(&merged.as_str()), "{merged}");
}

#[test]
fn an_edit_that_is_too_large_for_one_change_becomes_several() {
    // Would refuse a long text, or one that has grown long and is to be emptied.
    let long = words(17_500).join(" ");
    let (a, b, id) = (replica(), replica(), EntityId::from_bytes([3; 16]));
    assert!(set(&a, id, Value::Text(Text::from(long.as_str()))) > 1);
    let items: Vec<Value> = words(8_500).into_iter().map(Value::from).collect();
    let notes = a.space(SPACE).dynamic("notes").unwrap();
    notes.set(id, Map::from([("items".into(), Value::List(items.clone()))])).unwrap();
    carry(&a, &b);
    assert_eq!(body(&b, id).as_str(), Some(long.as_str()));
    assert!(set(&b, id, Value::from("")) > 1);
    let on_b = b.space(SPACE).dynamic("notes").unwrap();
    on_b.set(id, Map::from([("items".into(), Value::List(Vec::new()))])).unwrap();
    carry(&b, &a);
    assert_eq!(body(&a, id).as_str(), Some(""));
    assert_eq!(notes.get(id).unwrap().unwrap().fields["items"], Value::List(Vec::new()));
    // All of it waits for the relay under one receipt.
    let receipt = notes.set(id, Map::from([("body".into(), Value::from(long.as_str()))])).unwrap();
    assert!(!receipt.is_empty() && !receipt.is_on_relay().unwrap());
    let string = "x".repeat(1 << 20);
    notes.set(id, Map::from([("string".into(), Value::from(string.as_str()))])).unwrap();
    carry(&a, &b);
    assert_eq!(on_b.get(id).unwrap().unwrap().fields["string"].as_str(), Some(string.as_str()));
}
