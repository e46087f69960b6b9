//! A listener that never reads a list again: what it makes of the patches is what reads answer, after every
//! commit.

use std::collections::BTreeMap;
use std::path::Path;

use headwater::ingest::Verdict;
use headwater::replica::{MergeRequest, Patches};
use headwater::{ChangeHash, DynamicCollection, EntityId, Map, Origin, PatchKind, Replica, Value};
use headwater_storage::{ChangeRecord, CollectionName, PayloadKind, Refusal, SpaceId};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::pair::{Counting, SPACE, changes, replica};
use crate::salvage::{self, damage_a_row, flip};

const COLLECTIONS: [&str; 2] = ["bags", "cups"];

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn named(replica: &Replica, collection: &str) -> DynamicCollection {
    replica.space(SPACE).dynamic(collection).unwrap()
}

/// What there is of an entity: its fields, or none where it is deleted.
type Known = BTreeMap<(String, EntityId), Option<Map>>;

/// A listener, and what it knows by patches alone.
#[derive(Default)]
struct Fold {
    known: Known,
}

impl Fold {
    /// Takes the patches of one commit in. Which entities there are, `kind` says; only the fields that a
    /// patch names are read.
    fn take(&mut self, replica: &Replica, patches: &mut Patches) -> Vec<PatchKind> {
        let mut kinds = Vec::new();
        while let Some(patch) = patches.try_next() {
            let patch = patch.unwrap();
            let now = named(replica, patch.collection.as_str()).get(patch.entity).unwrap();
            let now = now.map(|record| record.fields).unwrap_or_default();
            let read = |field: &String| Some((field.clone(), now.get(field)?.clone()));
            let key = (patch.collection.to_string(), patch.entity);
            match patch.kind {
                PatchKind::Created | PatchKind::Restored => {
                    self.known.insert(key, Some(patch.fields.iter().filter_map(read).collect()));
                }
                PatchKind::Updated => {
                    let Some(Some(fields)) = self.known.get_mut(&key) else {
                        panic!("an update of what is not there: {patch:?}")
                    };
                    fields.retain(|field, _| !patch.fields.contains(field));
                    fields.extend(patch.fields.iter().filter_map(read));
                }
                PatchKind::Deleted => {
                    self.known.insert(key, None);
                }
                PatchKind::Withdrawn => {
                    // Of a row that was damaged nobody knows whether it said so before.
                    self.known.remove(&key);
                }
                other => panic!("{other:?} is not known here"),
            }
            kinds.push(patch.kind);
        }
        kinds
    }
}

/// What reads answer.
fn fresh(replica: &Replica) -> Known {
    let mut all = Known::new();
    for position in replica.entity_positions(space(), None, usize::MAX).unwrap() {
        for name in COLLECTIONS {
            let collection = named(replica, name);
            if collection.meta(position.entity).unwrap().is_some() {
                let fields = collection.get(position.entity).unwrap().map(|record| record.fields);
                assert_eq!(collection.exists(position.entity).unwrap(), fields.is_some());
                all.insert((name.to_owned(), position.entity), fields);
            }
        }
    }
    for name in COLLECTIONS {
        let listed: Vec<EntityId> = named(replica, name).iter().map(|record| record.unwrap().id).collect();
        let live = all.iter().filter(|((of, _), fields)| of == name && fields.is_some());
        assert!(live.map(|((_, id), _)| *id).eq(listed.iter().copied()));
        assert_eq!(named(replica, name).count().unwrap(), listed.len() as u64);
    }
    all
}

fn entities(replica: &Replica) -> Vec<(EntityId, CollectionName)> {
    let positions = replica.entity_positions(space(), None, usize::MAX).unwrap();
    positions.into_iter().map(|position| (position.entity, position.collection)).collect()
}

/// All that `from` holds, as its relay would send it.
fn records(from: &Replica) -> Vec<ChangeRecord> {
    let mut records = Vec::new();
    for (entity, collection) in entities(from) {
        records.extend(changes(from, entity).into_iter().map(|(hash, payload)| {
            let (kind, collection) = (PayloadKind::Change, collection.clone());
            ChangeRecord { entity, collection, kind, hash, payload }
        }));
    }
    records
}

