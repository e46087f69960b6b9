//! What two devices make apart in one place is one thing when they meet.

use std::collections::BTreeMap;

use headwater::{Counter, EntityId, Keyed, Map, Replica, Text, Value};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, exchange, replica};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Plan {
    notes: Text,
    cups: Counter,
    tags: Vec<String>,
    gear: Keyed<Gear>,
    days: BTreeMap<String, Day>,
    recipe: Option<Text>,
    method: Option<Method>,
    spot: Option<(f64, f64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Gear {
    id: u32,
    name: String,
    grams: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Day {
    notes: Text,
    cups: Counter,
    tags: Vec<String>,
    inner: BTreeMap<String, BTreeMap<String, Text>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Method {
    Espresso { bar: u32, seconds: u32 },
    Filter { grams: u32 },
    Cold,
}

type Edit<'a> = &'a dyn Fn(&mut Plan);

/// Two devices that both have `plan`, edit it apart by one call of their closure for each edit, and meet.
fn edited_apart(plan: &Plan, on_a: &[Edit<'_>], on_b: &[Edit<'_>]) -> Plan {
    let devices = [replica(), replica()];
    let [a, b] = &devices;
    let id = plans(a).insert(plan).unwrap().id;
    exchange(a, b);
    go_on(&devices, id, on_a, on_b)
}

fn go_on([a, b]: &[Replica; 2], id: EntityId, on_a: &[Edit<'_>], on_b: &[Edit<'_>]) -> Plan {
    for (replica, edits) in [(a, on_a), (b, on_b)] {
        for edit in edits {
            plans(replica).update(id, |plan| edit(plan)).unwrap();
        }
    }
    exchange(a, b);
    let merged = plans(a).get(id).unwrap().unwrap();
    assert_eq!(merged, plans(b).get(id).unwrap().unwrap());
    merged
}

fn plans(replica: &Replica) -> headwater::Collection<Plan> {
    replica.space(SPACE).collection::<Plan>("plans").unwrap()
}

fn gear(id: u32, name: &str, grams: u32) -> Gear {
    Gear { id, name: name.into(), grams }
}

fn kit() -> Plan {
    let gear = vec![gear(1, "mill", 500), gear(2, "kettle", 900), gear(3, "scale", 200)];
    Plan { gear: gear.into(), ..Plan::default() }
}

fn ids(plan: &Plan) -> Vec<u32> {
    plan.gear.iter().map(|gear| gear.id).collect()
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Map {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn a_keyed_element_is_there_once_whatever_meets() {
    // Would show an element twice, lose an edit to a move, or bring back what somebody removed.
    let to_front = |plan: &mut Plan| plan.gear.rotate_right(1);
    let reverse = |plan: &mut Plan| plan.gear.reverse();
    let rename = |plan: &mut Plan| plan.gear.iter_mut().for_each(|gear| gear.name.push('!'));
    let remove = |plan: &mut Plan| plan.gear.retain(|gear| gear.id != 3);

    let merged = edited_apart(&kit(), &[&to_front], &[&rename]);
    assert_eq!(
        merged.gear.to_vec(),
        [gear(3, "scale!", 200), gear(1, "mill!", 500), gear(2, "kettle!", 900)]
    );
    assert_eq!(ids(&edited_apart(&kit(), &[&to_front], &[&to_front])), [3, 1, 2]);
    assert_eq!(ids(&edited_apart(&kit(), &[&reverse], &[&reverse])), [3, 2, 1]);
    assert_eq!(ids(&edited_apart(&kit(), &[&remove], &[&to_front])), [1, 2]);
    assert_eq!(ids(&edited_apart(&kit(), &[&remove], &[&rename, &reverse])), [2, 1]);
    let mut both = ids(&edited_apart(&kit(), &[&reverse], &[&to_front]));
    both.sort_unstable();
    assert_eq!(both, [1, 2, 3]);

    let add = |name: &'static str, grams| move |plan: &mut Plan| plan.gear.insert(1, gear(7, name, grams));
    let merged = edited_apart(&kit(), &[&add("cup", 90)], &[&add("cup", 90)]);
    assert_eq!(merged.gear.to_vec().iter().filter(|gear| gear.id == 7).count(), 1);
    assert_eq!(ids(&merged), [1, 7, 2, 3]);
}

#[test]
fn a_key_that_is_added_again_wins_over_a_removal_that_did_not_see_it() {
    // Would lose the new element, or what others wrote into the old one while it was away.
    let remove = |plan: &mut Plan| plan.gear.retain(|gear| gear.id != 2);
    let again = |plan: &mut Plan| plan.gear.push(gear(2, "kettle", 900));
    let rename = |plan: &mut Plan| plan.gear[1].name = "copper kettle".into();
    let merged = edited_apart(&kit(), &[&remove, &again], &[&remove]);
    assert_eq!(ids(&merged), [1, 3, 2]);
    let merged = edited_apart(&kit(), &[&remove], &[&rename]);
    assert_eq!(ids(&merged), [1, 3]);

    let devices = [replica(), replica()];
    let id = plans(&devices[0]).insert(&kit()).unwrap().id;
    exchange(&devices[0], &devices[1]);
    go_on(&devices, id, &[&remove], &[&rename]);
    // Whoever adds it says what it holds.
    let merged = go_on(&devices, id, &[&again], &[]);
    assert_eq!(merged.gear.to_vec(), [gear(1, "mill", 500), gear(3, "scale", 200), gear(2, "kettle", 900)]);
    let merged = go_on(&devices, id, &[&remove], &[&|plan| plan.gear[2].grams = 1]);
    assert_eq!(ids(&merged), [1, 3], "removed for the second time");
    // Both add it again, each with what the other one leaves out.
    let days = |replica: &Replica| replica.space(SPACE).dynamic("plans").unwrap();
    let list = |words: &[&str]| Value::List(words.iter().map(|word| Value::from(*word)).collect());
    let element = |name: &str, words: &[&str]| map([("id", 2.into()), (name, list(words))]);
    let set = |replica: &Replica, items: Vec<Map>| {
        let items = items.into_iter().map(Value::Map).collect();
        days(replica).set(id, map([("gear", Value::Keyed("id".into(), items))])).unwrap();
    };
    set(&devices[0], vec![element("left", &["a"])]);
    exchange(&devices[0], &devices[1]);
    set(&devices[0], vec![]);
    exchange(&devices[0], &devices[1]);
    set(&devices[0], vec![element("left", &["a", "b"])]);
    set(&devices[1], vec![element("right", &["c"])]);
    exchange(&devices[0], &devices[1]);
    let mut both = element("left", &["a", "b"]);
    both.extend(element("right", &["c"]));
    for replica in &devices {
        let fields = days(replica).get(id).unwrap().unwrap().fields;
        assert_eq!(fields["gear"], Value::Keyed("id".into(), vec![Value::Map(both.clone())]));
    }
}

#[test]
fn what_one_device_adds_to_a_keyed_list_stays_together() {
    // Would shuffle what two people add at one spot, all at once or one after the other.
    let add =
        |ids: &'static [u32]| move |plan: &mut Plan| plan.gear.extend(ids.iter().map(|id| gear(*id, "", 0)));
    let merged = edited_apart(&kit(), &[&add(&[10, 11]), &add(&[12])], &[&add(&[20]), &add(&[21, 22])]);
    let orders = [[1, 2, 3, 10, 11, 12, 20, 21, 22], [1, 2, 3, 20, 21, 22, 10, 11, 12]];
    assert!(orders.map(Vec::from).contains(&ids(&merged)), "{:?}", ids(&merged));
}

#[test]
fn an_older_app_that_reorders_keeps_what_it_does_not_know() {
    // Would drop a newer version's fields from what an older one moves.
    #[derive(Serialize, Deserialize)]
    struct OldPlan {
        gear: Keyed<OldGear>,
    }
    #[derive(Serialize, Deserialize)]
    struct OldGear {
        id: u32,
    }
    let a = replica();
    let id = plans(&a).insert(&kit()).unwrap().id;
    let old = a.space(SPACE).collection::<OldPlan>("plans").unwrap();
    old.update(id, |plan| plan.gear.reverse()).unwrap();
    old.update(id, |plan| plan.gear.push(OldGear { id: 4 })).unwrap();
    let plan = a.space(SPACE).dynamic("plans").unwrap().get(id).unwrap().unwrap();
    let gear = plan.fields["gear"].as_list().unwrap();
    assert_eq!(gear[0].as_map().unwrap()["name"].as_str(), Some("scale"));
    assert_eq!(gear[3].as_map().unwrap().len(), 1);
}

#[test]
fn many_moves_and_insertions_keep_the_order_that_the_app_gave() {
    // Would put an element elsewhere, once there is no room between two others.
    let a = replica();
    let id = plans(&a).insert(&kit()).unwrap().id;
    let mut expected = vec![1, 2, 3];
    let mut random: u64 = 7;
    for n in 0..400 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let spot = if n < 200 { 1 } else { (random >> 33) as usize % (expected.len() + 1) };
        plans(&a)
            .update(id, |plan| match n % 3 {
                0 => {
                    let moved = plan.gear.remove(spot.min(expected.len() - 1));
                    plan.gear.insert(spot.min(expected.len() - 1) / 2, moved);
                }
                _ => plan.gear.insert(spot, gear(100 + n, "", 0)),
            })
            .unwrap();
        match n % 3 {
            0 => {
                let last = expected.len() - 1;
                let moved = expected.remove(spot.min(last));
                expected.insert(spot.min(last) / 2, moved);
            }
            _ => expected.insert(spot, 100 + n),
        }
        assert_eq!(ids(&plans(&a).get(id).unwrap().unwrap()), expected, "after {n}");
    }
}

#[test]
fn first_containers_in_places_that_come_from_data_are_one() {
    // Would lose all that one of two people wrote into a day that both began.
    let write = |word: &'static str| {
        move |plan: &mut Plan| {
            let day = plan.days.entry("mon".into()).or_default();
            day.notes.push_str(word);
            day.cups.increment(1);
            day.tags.push(word.to_owned());
            let inner = day.inner.entry("deep".into()).or_default().entry("deeper".into()).or_default();
            inner.push_str(word);
            let recipe = plan.recipe.get_or_insert_with(Text::new);
            recipe.push_str(word);
        }
    };
    let merged =
        edited_apart(&Plan::default(), &[&write("corn"), &write("+")], &[&write("rye"), &write("-")]);
    let day = &merged.days["mon"];
    assert!(["corn+rye-", "rye-corn+"].contains(&day.notes.as_str()), "{:?}", day.notes);
    assert!(["corn+rye-", "rye-corn+"].contains(&merged.recipe.as_ref().unwrap().as_str()));
    assert!(["corn+rye-", "rye-corn+"].contains(&day.inner["deep"]["deeper"].as_str()));
    assert_eq!(day.cups, Counter::new(4));
    let mut tags = day.tags.clone();
    tags.sort();
    assert_eq!(tags, ["+", "-", "corn", "rye"]);
}

#[test]
fn what_is_one_is_edited_like_any_other() {
    // Would write into one part of a text or list what belongs into another, or count into both.
    let write = |word: &'static str| {
        move |plan: &mut Plan| {
            let day = plan.days.entry("mon".into()).or_default();
            day.notes.push_str(word);
            day.cups.increment(5);
            day.tags.extend(word.chars().map(String::from));
        }
    };
    let devices = [replica(), replica()];
    let id = plans(&devices[0]).insert(&Plan::default()).unwrap().id;
    exchange(&devices[0], &devices[1]);
    let met = go_on(&devices, id, &[&write("corn")], &[&write("rye")]);
    let both = met.days["mon"].notes.to_string();
    assert_eq!(both.len(), 7);
    let merged = go_on(
        &devices,
        id,
        &[&|plan| {
            let day = plan.days.get_mut("mon").unwrap();
            // Over the seam of the two.
            day.notes = format!("{}-{}", &both[..2], &both[5..]).as_str().into();
            day.tags.splice(2..5, ["X".to_owned(), "Y".to_owned()]);
            day.cups.increment(1);
        }],
        &[&|plan| {
            let day = plan.days.get_mut("mon").unwrap();
            day.notes.push_str("!");
            day.tags.insert(0, "first".to_owned());
            day.cups.increment(2);
        }],
    );
    let day = &merged.days["mon"];
    assert_eq!(day.notes.as_str(), format!("{}-{}!", &both[..2], &both[5..]));
    assert_eq!(day.cups, Counter::new(13));
    let letters = met.days["mon"].tags.clone();
    let expected: Vec<&str> =
        ["first"].into_iter().chain(letters[..2].iter().map(|s| s.as_str())).chain(["X", "Y"]).collect();
    assert_eq!(day.tags[..5], expected[..]);
    assert_eq!(day.tags[5..], letters[5..]);
    // Removed on one side, and written to on the other: what is removed is gone.
    let merged = go_on(&devices, id, &[&|plan| plan.days.clear()], &[]);
    assert!(merged.days.is_empty());
}

#[test]
fn a_case_of_an_enum_and_a_tuple_are_whole_whatever_meets() {
    // Would leave a record that no app can read, with two cases or three coordinates.
    let espresso = |bar| move |plan: &mut Plan| plan.method = Some(Method::Espresso { bar, seconds: 25 });
    let filter = |plan: &mut Plan| plan.method = Some(Method::Filter { grams: 15 });
    let merged = edited_apart(&Plan::default(), &[&espresso(9)], &[&filter]);
    assert!(
        [Some(Method::Espresso { bar: 9, seconds: 25 }), Some(Method::Filter { grams: 15 })]
            .contains(&merged.method)
    );
    let began = Plan {
        method: Some(Method::Espresso { bar: 8, seconds: 25 }),
        spot: Some((1.0, 2.0)),
        ..Plan::default()
    };
    let merged = edited_apart(&began, &[&filter], &[&|plan| plan.method = Some(Method::Cold)]);
    assert!([Some(Method::Filter { grams: 15 }), Some(Method::Cold)].contains(&merged.method), "{merged:?}");
    let slower = |plan: &mut Plan| {
        if let Some(Method::Espresso { seconds, .. }) = &mut plan.method {
            *seconds = 30;
        }
    };
    let merged = edited_apart(&began, &[&espresso(9)], &[&slower]);
    assert_eq!(merged.method, Some(Method::Espresso { bar: 9, seconds: 30 }));
    let swap = |plan: &mut Plan| plan.spot = plan.spot.map(|(x, y)| (y, x));
    let merged = edited_apart(&began, &[&swap], &[&|plan| plan.spot = Some((1.0, 5.0))]);
    assert!(merged.spot.is_some_and(|(x, y)| x == 2.0 && (y == 1.0 || y == 5.0)), "{merged:?}");
    let first = |x| move |plan: &mut Plan| plan.spot = Some((x, x));
    let merged = edited_apart(&Plan::default(), &[&first(1.0)], &[&first(2.0)]);
    assert!([Some((1.0, 1.0)), Some((2.0, 2.0))].contains(&merged.spot), "{merged:?}");
}

#[test]
fn what_two_devices_create_an_entity_with_counts_once_where_it_is_equal() {
    // Would greet a person with "Welcome.Welcome.", or lose what one of two imports brought.
    let id = EntityId::from_bytes([7; 16]);
    let starter = Plan {
        notes: "Welcome.".into(),
        cups: Counter::new(5),
        tags: vec!["new".into()],
        days: [("mon".to_owned(), Day { notes: "first".into(), ..Day::default() })].into(),
        recipe: Some("60 g".into()),
        ..kit()
    };
    let create = |edit: Edit<'_>, edited_before: bool| {
        let devices = [replica(), replica()];
        let mut other = starter.clone();
        edit(&mut other);
        plans(&devices[0]).insert_with_id(id, &starter).unwrap();
        plans(&devices[1]).insert_with_id(id, &other).unwrap();
        let later = |plan: &mut Plan| {
            plan.notes.push_str(" A");
            plan.cups.increment(1);
        };
        let on_a: &[Edit<'_>] = if edited_before { &[&later] } else { &[] };
        let merged = go_on(&devices, id, on_a, &[]);
        if edited_before { merged } else { go_on(&devices, id, &[&later], &[]) }
    };
    for edited_before in [false, true] {
        let mut expected = starter.clone();
        expected.notes.push_str(" A");
        expected.cups.increment(1);
        assert_eq!(create(&|_| (), edited_before), expected);
        // Other content merges, field by field.
        let merged = create(&|plan| plan.cups = Counter::new(2), edited_before);
        assert_eq!(
            (merged.notes.as_str(), merged.cups, merged.gear.len()),
            ("Welcome. A", Counter::new(8), 3)
        );
        let merged = create(&|plan| plan.gear.push(gear(4, "cup", 90)), edited_before);
        assert_eq!((merged.notes.as_str(), ids(&merged)), ("Welcome. A", vec![1, 2, 3, 4]));
        // Who left a place empty did not see what the other put there.
        assert_eq!(create(&|plan| plan.recipe = None, edited_before).recipe, starter.recipe);
        let merged = create(&|plan| plan.tags = vec!["old".into()], edited_before);
        assert_eq!(merged.tags.len(), 2);
    }
}

#[test]
fn imports_of_one_file_on_two_devices_are_one_entity() {
    // Would double every text and list of a file that somebody imports on the phone and on the computer.
    let id = EntityId::from_bytes([9; 16]);
    let fields = map([
        ("notes", Value::Text("sweet".into())),
        ("tags", Value::List(vec!["a".into(), Value::Map(map([("n", 1.into())]))])),
        ("used", Value::Counter(3)),
        ("roast", Value::Map(map([("level", 2.into()), ("curve", Value::List(vec![1.into(), 2.into()]))]))),
    ]);
    let devices = [replica(), replica()];
    let of = |replica: &Replica| replica.space(SPACE).dynamic("bags").unwrap();
    for replica in &devices {
        of(replica).upsert(id, fields.clone()).unwrap();
    }
    of(&devices[1]).set(id, map([("notes", "very sweet".into())])).unwrap();
    exchange(&devices[0], &devices[1]);
    let mut expected = fields;
    expected.insert("notes".to_owned(), Value::Text("very sweet".into()));
    for replica in &devices {
        assert_eq!(of(replica).get(id).unwrap().unwrap().fields, expected);
        assert_eq!(replica.verify().unwrap().rows_repaired, 0);
    }
}

#[test]
fn a_list_without_keys_of_its_own_is_refused_before_anything_is_written() {
    // Would lose an element, or make two of one.
    let a = replica();
    let twice = Plan { gear: vec![gear(1, "mill", 1), gear(1, "kettle", 2)].into(), ..Plan::default() };
    let refused = plans(&a).insert(&twice).unwrap_err().to_string();
    assert!(refused.contains("element 1 of the keyed list `gear` has no `id` of its own"), "{refused}");
    let id = plans(&a).insert(&kit()).unwrap().id;
    let before = plans(&a).get(id).unwrap();
    assert!(plans(&a).update(id, |plan| plan.gear[0].id = 2).is_err());
    let bags = a.space(SPACE).dynamic("plans").unwrap();
    let plain = Value::List(vec![Value::Map(map([("name", "no key".into())]))]);
    assert!(bags.set(id, map([("gear", plain)])).is_err());
    assert_eq!(plans(&a).get(id).unwrap(), before);
    // A plain list of records with keys, as readers without keyed lists write it back, is written by key.
    let plain = Value::List(vec![
        Value::Map(map([("id", 3.into())])),
        Value::Map(map([("id", 1.into()), ("name", "mill".into())])),
    ]);
    bags.set(id, map([("gear", plain)])).unwrap();
    assert!(matches!(bags.get(id).unwrap().unwrap().fields["gear"], Value::Keyed(..)));
    assert_eq!(bags.get(id).unwrap().unwrap().fields["gear"].as_list().unwrap().len(), 2);
}
