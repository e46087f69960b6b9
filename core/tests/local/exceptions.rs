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

#[test]
fn what_both_write_into_a_new_place_is_there_twice_if_it_is_equal() {
    // README says that content is counted once only where an entity begins with it.
    let begin = |journal: &mut Journal| {
        journal.recipe = Some("60 g.".into());
        journal.by_day.insert("mon".into(), Counter::new(2));
    };
    let merged = edited_apart(&Journal::default(), &[&begin], &[&begin]);
    assert_eq!(merged.recipe.as_deref(), Some("60 g.60 g."));
    assert_eq!(merged.by_day["mon"], Counter::new(4));
}

#[test]
fn of_unequal_lists_that_an_entity_begins_with_all_of_both_is_there() {
    // README says that equal content counts once as a whole: an app would look for what the lists have in common.
    let id = EntityId::from_bytes([8; 16]);
    let (a, b) = (replica(), replica());
    let of = |replica: &Replica| replica.space(SPACE).collection::<Journal>("journals").unwrap();
    for (replica, tag) in [(&a, "sweet"), (&b, "bitter")] {
        let journal = Journal { tags: strings(&["new", tag]), ..Journal::default() };
        of(replica).insert_with_id(id, &journal).unwrap();
    }
    exchange(&a, &b);
    let mut tags = of(&a).get(id).unwrap().unwrap().tags;
    assert_eq!(tags, of(&b).get(id).unwrap().unwrap().tags);
    tags.sort_unstable();
    assert_eq!(tags, ["bitter", "new", "new", "sweet"]);
}

#[test]
fn a_case_with_its_tag_inside_can_have_fields_of_two() {
    // README says which enums are whole: the fields of another case stay in these, and are passed over.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Cup {
        method: Method,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Method {
        Hot { bar: u32 },
        Cold { hours: u32 },
        Iced { cubes: u32 },
    }
    let (a, b) = (replica(), replica());
    let of = |replica: &Replica| replica.space(SPACE).collection::<Cup>("cups").unwrap();
    let id = of(&a).insert(&Cup { method: Method::Hot { bar: 9 } }).unwrap().id;
    exchange(&a, &b);
    of(&a).update(id, |cup| cup.method = Method::Cold { hours: 12 }).unwrap();
    of(&b).update(id, |cup| cup.method = Method::Iced { cubes: 3 }).unwrap();
    exchange(&a, &b);
    let merged = of(&a).get(id).unwrap().unwrap();
    assert_eq!(merged, of(&b).get(id).unwrap().unwrap());
    assert!([Method::Cold { hours: 12 }, Method::Iced { cubes: 3 }].contains(&merged.method), "{merged:?}");
    let raw = a.space(SPACE).dynamic("cups").unwrap().get(id).unwrap().unwrap().fields;
    assert_eq!(raw["method"].as_map().unwrap().keys().collect::<Vec<_>>(), ["cubes", "hours", "kind"]);
}

#[test]
fn of_two_kinds_at_one_key_one_wins() {
    // README says that only what is alike is one: an app that changes a field's kind finds one of the two.
    let (a, b) = (replica(), replica());
    let of = |replica: &Replica| replica.space(SPACE).dynamic("journals").unwrap();
    let id = of(&a).insert(Map::new()).unwrap().id;
    exchange(&a, &b);
    let (text, list) = (Value::Text("sweet".into()), Value::List(vec!["sweet".into()]));
    of(&a).set(id, Map::from([("notes".to_owned(), text.clone())])).unwrap();
    of(&b).set(id, Map::from([("notes".to_owned(), list.clone())])).unwrap();
    exchange(&a, &b);
    let [on_a, on_b] = [&a, &b].map(|replica| of(replica).get(id).unwrap().unwrap().fields["notes"].clone());
    assert!(on_a == on_b && [text, list].contains(&on_a), "{on_a:?}");
}
