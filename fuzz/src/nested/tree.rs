//! What an entity of these cases holds. The first letter of a field's name says what is in it, on every device.

use headwater::{Map, Text, Value};

use crate::Random;

/// How deep containers nest.
pub(super) const DEPTH_MAX: usize = 4;
/// The keys of keyed lists: few, so that two devices add the same one.
pub(super) const KEYS: std::ops::Range<i64> = 1..6;
/// The field with the key of an element, and with the name of a record.
pub(super) const KEY: &str = "id";

/// What a field holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Text,
    Counter,
    Strings,
    Records,
    Keyed,
    Map,
    Variant,
    Tuple,
}

pub(super) const NAMES: [(&str, Kind); 11] = [
    ("s0", Kind::Scalar),
    ("s1", Kind::Scalar),
    ("t0", Kind::Text),
    ("c0", Kind::Counter),
    ("l0", Kind::Strings),
    ("r0", Kind::Records),
    ("k0", Kind::Keyed),
    ("m0", Kind::Map),
    ("m1", Kind::Map),
    ("v0", Kind::Variant),
    ("p0", Kind::Tuple),
];
pub(super) const CASES: [&str; 3] = ["A", "B", "C"];

pub(super) fn kind_of(name: &str) -> Option<Kind> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    Field(String),
    /// The element of a keyed list with this key.
    Key(i64),
    /// The record of a list with this name.
    Named(String),
    /// What a case holds.
    Case(String),
    /// A place of a tuple.
    At(usize),
}

pub(super) type Path = Vec<Step>;

/// A word that nobody else writes.
pub(super) fn word(next: &mut u64) -> String {
    *next += 1;
    format!("w{next}")
}

/// The fields that an entity begins with.
pub(super) fn fields(next: &mut u64, random: &mut Random) -> Map {
    let mut fields = Map::new();
    for (name, kind) in NAMES {
        if random.chance(55) {
            fields.insert(name.to_owned(), value(kind, 1, next, random));
        }
    }
    fields
}

/// The fields of a map, element, record or case that is `depth` levels deep.
pub(super) fn inner(depth: usize, next: &mut u64, random: &mut Random) -> Map {
    let mut fields = Map::new();
    for _ in 0..1 + random.below(2) {
        let (name, kind) = NAMES[random.below(NAMES.len())];
        let is_leaf = matches!(kind, Kind::Scalar | Kind::Text | Kind::Counter | Kind::Strings | Kind::Tuple);
        if depth < DEPTH_MAX || is_leaf {
            fields.insert(name.to_owned(), value(kind, depth, next, random));
        }
    }
    fields
}

/// A value of a kind, in a map that is `depth` levels deep.
pub(super) fn value(kind: Kind, depth: usize, next: &mut u64, random: &mut Random) -> Value {
    match kind {
        Kind::Scalar => Value::from(word(next)),
        Kind::Text => {
            Value::Text(Text::from((0..random.below(3)).map(|_| word(next) + " ").collect::<String>()))
        }
        Kind::Counter => Value::Counter(random.below(4) as i64),
        Kind::Strings => Value::List((0..random.below(3)).map(|_| Value::from(word(next))).collect()),
        Kind::Records => Value::List((0..random.below(3)).map(|_| record(depth + 1, next, random)).collect()),
        Kind::Keyed => {
            let mut keys: Vec<i64> = KEYS.collect();
            random.shuffle(&mut keys);
            keys.truncate(random.below(4));
            Value::Keyed(
                KEY.into(),
                keys.into_iter().map(|key| element(key, depth + 1, next, random)).collect(),
            )
        }
        Kind::Map => Value::Map(inner(depth + 1, next, random)),
        Kind::Variant => case(CASES[random.below(2)], depth, next, random),
        Kind::Tuple => Value::Tuple(vec![word(next).into(), word(next).into()]),
    }
}

/// A case of an enum. The last one holds nothing.
pub(super) fn case(name: &str, depth: usize, next: &mut u64, random: &mut Random) -> Value {
    if name == CASES[2] {
        return Value::from(name);
    }
    Value::Variant(name.to_owned(), Box::new(Value::Map(inner(depth + 1, next, random))))
}

pub(super) fn record(depth: usize, next: &mut u64, random: &mut Random) -> Value {
    let mut fields = inner(depth, next, random);
    fields.insert(KEY.to_owned(), word(next).into());
    Value::Map(fields)
}

