//! Stored changes that are damaged.

use std::path::Path;

use headwater::{Map, Replica, SpaceId, Value};
use headwater_storage::{Direction, Position};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::pair::{SPACE, carry};

/// As in `storage/src/replica/tables.rs`.
const CHANGES: TableDefinition<&[u8; 24], &[u8]> = TableDefinition::new("changes_v1");
/// Where in a stored change its hash is: behind its kind.
const HASH: std::ops::Range<usize> = 1..33;
const ROWS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("rows_v1");

/// The keys and sizes of all stored changes.
pub(crate) fn changes(path: &Path) -> Vec<([u8; 24], usize)> {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(CHANGES).unwrap();
    let rows = table.iter().unwrap().map(Result::unwrap);
    rows.map(|(key, value)| (*key.value(), value.value().len())).collect()
}

pub(crate) fn flip(path: &Path, key: &[u8; 24], at: usize, bit: u8) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(CHANGES).unwrap();
        let mut value = table.get(key).unwrap().unwrap().value().to_vec();
        value[at] ^= 1 << bit;
        table.insert(key, value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Damages the view row with this number, if there are so many.
pub(crate) fn damage_a_row(path: &Path, number: usize) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(ROWS).unwrap();
        let key = table.iter().unwrap().nth(number).map(|row| *row.unwrap().0.value());
        if let Some(key) = key {
            table.insert(&key, &b"damaged"[..]).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn bag(name: &str) -> Map {
    Map::from([("name".into(), Value::from(name)), ("tags".into(), Value::List(vec![Value::from("floral")]))])
}

/// Two replicas that hold the same: two entities with two changes each, and what came before them.
fn fill(a: &Replica, b: &Replica) {
    let bags = a.space(SPACE).dynamic("bags").unwrap();
    for name in ["Guji", "Kochere"] {
        let id = bags.insert(bag(name)).unwrap().id;
        bags.set(id, Map::from([("rating".into(), Value::Int(4))])).unwrap();
    }
    carry(a, b);
}

#[test]
fn a_flipped_bit_in_any_byte_costs_no_other_change_and_is_mended() {
    // Would lose a whole entity, or the change, in silence.
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let healthy = Replica::open(path("healthy")).unwrap();
    let space = SpaceId::from_name(SPACE);
    {
        let damaged = Replica::open(path("damaged")).unwrap();
        fill(&healthy, &damaged);
    }
    let expected = healthy.entity_positions(space, None, 10).unwrap();
    let rows = changes(&path("damaged"));
    let total: usize = rows.iter().map(|(_, len)| len).sum();
    assert!(rows.len() >= 4 && total > 400, "{rows:?}");
    let step = std::env::var("HEADWATER_FLIPS").map_or(7, |every| every.parse().unwrap());
    let every = rows.iter().flat_map(|(key, len)| (0..*len).map(move |at| (key, at)));
    for (number, (key, at)) in every.enumerate().filter(|(number, _)| number % step == 0) {
        let what = format!("byte {at} of {key:?}");
        std::fs::copy(path("damaged"), path("copy")).unwrap();
        flip(&path("copy"), key, at, (number % 8) as u8);
        let copy = Replica::open(path("copy")).unwrap();
        let verified = copy.verify().unwrap();
        assert_eq!((verified.entities, verified.changes), (2, rows.len() as u64), "{what}");
        assert_eq!(verified.set_aside.len(), 1, "{what}: {verified:?}");
        // A second walk finds nothing more, and the other entity is as it was.
        assert!(copy.verify().unwrap().set_aside.is_empty(), "{what}");
        let left = copy.entity_positions(space, None, 10).unwrap();
        let same = left.iter().filter(|position| expected.contains(position)).count();
        assert!(same >= 1, "{what}");
        // The session that comes next compares heads, because the position is worth nothing any more.
        assert_eq!(copy.position(space).unwrap(), Position::nowhere(), "{what}");
        carry(&healthy, &copy);
        assert_eq!(copy.entity_positions(space, None, 10).unwrap(), expected, "{what}");
        // A change that was stored under another hash stays listed under the one that it never had.
        let aside = copy.space(SPACE).set_aside().unwrap();
        assert!(aside.iter().all(|aside| aside.direction == Direction::Damaged), "{what}");
        assert_eq!(aside.len(), usize::from(HASH.contains(&at)), "{what}: {aside:?}");
        let [on_copy, on_healthy] =
            [&copy, &healthy].map(|replica| replica.space(SPACE).dynamic("bags").unwrap());
        for record in on_healthy.iter().map(Result::unwrap) {
            assert_eq!(on_copy.get(record.id).unwrap().unwrap().fields, record.fields, "{what}");
        }
    }
}

#[test]
fn a_damaged_view_row_is_made_again_from_the_changes() {
    // Would show an entity wrongly for ever, although all that is known of it is there.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica");
    let id = {
        let replica = Replica::open(&path).unwrap();
        replica.space(SPACE).dynamic("bags").unwrap().insert(bag("Guji")).unwrap().id
    };
    damage_a_row(&path, 0);
    let replica = Replica::open(&path).unwrap();
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    assert!(bags.get(id).is_err());
    assert_eq!(replica.verify().unwrap().rows_repaired, 1);
    assert_eq!(bags.get(id).unwrap().unwrap().fields, bag("Guji"));
    assert_eq!(replica.verify().unwrap().rows_repaired, 0);
}

#[test]
fn an_edit_of_an_entity_with_a_damaged_change_goes_through() {
    // Would make the entity read-only for ever.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replica");
    let id = {
        let replica = Replica::open(&path).unwrap();
        let bags = replica.space(SPACE).dynamic("bags").unwrap();
        let id = bags.insert(bag("Guji")).unwrap().id;
        bags.set(id, Map::from([("rating".into(), Value::Int(4))])).unwrap();
        id
    };
    let (key, len) = *changes(&path).last().unwrap();
    flip(&path, &key, len - 1, 0);
    let replica = Replica::open(&path).unwrap();
    let bags = replica.space(SPACE).dynamic("bags").unwrap();
    bags.set(id, Map::from([("note".into(), Value::from("still writable"))])).unwrap();
    let fields = bags.get(id).unwrap().unwrap().fields;
    assert_eq!(fields.get("name"), Some(&Value::from("Guji")));
    assert_eq!(fields.get("note"), Some(&Value::from("still writable")));
    let aside = replica.space(SPACE).set_aside().unwrap();
    assert_eq!(aside.iter().map(|aside| aside.direction).collect::<Vec<_>>(), [Direction::Damaged]);
}