fn judge(
    replica: &Replica,
    (entity, collection): &(EntityId, CollectionName),
    quarantined: &[ChangeHash],
    released: &[ChangeHash],
) {
    let reason = Refusal { code: 32, message: "it does harm".to_owned() };
    let quarantined = quarantined.iter().map(|hash| (*hash, reason.clone())).collect();
    let verdict = Verdict { at_ms: 1, quarantined, released: released.to_vec() };
    let records = vec![verdict.record(*entity, collection.clone())];
    replica.merge(space(), MergeRequest { records, position: None }).unwrap();
}

#[derive(Debug, Clone)]
enum Act {
    /// In the first or the second collection.
    Insert(u8),
    Set(u8, u8),
    Unset(u8),
    Delete(u8),
    Restore(u8),
    /// Another device edits an entity or makes one, and all that it has comes here.
    Merge(u8, u8),
    /// The other device makes an entity with the id of one of here, in the other collection.
    Clash(u8),
    /// The other device loses everything.
    Forget,
    /// Some of an entity's changes, by their numbers.
    Quarantine(u8, u8),
    Release(u8),
    DamageChange(u8, u8),
    DamageRow(u8),
    Compact,
    Verify,
}

fn acts() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        4 => n().prop_map(Act::Insert),
        4 => (n(), n()).prop_map(|(at, value)| Act::Set(at, value)),
        1 => n().prop_map(Act::Unset),
        2 => n().prop_map(Act::Delete),
        1 => n().prop_map(Act::Restore),
        4 => (n(), n()).prop_map(|(at, value)| Act::Merge(at, value)),
        1 => n().prop_map(Act::Clash),
        1 => Just(Act::Forget),
        // Every change of an entity as often as some.
        2 => (n(), prop_oneof![n(), Just(u8::MAX)]).prop_map(|(at, which)| Act::Quarantine(at, which)),
        2 => n().prop_map(Act::Release),
        1 => (n(), n()).prop_map(|(at, bit)| Act::DamageChange(at, bit)),
        1 => n().prop_map(Act::DamageRow),
        1 => Just(Act::Compact),
        1 => Just(Act::Verify),
    ]
}

/// A replica in a file, another device, and a listener.
struct World<'a> {
    path: &'a Path,
    here: Replica,
    there: Replica,
    patches: Patches,
    fold: Fold,
}

impl World<'_> {
    fn open(path: &Path) -> World<'_> {
        let here = Replica::open_with(path, Counting::new()).unwrap();
        let patches = here.patches();
        World { path, here, there: replica(), patches, fold: Fold::default() }
    }

    /// Closes the file, lets something happen to it, and opens it again. The listener goes on with what it
    /// knew.
    fn while_closed(&mut self, happens: impl FnOnce(&Path)) {
        let World { path, .. } = *self;
        self.here = replica();
        self.patches = self.here.patches();
        happens(path);
        self.here = Replica::open_with(path, Counting::new()).unwrap();
        self.patches = self.here.patches();
        self.here.verify().unwrap();
    }

    fn act(&mut self, act: &Act) {
        let all = entities(&self.here);
        let pick = |at: u8| all.get(usize::from(at) % all.len().max(1)).cloned();
        let value = |of: u8| Map::from([(format!("f{}", of % 3), Value::Int(of.into()))]);
        match *act {
            Act::Insert(of) => {
                named(&self.here, COLLECTIONS[usize::from(of % 2)]).insert(value(of)).unwrap();
            }
            Act::Forget => self.there = replica(),
            Act::Compact => drop(self.here.compact_all().unwrap()),
            Act::Verify => drop(self.here.verify().unwrap()),
            Act::DamageRow(at) => self.while_closed(|path| damage_a_row(path, usize::from(at) % 4)),
            Act::DamageChange(at, bit) => self.while_closed(|path| {
                let stored = salvage::changes(path);
                if let Some((key, len)) = stored.get(usize::from(at) % stored.len().max(1)) {
                    flip(path, key, usize::from(bit) % len, bit % 8);
                }
            }),
            Act::Merge(at, of) => {
                let records = records(&self.here);
                self.there.merge(space(), MergeRequest { records, position: None }).unwrap();
                let known = entities(&self.there);
                match known.get(usize::from(at) % (known.len() + 1)) {
                    // Where it cannot be edited there is nothing to bring.
                    Some((id, collection)) => {
                        drop(named(&self.there, collection.as_str()).upsert(*id, value(of)));
                    }
                    None => drop(named(&self.there, COLLECTIONS[0]).insert(value(of)).unwrap()),
                }
                self.bring();
            }
            Act::Clash(at) => {
                let Some((id, collection)) = pick(at) else { return };
                let other = COLLECTIONS.iter().find(|name| **name != collection.as_str()).unwrap();
                self.there = replica();
                named(&self.there, other).upsert(id, value(at)).unwrap();
                self.bring();
            }
            Act::Set(at, _) | Act::Unset(at) | Act::Delete(at) | Act::Restore(at) => {
                let Some((id, collection)) = pick(at) else { return };
                let collection = named(&self.here, collection.as_str());
                // An entity that is not there, or is deleted, is not edited.
                match *act {
                    Act::Set(_, of) => drop(collection.set(id, value(of))),
                    Act::Unset(_) => drop(collection.unset(id, &["f0"])),
                    Act::Delete(_) => drop(collection.delete(id)),
                    _ => drop(collection.restore(id)),
                }
            }
            Act::Quarantine(at, which) => {
                let Some(of) = pick(at) else { return };
                let all = changes(&self.here, of.0).into_iter().map(|(hash, _)| hash).enumerate();
                let some = all.filter(|(number, _)| which & (1 << (number % 8)) != 0);
                judge(&self.here, &of, &some.map(|(_, hash)| hash).collect::<Vec<_>>(), &[]);
            }
            Act::Release(at) => {
                let aside = self.here.space(SPACE).set_aside().unwrap();
                let Some(aside) = aside.get(usize::from(at) % aside.len().max(1)) else { return };
                let record = &aside.record;
                let Some(of) = all.iter().find(|(id, _)| *id == record.entity) else { return };
                judge(&self.here, of, &[], &[record.hash]);
            }
        }
    }

    fn bring(&self) {
        let records = records(&self.there);
        self.here.merge(space(), MergeRequest { records, position: None }).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").map_or(48, |cases| cases.parse().unwrap())
    ))]

    #[test]
    fn whoever_folds_the_patches_knows_what_reads_answer(acts in vec(acts(), 1..40)) {
        // Would leave an app with a list that shows what is gone, or lacks what is there, until it is started
        // again.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("here");
        let mut world = World::open(&path);
        for act in &acts {
            world.act(act);
            world.fold.take(&world.here, &mut world.patches);
            prop_assert_eq!(&world.fold.known, &fresh(&world.here), "after {:?}", act);
        }
    }
}

