//! `docs/limits.md`: every number in it is the code's, and what it says happens.

use headwater::ingest::IngestError;
use headwater::model::{DEPTH_MAX, JsonError, map_from_json_text};
use headwater::wire::schema;
use headwater::{
    CollectionName, Counter, EditError, Environment, Limits, Map, NameError, Replica, Value, WriteError,
};

struct Fixed;

impl Environment for Fixed {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}

fn document() -> String {
    super::read("docs/limits.md")
}

fn put(name: &str, value: Value) -> Result<(), EditError> {
    let replica = Replica::in_memory(Fixed).unwrap();
    let bags = replica.space("home").dynamic("bags").unwrap();
    bags.insert(Map::from([(name.to_owned(), value)])).map(|_| ())
}

/// A string that nothing can compress, four bits a byte.
fn noise(bytes: usize) -> String {
    let ids = std::iter::repeat_with(|| uuid::Uuid::new_v4().simple().to_string());
    let mut noise: String = ids.take(bytes / 32 + 1).collect();
    noise.truncate(bytes);
    noise
}

#[test]
fn the_table_of_a_relays_limits_is_that_of_the_code() {
    // Would send somebody looking for a limit that is another one by now.
    let limits = Limits::default();
    let mut expected: Vec<(&str, u64)> = vec![
        ("hello_bytes_max", limits.hello_bytes_max),
        ("authentication_ms_max", limits.authentication_ms_max),
        ("ping_interval_ms", limits.ping_interval_ms),
        ("dead_after_ms", limits.dead_after_ms),
    ];
    let names = schema::LIMITS.iter().map(|(_, name)| name.strip_prefix("change_").unwrap_or(name));
    // On the wire the limits of a change have that in front, where this page has the field's name.
    let names = names.map(|name| if name == "bytes_max" { "change_bytes_max" } else { name });
    expected.extend(names.zip(limits.negotiated()));
    let document = document();
    let (_, table) = document.split_once("| limit | default | what it bounds |").unwrap();
    let mut rows: Vec<(String, u64)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().parse().unwrap()))
        .collect();
    rows.sort_unstable();
    let mut expected: Vec<(String, u64)> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    expected.sort_unstable();
    assert_eq!(rows, expected);
}

#[test]
fn depth_and_names_are_held_to_what_the_page_says() {
    // Would refuse what the page allows, or store what no other device takes.
    assert!(document().contains(&format!("| {DEPTH_MAX} levels (`DEPTH_MAX`) |")));
    let nested = |levels| (0..levels).fold(Value::Int(1), |value, _| Value::List(vec![value]));
    put("deep", nested(DEPTH_MAX - 1)).unwrap();
    let refused = put("deep", nested(DEPTH_MAX + 1)).unwrap_err();
    assert!(matches!(refused, EditError::Write(WriteError::TooDeep)), "{refused}");

    put(&"n".repeat(1024), Value::Int(1)).unwrap();
    for name in [&*"n".repeat(1025), "_mine"] {
        let refused = put(name, Value::Int(1)).unwrap_err();
        assert!(matches!(refused, EditError::Write(WriteError::BadFieldName(_))), "{refused}");
    }

    let keyed = |key: Value| {
        let element = Value::Map(Map::from([("id".to_owned(), key)]));
        Value::Keyed("id".to_owned(), vec![element])
    };
    put("keyed", keyed("k".repeat(1024).into())).unwrap();
    for key in [Value::from("k".repeat(1025)), Value::Bool(true)] {
        let refused = put("keyed", keyed(key)).unwrap_err();
        assert!(matches!(refused, EditError::Write(WriteError::BadKey { .. })), "{refused}");
    }
    for name in ["_keyed", "_variant", "_tuple", "_set", "_at", "_removed"] {
        let refused = put("map", Value::Map(Map::from([(name.to_owned(), Value::Int(1))]))).unwrap_err();
        assert!(matches!(refused, EditError::Write(WriteError::BadFieldName(_))), "{refused}");
    }

    CollectionName::new(&"c".repeat(128)).unwrap();
    assert!(matches!(CollectionName::new(&"c".repeat(129)), Err(NameError::TooLong { .. })));
    assert_eq!(CollectionName::new(""), Err(NameError::Empty));
    assert_eq!(CollectionName::new("_c"), Err(NameError::Reserved));
    assert_eq!(CollectionName::new("a\nb"), Err(NameError::ControlCharacter));
}

#[test]
fn a_string_is_bounded_as_it_travels_and_a_text_is_not() {
    // Would lose a long note, or make a change that no relay takes.
    put("s", Value::Str("a".repeat(3 << 20))).unwrap();
    put("s", Value::Bytes(noise(250 << 10).into_bytes())).unwrap();
    for too_large in [Value::Str("a".repeat(5 << 20)), Value::Str(noise(1 << 20))] {
        let refused = put("s", too_large).unwrap_err();
        assert!(
            matches!(refused, EditError::Write(WriteError::Limit(IngestError::TooLarge { .. }))),
            "{refused}"
        );
    }
    put("t", Value::Text((&*noise(600 << 10)).into())).unwrap();
}

#[test]
fn numbers_end_where_the_page_says() {
    // Would change a number without a word.
    #[derive(serde::Serialize)]
    struct Wide {
        n: i128,
    }
    assert!(headwater::model::to_map(&Wide { n: 1 }).is_err());
    let number = |text: &str| map_from_json_text(format!("{{\"n\": {text}}}").as_bytes());
    assert_eq!(number("18446744073709551615").unwrap()["n"].as_f64(), Some(u64::MAX as f64));
    number("-9223372036854775808").unwrap();
    for beyond in ["18446744073709551616", "-9223372036854775809", "0.1234567890123456789"] {
        assert!(matches!(number(beyond), Err(JsonError::NumberOutOfRange(_))), "{beyond}");
    }
    let mut counter = Counter::new(i64::MAX);
    counter.increment(1);
    assert_eq!(counter.value(), i64::MAX);
    let replica = Replica::in_memory(Fixed).unwrap();
    let bags = replica.space("home").dynamic("bags").unwrap();
    let id = bags.insert(Map::from([("n".to_owned(), Value::Counter(i64::MIN))])).unwrap().id;
    let refused = bags.set(id, Map::from([("n".to_owned(), Value::Int(1))])).unwrap_err();
    assert!(matches!(refused, EditError::Write(WriteError::CounterOverflow { .. })), "{refused}");
}

#[test]
fn a_listener_that_falls_behind_is_told_how_many_patches_it_missed() {
    // Would leave a list on the screen that is not what is stored.
    let patches_max = 4096;
    assert!(document().contains("| patches that a listener may be behind | 4,096 |"));
    let replica = Replica::in_memory(Fixed).unwrap();
    let bags = replica.space("home").dynamic("bags").unwrap();
    let mut patches = replica.patches();
    let ids = (0..=patches_max).map(|_| headwater::EntityId::from_bytes(*uuid::Uuid::new_v4().as_bytes()));
    let records = ids.map(|id| (id, Map::from([("n".to_owned(), Value::Int(1))])));
    bags.upsert_all(records).unwrap();
    assert_eq!(patches.try_next().unwrap().unwrap_err().missed, 1);
    assert_eq!(std::iter::from_fn(|| patches.try_next()).map(Result::unwrap).count(), patches_max);
}
