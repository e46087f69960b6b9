//! Fields that a new version of an app calls otherwise than the old one.

use std::collections::{BTreeMap, HashSet};

use headwater::{Collection, Counter, EntityId, KeyField, Keyed, Map, Replica, Text, Value};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pair::{SPACE, carry, exchange, replica};

/// What the first version of an app wrote.
mod old {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Bag {
        pub(super) name: String,
        pub(super) grams: u32,
        pub(super) memo: Text,
        pub(super) count: Counter,
        pub(super) water: Water,
        pub(super) lots: Vec<Lot>,
        pub(super) steps: Keyed<Step>,
        pub(super) by_year: BTreeMap<String, Lot>,
        pub(super) roaster: Option<Lot>,
        pub(super) best: Option<u32>,
        pub(super) method: Method,
        pub(super) tagged: Tagged,
        pub(super) beside: Beside,
        pub(super) any: Any,
        pub(super) pair: (u32, Lot),
        pub(super) tags: HashSet<String>,
        #[serde(flatten)]
        pub(super) more: More,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Water {
        pub(super) hard: u32,
        pub(super) salt: Salt,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Salt {
        pub(super) mg: u32,
        pub(super) kind: String,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Lot {
        pub(super) farm: String,
        pub(super) kg: u32,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Step {
        pub(super) id: u32,
        pub(super) say: Text,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Method {
        Cold,
        Hot { bar: u32, lot: Lot },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    pub(super) enum Tagged {
        Cold,
        Hot { bar: u32, lot: Lot },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", content = "of")]
    pub(super) enum Beside {
        Cold,
        Hot { bar: u32, lot: Lot },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Any {
        Hot { bar: u32, lot: Lot },
        Number(u32),
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct More {
        pub(super) shelf: u32,
    }
}

/// The second version, which has other names for most of it.
mod new {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Bag {
        #[serde(alias = "name")]
        pub(super) title: String,
        #[serde(alias = "gramm", alias = "grams")]
        pub(super) weight: u32,
        #[serde(alias = "memo")]
        pub(super) notes: Text,
        #[serde(alias = "count")]
        pub(super) brewed: Counter,
        #[serde(alias = "water")]
        pub(super) h2o: Water,
        #[serde(alias = "lots")]
        pub(super) batches: Vec<Lot>,
        #[serde(alias = "steps")]
        pub(super) plan: Keyed<Step>,
        #[serde(alias = "by_year")]
        pub(super) years: BTreeMap<String, Lot>,
        #[serde(alias = "roaster")]
        pub(super) from: Option<Lot>,
        #[serde(alias = "best", skip_serializing_if = "Option::is_none")]
        pub(super) favourite: Option<u32>,
        #[serde(alias = "method")]
        pub(super) brew: Method,
        pub(super) tagged: Tagged,
        pub(super) beside: Beside,
        pub(super) any: Any,
        pub(super) pair: (u32, Lot),
        pub(super) tags: HashSet<String>,
        #[serde(flatten)]
        pub(super) more: More,
        #[serde(default)]
        pub(super) fresh: u32,
        #[serde(default)]
        pub(super) fresh_text: String,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Water {
        #[serde(alias = "hard")]
        pub(super) hardness: u32,
        #[serde(alias = "salt")]
        pub(super) mineral: Salt,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Salt {
        #[serde(alias = "mg")]
        pub(super) milligrams: u32,
        pub(super) kind: String,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Lot {
        #[serde(alias = "farm")]
        pub(super) estate: String,
        #[serde(alias = "kg")]
        pub(super) weight: u32,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Step {
        pub(super) id: u32,
        #[serde(alias = "say")]
        pub(super) text: Text,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Method {
        Cold,
        #[serde(alias = "Hot")]
        Pressed {
            #[serde(alias = "bar")]
            pressure: u32,
            lot: Lot,
        },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    pub(super) enum Tagged {
        Cold,
        Hot {
            #[serde(alias = "bar")]
            pressure: u32,
            lot: Lot,
        },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", content = "of")]
    pub(super) enum Beside {
        Cold,
        Hot {
            #[serde(alias = "bar")]
            pressure: u32,
            lot: Lot,
        },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Any {
        Hot {
            #[serde(alias = "bar")]
            pressure: u32,
            lot: Lot,
        },
        Number(u32),
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct More {
        #[serde(alias = "shelf")]
        pub(super) place: u32,
    }
}

fn lot(n: u32) -> old::Lot {
    old::Lot { farm: format!("farm {n}"), kg: n }
}

fn bag(n: u32) -> old::Bag {
    old::Bag {
        name: format!("bag {n}"),
        grams: n,
        memo: format!("memo {n}").into(),
        count: Counter::new(i64::from(n)),
        water: old::Water { hard: n, salt: old::Salt { mg: n, kind: "sea".into() } },
        lots: vec![lot(n), lot(n + 1), lot(n + 2)],
        steps: (0..3).map(|id| old::Step { id, say: "grind".into() }).collect::<Vec<_>>().into(),
        by_year: BTreeMap::from([("2024".into(), lot(1)), ("2025".into(), lot(2))]),
        roaster: Some(lot(n)),
        best: n.is_multiple_of(2).then_some(n),
        method: old::Method::Hot { bar: 9, lot: lot(n) },
        tagged: old::Tagged::Hot { bar: 9, lot: lot(n) },
        beside: old::Beside::Hot { bar: 9, lot: lot(n) },
        any: old::Any::Hot { bar: 9, lot: lot(n) },
        pair: (n, lot(n)),
        tags: HashSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]),
        more: old::More { shelf: n },
    }
}

/// One edit, as the new version makes it and as the old one does.
type Edits = (fn(&mut new::Bag, u32), fn(&mut old::Bag, u32));

/// Edits of one kind each, as both versions make them.
const EDITS: [Edits; 18] = [
    (|bag, n| bag.title = n.to_string(), |bag, n| bag.name = n.to_string()),
    (|bag, n| bag.weight = n, |bag, n| bag.grams = n),
    (|bag, n| bag.notes.push_str(&n.to_string()), |bag, n| bag.memo.push_str(&n.to_string())),
    (|bag, n| bag.brewed.increment(n.into()), |bag, n| bag.count.increment(n.into())),
    (|bag, n| bag.h2o.hardness = n, |bag, n| bag.water.hard = n),
    (|bag, n| bag.h2o.mineral.milligrams = n, |bag, n| bag.water.salt.mg = n),
    (
        |bag, n| bag.batches.insert(1, new::Lot { estate: "new".into(), weight: n }),
        |bag, n| bag.lots.insert(1, old::Lot { farm: "new".into(), kg: n }),
    ),
    (
        |bag, n| bag.batches.iter_mut().take(1).for_each(|lot| lot.weight = n),
        |bag, n| bag.lots.iter_mut().take(1).for_each(|lot| lot.kg = n),
    ),
    (|bag, _| drop(bag.batches.pop()), |bag, _| drop(bag.lots.pop())),
    (
        |bag, n| {
            bag.plan.retain(|step| step.id != 100 + n);
            bag.plan.insert(0, new::Step { id: 100 + n, text: "pour".into() });
        },
        |bag, n| {
            bag.steps.retain(|step| step.id != 100 + n);
            bag.steps.insert(0, old::Step { id: 100 + n, say: "pour".into() });
        },
    ),
    (
        |bag, n| bag.plan.iter_mut().for_each(|step| step.text.push_str(&n.to_string())),
        |bag, n| bag.steps.iter_mut().for_each(|step| step.say.push_str(&n.to_string())),
    ),
    (|bag, _| bag.plan.reverse(), |bag, _| bag.steps.reverse()),
    (
        |bag, n| bag.years.values_mut().for_each(|lot| lot.weight = n),
        |bag, n| bag.by_year.values_mut().for_each(|lot| lot.kg = n),
    ),
    (
        |bag, n| bag.from.iter_mut().for_each(|lot| lot.estate = n.to_string()),
        |bag, n| bag.roaster.iter_mut().for_each(|lot| lot.farm = n.to_string()),
    ),
    (|bag, n| bag.favourite = Some(n), |bag, n| bag.best = Some(n)),
    (
        |bag, n| {
            if let new::Method::Pressed { pressure, lot } = &mut bag.brew {
                (*pressure, lot.weight) = (n, n);
            }
        },
        |bag, n| {
            if let old::Method::Hot { bar, lot } = &mut bag.method {
                (*bar, lot.kg) = (n, n);
            }
        },
    ),
    (
        |bag, n| {
            if let new::Tagged::Hot { pressure, lot } = &mut bag.tagged {
                (*pressure, lot.weight) = (n, n);
            }
            if let new::Beside::Hot { pressure, lot } = &mut bag.beside {
                (*pressure, lot.weight) = (n, n);
            }
            if let new::Any::Hot { pressure, lot } = &mut bag.any {
                (*pressure, lot.weight) = (n, n);
            }
        },
        |bag, n| {
            if let old::Tagged::Hot { bar, lot } = &mut bag.tagged {
                (*bar, lot.kg) = (n, n);
            }
            if let old::Beside::Hot { bar, lot } = &mut bag.beside {
                (*bar, lot.kg) = (n, n);
            }
            if let old::Any::Hot { bar, lot } = &mut bag.any {
                (*bar, lot.kg) = (n, n);
            }
        },
    ),
    (
        |bag, n| (bag.pair.1.weight, bag.more.place) = (n, n),
        |bag, n| (bag.pair.1.kg, bag.more.shelf) = (n, n),
    ),
];

fn bags<T: Serialize + DeserializeOwned>(replica: &Replica) -> Collection<T> {
    replica.space(SPACE).collection("coffee_bags").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_new_version_edits_what_the_old_one_goes_on_reading(
        n in 1_u32..50, edits in prop::collection::vec((0..EDITS.len(), 1_u32..20), 1..8),
    ) {
        // Would write a field under its new name beside the old one, and neither version could read the entity again.
        let (edited, expected) = (replica(), replica());
        let id = bags(&edited).insert(&bag(n)).unwrap().id;
        bags(&expected).insert_with_id(id, &bag(n)).unwrap();
        let new = bags::<new::Bag>(&edited);
        for (at, (edit, by)) in edits.iter().enumerate() {
            match at % 2 {
                0 => new.update(id, |bag| EDITS[*edit].0(bag, *by)).unwrap(),
                _ => {
                    let mut bag = new.get(id).unwrap().unwrap();
                    EDITS[*edit].0(&mut bag, *by);
                    new.upsert(id, &bag).unwrap()
                }
            };
            bags::<old::Bag>(&expected).update(id, |bag| EDITS[*edit].1(bag, *by)).unwrap();
        }
        let read = bags::<old::Bag>(&edited).get(id).unwrap();
        prop_assert_eq!(&read, &bags(&expected).get(id).unwrap());
        prop_assert_eq!(new.get(id).unwrap(), bags::<new::Bag>(&expected).get(id).unwrap());
        // Nothing is there by two names: what the old version wrote has the names that it had.
        let names = |replica: &Replica| {
            let fields = replica.space(SPACE).dynamic("coffee_bags").unwrap().get(id).unwrap().unwrap().fields;
            fields.into_keys().collect::<Vec<_>>()
        };
        prop_assert_eq!(names(&edited), names(&expected));
    }

    #[test]
    fn two_versions_on_two_devices_merge(
        n in 1_u32..50, on_old in 0..EDITS.len(), on_new in 0..EDITS.len(),
    ) {
        // Would merge differently from two devices with one version, or leave an entity that one of the two cannot read.
        let (a, b, c, d) = (replica(), replica(), replica(), replica());
        let id = bags(&a).insert(&bag(n)).unwrap().id;
        carry(&a, &b);
        bags(&c).insert_with_id(id, &bag(n)).unwrap();
        carry(&c, &d);
        bags::<old::Bag>(&a).update(id, |bag| EDITS[on_old].1(bag, 7)).unwrap();
        bags::<new::Bag>(&b).update(id, |bag| EDITS[on_new].0(bag, 8)).unwrap();
        exchange(&a, &b);
        let merged = bags::<old::Bag>(&a).get(id).unwrap().unwrap();
        prop_assert_eq!(bags::<old::Bag>(&b).get(id).unwrap().unwrap(), merged.clone());
        prop_assert_eq!(bags::<new::Bag>(&a).get(id).unwrap(), bags::<new::Bag>(&b).get(id).unwrap());
        if on_old != on_new {
            bags::<old::Bag>(&c).update(id, |bag| EDITS[on_old].1(bag, 7)).unwrap();
            bags::<old::Bag>(&d).update(id, |bag| EDITS[on_new].1(bag, 8)).unwrap();
            exchange(&c, &d);
            let same = bags::<old::Bag>(&c).get(id).unwrap().unwrap();
            // Which of two writes of one value wins is chance.
            if EDITS_APART.iter().all(|set| !(set.contains(&on_old) && set.contains(&on_new))) {
                prop_assert_eq!(merged, same);
            }
        }
    }
}

/// Edits that can touch one value.
const EDITS_APART: [&[usize]; 2] = [&[6, 7, 8], &[9, 10, 11]];

#[test]
fn a_field_by_two_of_its_names_reads_as_the_one_that_the_type_writes() {
    // Would make an entity unreadable for good once two versions of an app had each written their name, at any depth.
    let replica = replica();
    let id = bags(&replica).insert(&bag(4)).unwrap().id;
    let raw = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    let held = raw.get(id).unwrap().unwrap().fields;
    let with = |value: &Value, name: &str, added: Value| {
        let mut map = value.as_map().unwrap().clone();
        map.insert(name.to_owned(), added);
        Value::Map(map)
    };
    let lots = held["lots"].as_list().unwrap();
    let lots = Value::List(lots.iter().map(|lot| with(lot, "weight", 70.into())).collect());
    let fields = [
        ("title", "new".into()),
        ("water", with(&held["water"], "hardness", 71.into())),
        ("lots", lots),
        ("tagged", with(&held["tagged"], "pressure", 72.into())),
        ("place", 73.into()),
    ];
    raw.set(id, fields.map(|(name, value)| (name.to_owned(), value)).into()).unwrap();
    let new = bags::<new::Bag>(&replica);
    for _ in 0..2 {
        let read = new.get(id).unwrap().unwrap();
        assert_eq!((read.title.as_str(), read.h2o.hardness, read.more.place), ("new", 71, 73));
        assert!(read.batches.iter().all(|lot| lot.weight == 70));
        assert!(matches!(read.tagged, new::Tagged::Hot { pressure: 72, .. }));
    }
    assert_eq!(new.list().unwrap().misfits.len(), 0);
    new.update(id, |bag| (bag.title.push('!'), bag.weight = 5, bag.batches[1].estate.push('!')).1).unwrap();
    let old = bags::<old::Bag>(&replica).get(id).unwrap().unwrap();
    // The old names hold what they held, and those without a second name are written as ever.
    assert_eq!((old.name.as_str(), old.grams, old.lots[1].farm.as_str()), ("bag 4", 5, "farm 5!"));
    assert_eq!(new.get(id).unwrap().unwrap().title, "new!");
}

#[test]
fn a_new_field_is_not_taken_for_an_unknown_one() {
    // Would write a field that this version added into one of a later version, because both are empty here.
    #[derive(Serialize, Deserialize)]
    struct Small {
        name: String,
        #[serde(default)]
        added: Option<String>,
        #[serde(default)]
        number: u32,
    }
    let replica = replica();
    let raw = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    let fields = [("name", "x".into()), ("later", Value::Null), ("zero", 0.into())];
    let id = raw.insert(fields.map(|(name, value)| (name.to_owned(), value)).into()).unwrap().id;
    bags::<Small>(&replica).update(id, |bag| (bag.added = Some("y".into()), bag.number = 1).1).unwrap();
    let fields = raw.get(id).unwrap().unwrap().fields;
    assert_eq!((&fields["later"], &fields["zero"]), (&Value::Null, &Value::Int(0)));
    assert_eq!((&fields["added"], &fields["number"]), (&"y".into(), &Value::Int(1)));
}

#[test]
fn elements_with_old_and_new_names_each_keep_theirs() {
    // Would give a list one set of names, and write the fields of the elements that had the other one twice.
    #[derive(Serialize, Deserialize)]
    struct Lots {
        lots: Vec<new::Lot>,
        keyed: Keyed<new::Lot, ByEstate>,
    }
    struct ByEstate;
    impl KeyField for ByEstate {
        const NAME: &'static str = "estate";
    }
    let replica = replica();
    let raw = replica.space(SPACE).dynamic("coffee_bags").unwrap();
    let element = |name: &str, estate: &str, kg: &str, n: i64| {
        Value::Map(Map::from([(name.to_owned(), estate.into()), (kg.to_owned(), n.into())]))
    };
    let lots = vec![element("farm", "a", "kg", 1), element("estate", "b", "weight", 2)];
    let keyed = vec![element("farm", "a", "kg", 1), element("farm", "b", "weight", 2)];
    let fields = [("lots", Value::List(lots)), ("keyed", Value::Keyed("farm".into(), keyed))];
    let id: EntityId = raw.insert(fields.map(|(name, value)| (name.to_owned(), value)).into()).unwrap().id;
    let typed = bags::<Lots>(&replica);
    typed
        .update(id, |bag| {
            bag.lots.iter_mut().chain(bag.keyed.iter_mut()).for_each(|lot| lot.weight += 10);
            bag.lots.push(new::Lot { estate: "c".into(), weight: 3 });
            bag.keyed.push(new::Lot { estate: "c".into(), weight: 3 });
        })
        .unwrap();
    let fields = raw.get(id).unwrap().unwrap().fields;
    let expected = vec![
        element("farm", "a", "kg", 11),
        element("estate", "b", "weight", 12),
        element("estate", "c", "weight", 3),
    ];
    assert_eq!(fields["lots"], Value::List(expected));
    let expected = vec![
        element("farm", "a", "kg", 11),
        element("farm", "b", "weight", 12),
        element("farm", "c", "weight", 3),
    ];
    assert_eq!(fields["keyed"], Value::Keyed("farm".into(), expected));
}