#[test]
fn a_verdict_on_all_of_an_entity_is_told_and_so_is_its_return() {
    // Would show a record for ever that the relay took away from everybody, or never show it again.
    let a = replica();
    let (mut patches, mut fold) = (a.patches(), Fold::default());
    let bags = named(&a, "bags");
    let id = bags.insert(Map::from([("name".into(), "Guji".into())])).unwrap().id;
    bags.set(id, Map::from([("rating".into(), 4.into())])).unwrap();
    let all: Vec<ChangeHash> = changes(&a, id).into_iter().map(|(hash, _)| hash).collect();
    let of = (id, CollectionName::new("bags").unwrap());
    fold.take(&a, &mut patches);
    judge(&a, &of, &all, &[]);
    let told = patches.try_next().unwrap().unwrap();
    assert_eq!((told.kind, told.origin, told.fields), (PatchKind::Withdrawn, Origin::Remote, Vec::new()));
    assert!(patches.try_next().is_none());
    assert!(bags.meta(id).unwrap().is_none() && bags.iter().next().is_none());
    assert_eq!(bags.count().unwrap(), 0);
    judge(&a, &of, &all, &[]);
    assert!(patches.try_next().is_none(), "once");
    judge(&a, &of, &[], &all);
    let told = patches.try_next().unwrap().unwrap();
    assert_eq!((told.kind, told.fields), (PatchKind::Created, vec!["name".to_owned(), "rating".to_owned()]));
    // A deleted one, of which there is only its trace, is told too.
    bags.delete(id).unwrap();
    let all: Vec<ChangeHash> = changes(&a, id).into_iter().map(|(hash, _)| hash).collect();
    judge(&a, &of, &all, &[]);
    let kinds: Vec<PatchKind> =
        std::iter::from_fn(|| patches.try_next()).map(|told| told.unwrap().kind).collect();
    assert_eq!(kinds, [PatchKind::Deleted, PatchKind::Withdrawn]);
    // An id that nobody has any more is free.
    bags.insert(Map::new()).unwrap();
    bags.upsert(id, Map::from([("name".into(), "again".into())])).unwrap();
    assert!(bags.exists(id).unwrap());
}
