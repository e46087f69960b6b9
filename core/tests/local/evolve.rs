//! Versions of an app that know different fields live together.

use headwater::{EditError, EntityId, Map, ReadError, Text, Value};
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, carry, exchange, replica};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OldBag {
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct NewBag {
    name: String,
    #[serde(default)]
    rating: f64,
    notes: Text,
    tags: Vec<String>,
}

#[test]
fn a_field_that_a_struct_lacks_survives_its_update() {
    // Would delete what another version of the app, or another device, wrote.
    let replica = replica();
    let space = replica.space(SPACE);
    let new = space.collection::<NewBag>("coffee_bags").unwrap();
    let bag = NewBag { name: "Guji".into(), rating: 4.5, notes: "juicy".into(), tags: vec!["a".into()] };
    let id = new.insert(&bag).unwrap().id;
    space.collection::<OldBag>("coffee_bags").unwrap().update(id, |bag| bag.name = "Guji 2".into()).unwrap();
    assert_eq!(new.get(id).unwrap(), Some(NewBag { name: "Guji 2".into(), ..bag }));
}

#[test]
fn a_new_version_reads_what_an_old_one_wrote() {
    // Would fail to open every existing entity after an upgrade that adds a text or a list.
    let replica = replica();
    let space = replica.space(SPACE);
    let id = space
        .collection::<OldBag>("coffee_bags")
        .unwrap()
        .insert(&OldBag { name: "Guji".into() })
        .unwrap()
        .id;
    let read = space.collection::<NewBag>("coffee_bags").unwrap().get(id).unwrap().unwrap();
    assert_eq!(read, NewBag { name: "Guji".into(), rating: 0.0, notes: Text::new(), tags: vec![] });
}

#[test]
fn two_devices_that_upgrade_offline_share_the_new_containers() {
    // Would keep only one device's text and list of the two that they began independently.
    let (a, b) = (replica(), replica());
    let id = a
        .space(SPACE)
        .collection::<OldBag>("coffee_bags")
        .unwrap()
        .insert(&OldBag { name: "Guji".into() })
        .unwrap()
        .id;
    carry(&a, &b);
    let (on_a, on_b) = (
        a.space(SPACE).collection::<NewBag>("coffee_bags").unwrap(),
        b.space(SPACE).collection::<NewBag>("coffee_bags").unwrap(),
    );
    on_a.update(id, |bag| (bag.notes.push_str("juicy "), bag.tags.push("a".into())).1).unwrap();
    on_b.update(id, |bag| (bag.notes.push_str("sweet "), bag.tags.push("b".into())).1).unwrap();
    exchange(&a, &b);
    let (merged, same) = (on_a.get(id).unwrap().unwrap(), on_b.get(id).unwrap().unwrap());
    assert_eq!(merged, same);
    assert!(merged.notes.contains("juicy") && merged.notes.contains("sweet"));
    assert_eq!(merged.tags.len(), 2);
}

#[test]
fn javascript_numbers_read_and_are_not_rewritten() {
    // Would refuse a browser's numbers, or write every numeric field again at the first update.
    #[derive(Serialize, Deserialize)]
    struct Numbers {
        float: f64,
        int: i32,
        name: String,
    }
    let replica = replica();
    let space = replica.space(SPACE);
    let raw = space.dynamic("numbers").unwrap();
    let fields = [("float", Value::Int(1)), ("int", Value::Float(-2.0)), ("name", "x".into())];
    let id = raw.insert(fields.map(|(name, value)| (name.to_owned(), value)).into()).unwrap().id;
    let typed = space.collection::<Numbers>("numbers").unwrap();
    let read = typed.get(id).unwrap().unwrap();
    assert_eq!((read.float, read.int), (1.0, -2));
    typed.update(id, |numbers| numbers.name = "y".into()).unwrap();
    let kept = raw.get(id).unwrap().unwrap().fields;
    assert_eq!((&kept["float"], &kept["int"]), (&Value::Int(1), &Value::Float(-2.0)));
}

#[test]
fn an_entity_that_does_not_fit_the_type_is_an_error_with_its_place() {
    // Would panic, or read garbage, when a field holds another kind.
    let replica = replica();
    let space = replica.space(SPACE);
    let id =
        space.dynamic("coffee_bags").unwrap().insert(Map::from([("name".into(), Value::Int(1))])).unwrap().id;
    let error = space.collection::<OldBag>("coffee_bags").unwrap().get(id).unwrap_err();
    assert!(error.to_string().contains("`name`"), "{error}");
}

#[test]
fn a_set_type_in_another_order_does_not_touch_the_stored_list() {
    // Would scramble a list that the app's type shows sorted, or write to the wrong positions.
    #[derive(Serialize, Deserialize)]
    struct Tagged {
        tags: std::collections::BTreeSet<String>,
        n: u32,
    }
    let replica = replica();
    let space = replica.space(SPACE);
    let raw = space.dynamic("tagged").unwrap();
    let list = |tags: &[&str]| Value::List(tags.iter().map(|tag| Value::from(*tag)).collect());
    let id =
        raw.insert(Map::from([("tags".into(), list(&["c", "a", "b"])), ("n".into(), 1.into())])).unwrap().id;
    let typed = space.collection::<Tagged>("tagged").unwrap();
    typed.update(id, |tagged| tagged.n = 2).unwrap();
    assert_eq!(raw.get(id).unwrap().unwrap().fields["tags"], list(&["c", "a", "b"]));
    typed.update(id, |tagged| tagged.tags.retain(|tag| tag != "a")).unwrap();
    let tags = typed.get(id).unwrap().unwrap().tags;
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["b", "c"]);
}

