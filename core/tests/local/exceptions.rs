//! What merging does not do: the last column of README's table, one test for each row.

use std::collections::BTreeMap;

use headwater::{Counter, EntityId, Keyed, Map, Replica, Text, Value};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, exchange, replica};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Journal {
    cups: u32,
    notes: Text,
    tags: Vec<String>,
    brews: Vec<Brew>,
    gear: Keyed<Gear>,
    by_day: BTreeMap<String, Counter>,
    recipe: Option<Text>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Brew {
    name: String,
    grams: u32,
    stars: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Gear {
    id: u32,
    name: String,
}

/// Two devices that both have `journal`, edit it apart by one call of their closure for each edit, and meet.
fn edited_apart(
    journal: &Journal,
    on_a: &[&dyn Fn(&mut Journal)],
    on_b: &[&dyn Fn(&mut Journal)],
) -> Journal {
    let (a, b) = (replica(), replica());
    let of = |replica: &Replica| replica.space(SPACE).collection::<Journal>("journals").unwrap();
    let id = of(&a).insert(journal).unwrap().id;
    exchange(&a, &b);
    for (replica, edits) in [(&a, on_a), (&b, on_b)] {
        for edit in edits {
            of(replica).update(id, |journal| edit(journal)).unwrap();
        }
    }
    exchange(&a, &b);
    let merged = of(&a).get(id).unwrap().unwrap();
    assert_eq!(merged, of(&b).get(id).unwrap().unwrap());
    merged
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn a_plain_number_that_both_count_up_counts_once() {
    // README says that a number is no counter; an app would otherwise keep one and lose cups.
    let merged =
        edited_apart(&Journal::default(), &[&|journal| journal.cups += 1], &[&|journal| journal.cups += 1]);
    assert_eq!(merged.cups, 1);
}

#[test]
fn what_one_edit_inserts_stays_whole_and_separate_ones_in_front_of_each_other_can_alternate() {
    // README says which insertions stay together; a user would find lines of two people shuffled.
    let journal = Journal { notes: "start".into(), tags: strings(&["start"]), ..Journal::default() };
    let insert_both = |journal: &mut Journal, words: [&str; 2]| {
        journal.notes.insert(0, &format!("{} {} ", words[0], words[1]));
        journal.tags.splice(0..0, strings(&words));
    };
    let whole = edited_apart(
        &journal,
        &[&|journal| insert_both(journal, ["corn", "tea"])],
        &[&|journal| insert_both(journal, ["rye", "milk"])],
    );
    assert!(
        ["corn tea rye milk start", "rye milk corn tea start"].contains(&whole.notes.as_str()),
        "{whole:?}"
    );
    assert!(whole.tags.join(" ").contains("corn tea") && whole.tags.join(" ").contains("rye milk"));

    let append = |journal: &mut Journal, word: &str| {
        journal.notes.push_str(&format!(" {word}"));
        journal.tags.push(word.to_owned());
    };
    let appended = edited_apart(
        &journal,
        &[&|journal| append(journal, "corn"), &|journal| append(journal, "tea")],
        &[&|journal| append(journal, "rye"), &|journal| append(journal, "milk")],
    );
    assert!(
        ["start corn tea rye milk", "start rye milk corn tea"].contains(&appended.notes.as_str()),
        "{appended:?}"
    );

    let prepend = |journal: &mut Journal, word: &str| {
        journal.notes.insert(0, &format!("{word} "));
        journal.tags.insert(0, word.to_owned());
    };
    let alternating = edited_apart(
        &journal,
        &[&|journal| prepend(journal, "tea"), &|journal| prepend(journal, "corn")],
        &[&|journal| prepend(journal, "milk"), &|journal| prepend(journal, "rye")],
    );
    let mut words: Vec<&str> = alternating.notes.as_str().split(' ').collect();
    assert!(
        !["corn tea rye milk start", "rye milk corn tea start"].contains(&alternating.notes.as_str()),
        "README can promise more"
    );
    words.sort_unstable();
    assert_eq!(words, ["corn", "milk", "rye", "start", "tea"]);
}

#[test]
fn what_both_move_in_a_list_is_there_twice() {
    // README says that a list has no move: an app would show a task twice and think that it is at fault.
    let journal = Journal { tags: strings(&["a", "b", "c"]), ..Journal::default() };
    let to_front = |journal: &mut Journal| journal.tags.rotate_right(1);
    assert_eq!(edited_apart(&journal, &[&to_front], &[&to_front]).tags, ["c", "c", "a", "b"]);
}

#[test]
fn a_record_in_anothers_place_is_another_one_unless_it_is_recognisably_the_same() {
    // README says when a record is taken for an edited one: then it has what the other device wrote to it.
    let brew = |name: &str, grams, stars| Brew { name: name.into(), grams, stars };
    let journal = Journal { brews: vec![brew("Guji", 15, 4)], ..Journal::default() };
    let becomes = |after: Brew| {
        let replace = |journal: &mut Journal| journal.brews = vec![after.clone()];
        edited_apart(&journal, &[&replace], &[&|journal| journal.brews[0].stars = 5]).brews
    };
    assert_eq!(becomes(brew("Sidamo", 18, 3)), [brew("Sidamo", 18, 3)]);
    assert_eq!(becomes(brew("Gujji", 15, 4)), [brew("Gujji", 15, 5)], "nearly the same name");
    assert_eq!(becomes(brew("Sidamo", 18, 4)), [brew("Sidamo", 18, 5)], "half of the fields beside the name");
}

#[test]
fn equal_content_in_unequal_lists_with_keys_is_there_twice() {
    // README says that what an entity begins with counts once for each container: inside a keyed list, the list is the container.
    let id = EntityId::from_bytes([7; 16]);
    let (a, b) = (replica(), replica());
    let of = |replica: &Replica| replica.space(SPACE).dynamic("journals").unwrap();
    let gear = |id: i64| {
        Value::Map(Map::from([
            ("id".to_owned(), id.into()),
            ("notes".to_owned(), Value::Text("new.".into())),
        ]))
    };
    for (replica, gear) in [(&a, vec![gear(1)]), (&b, vec![gear(1), gear(2)])] {
        let fields = Map::from([("gear".to_owned(), Value::Keyed("id".into(), gear))]);
        of(replica).upsert(id, fields).unwrap();
    }
    let notes = |replica: &Replica| {
        let fields = of(replica).get(id).unwrap().unwrap().fields;
        fields["gear"].as_list().unwrap()[0].as_map().unwrap()["notes"].as_str().unwrap().to_owned()
    };
    exchange(&a, &b);
    assert_eq!(notes(&a), "new.new.", "README can promise more");
    assert_eq!(notes(&a), notes(&b));
}