pub(super) fn element(key: i64, depth: usize, next: &mut u64, random: &mut Random) -> Value {
    let mut fields = inner(depth, next, random);
    fields.insert(KEY.to_owned(), Value::Int(key));
    Value::Map(fields)
}

/// Something that stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    /// A word of a text or list, or a record's name: it stands there once.
    Word(String),
    /// A scalar, or a place of a tuple.
    Scalar(String),
    Count(i64),
    Key(i64),
    Case(String),
}

/// All that stands in an entity, with its path.
pub(super) fn leaves(fields: &Map) -> Result<Vec<(Path, Leaf)>, String> {
    let mut found = Vec::new();
    in_map(fields, &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// What stands in a value that was just made.
pub(super) fn leaves_of(kind: Kind, value: &Value, path: &Path) -> Vec<(Path, Leaf)> {
    let mut found = Vec::new();
    // What an author makes is of the kind that its name says.
    let _of_its_kind = in_value(kind, value, &mut path.clone(), &mut found);
    found
}

/// What stands in an element or record that was just made.
pub(super) fn leaves_in(value: &Value, path: &Path) -> Vec<(Path, Leaf)> {
    let mut found = Vec::new();
    if let Some(fields) = value.as_map() {
        // As above.
        let _of_its_kind = in_map(fields, &mut path.clone(), &mut found);
    }
    found
}

fn in_map(fields: &Map, path: &mut Path, found: &mut Vec<(Path, Leaf)>) -> Result<(), String> {
    for (name, value) in fields {
        if name == KEY {
            continue;
        }
        let kind = kind_of(name).ok_or_else(|| format!("nobody wrote a field {name}"))?;
        path.push(Step::Field(name.clone()));
        in_value(kind, value, path, found).map_err(|odd| format!("{odd} at {path:?}"))?;
        path.pop();
    }
    Ok(())
}

fn inside(step: Step, fields: &Map, path: &mut Path, found: &mut Vec<(Path, Leaf)>) -> Result<(), String> {
    path.push(step);
    let read = in_map(fields, path, found);
    path.pop();
    read
}

fn in_value(kind: Kind, value: &Value, path: &mut Path, found: &mut Vec<(Path, Leaf)>) -> Result<(), String> {
    let odd = || format!("{value:?} is no {kind:?}");
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(odd);
    match (kind, value) {
        (Kind::Scalar, Value::Str(word)) => found.push((path.clone(), Leaf::Scalar(word.clone()))),
        (Kind::Counter, Value::Counter(count)) => found.push((path.clone(), Leaf::Count(*count))),
        (Kind::Text, Value::Text(words)) => {
            let words = words.as_str().split_whitespace();
            found.extend(words.map(|word| (path.clone(), Leaf::Word(word.to_owned()))));
        }
        (Kind::Strings, Value::List(items)) => {
            for item in items {
                found.push((path.clone(), Leaf::Word(text(item)?)));
            }
        }
        (Kind::Records, Value::List(items)) => {
            for item in items {
                let fields = item.as_map().ok_or_else(odd)?;
                let name = text(fields.get(KEY).ok_or_else(odd)?)?;
                inside(Step::Named(name.clone()), fields, path, found)?;
                found.push((path.clone(), Leaf::Word(name)));
            }
        }
        (Kind::Keyed, Value::Keyed(_, items)) => {
            for item in items {
                let fields = item.as_map().ok_or_else(odd)?;
                let key = fields.get(KEY).and_then(Value::as_i64).ok_or_else(odd)?;
                inside(Step::Key(key), fields, path, found)?;
                found.push((path.clone(), Leaf::Key(key)));
            }
        }
        (Kind::Map, Value::Map(fields)) => in_map(fields, path, found)?,
        (Kind::Variant, Value::Str(name)) => found.push((path.clone(), Leaf::Case(name.clone()))),
        (Kind::Variant, Value::Variant(name, content)) => {
            let fields = content.as_map().ok_or_else(odd)?;
            inside(Step::Case(name.clone()), fields, path, found)?;
            found.push((path.clone(), Leaf::Case(name.clone())));
        }
        (Kind::Tuple, Value::Tuple(items)) if items.len() == 2 => {
            for (at, item) in items.iter().enumerate() {
                path.push(Step::At(at));
                found.push((path.clone(), Leaf::Scalar(text(item)?)));
                path.pop();
            }
        }
        _ => return Err(odd()),
    }
    Ok(())
}