/// What a version of an app makes of roasts, and what a later one does.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Roast {
    Light,
    Dark,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum NewRoast {
    Light,
    Dark,
    Custom { degrees: u16 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Brew<G, R> {
    grams: G,
    roast: R,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Log<G, R> {
    name: String,
    brews: Vec<Brew<G, R>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follows: Option<EntityId>,
}

type OldLog = Log<u32, Roast>;
type NewLog = Log<String, NewRoast>;

#[test]
fn an_old_version_lists_what_it_understands_and_names_the_rest() {
    // Would show an empty screen to everybody who has not upgraded, because of one entity of somebody who has.
    let replica = replica();
    let space = replica.space(SPACE);
    let (old, new) =
        (space.collection::<OldLog>("logs").unwrap(), space.collection::<NewLog>("logs").unwrap());
    let [readable, grams, variant, missing, last] = [1, 2, 3, 4, 5].map(|n| EntityId::from_bytes([n; 16]));
    let first =
        OldLog { name: "a".into(), brews: vec![Brew { grams: 15, roast: Roast::Light }], follows: None };
    let of_new = NewLog {
        name: "b".into(),
        brews: vec![Brew { grams: "15 g".into(), roast: NewRoast::Dark }],
        follows: Some(readable),
    };
    old.insert_all([(readable, &first), (last, &first)]).unwrap();
    new.insert_with_id(grams, &of_new).unwrap();
    let brew = |roast: Value| Value::Map(Map::from([("grams".into(), 15.into()), ("roast".into(), roast)]));
    let custom = Map::from([("Custom".into(), Map::from([("degrees".into(), 210.into())]).into())]).into();
    let with = |brews: Vec<Value>| Map::from([("brews".into(), brews.into())]);
    let fields = space.dynamic("logs").unwrap();
    fields.upsert(variant, with(vec![brew("Dark".into()), brew(custom)])).unwrap();
    fields.set(variant, Map::from([("name".into(), "c".into())])).unwrap();
    fields.upsert(missing, with(vec![brew("Dark".into())])).unwrap();

    let listed = old.list().unwrap();
    let ids: Vec<EntityId> = listed.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [readable, last]);
    let misfits: Vec<_> = listed.misfits.iter().map(|misfit| (misfit.id, misfit.path().unwrap())).collect();
    let expected = [(grams, "brews[0].grams"), (variant, "brews[1].roast"), (missing, "name")];
    assert_eq!(misfits, expected);
    assert!(listed.misfits[1].to_string().contains("Custom"), "{}", listed.misfits[1]);

    // One by one they come in the same places, and reading goes on behind an error.
    let kinds: Vec<bool> = old.iter().map(|entity| entity.is_ok()).collect();
    assert_eq!(kinds, [true, false, false, false, true]);
    assert_eq!(old.count().unwrap(), 5);
    // What the old version cannot read is whole: the new one reads it, an id in a field included.
    assert_eq!(new.get(grams).unwrap(), Some(of_new));
    // An edit of a misfit is refused by name, too, and changes nothing.
    assert!(matches!(
        old.update(grams, |log| log.name.clear()),
        Err(EditError::Read(ReadError::Decode { entity, error })) if entity == grams && error.path == "brews[0].grams"
    ));
}
