//! The names under which the elements of a list with keys stand in its map, and where each says that it stands.

use automerge::ObjId;

use crate::model::Value;

/// The longest key, in bytes of the name that it has in the document.
const KEY_BYTES_MAX: usize = 1024;
/// In front of what is no string, or of a string that begins with one of these or with `_`.
const ESCAPE: char = '~';
const NUMBER: char = '#';
const BYTES: char = '$';
const TIMESTAMP: char = '@';

/// Where an element stands: those that say nothing of it come last, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PlaceOf {
    At(String),
    None(ObjId),
}

/// The name of an element in the document. `None` for a value that is no key.
pub(crate) fn key_name(key: &Value) -> Option<String> {
    let name = match key {
        Value::Str(text) => match text.chars().next() {
            Some(first) if ![ESCAPE, NUMBER, BYTES, TIMESTAMP, '_'].contains(&first) => text.clone(),
            _ => format!("{ESCAPE}{text}"),
        },
        Value::Uint(number) => format!("{NUMBER}{number}"),
        Value::Bytes(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{BYTES}{digits}")
        }
        Value::Timestamp(at) => format!("{TIMESTAMP}{at}"),
        other => format!("{NUMBER}{}", other.as_i64()?),
    };
    (name.len() <= KEY_BYTES_MAX).then_some(name)
}

/// The key that a name in the document stands for. Another program can have put any name there.
pub(crate) fn key_value(name: &str) -> Value {
    let mut rest = name.chars();
    let value = match (rest.next(), rest.as_str()) {
        (Some(ESCAPE), text) => Some(Value::from(text)),
        (Some(NUMBER), number) => {
            number.parse().map(Value::Int).or_else(|_| number.parse().map(Value::Uint)).ok()
        }
        (Some(TIMESTAMP), at) => at.parse().map(Value::Timestamp).ok(),
        (Some(BYTES), digits) => bytes(digits).map(Value::Bytes),
        _ => None,
    };
    value.filter(|value| key_name(value).as_deref() == Some(name)).unwrap_or_else(|| Value::from(name))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The names of a list's elements as a reader sees them, in order.
pub(crate) fn names_of(items: &[Value], key: &str) -> Vec<String> {
    items.iter().filter_map(|item| key_name(item.as_map()?.get(key)?)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_keeps_its_kind() {
        // Would make 5 and "5" one element, or give an app another key than it wrote.
        let keys = ["", "5", "#5", "~", "_keyed", "$00", "@1", "tent"].map(Value::from);
        let others = [Value::Int(5), Value::Int(-1), Value::Uint(u64::MAX), Value::Timestamp(1)];
        let bytes = [vec![], vec![0, 255]].map(Value::Bytes);
        let mut names = HashSet::new();
        for key in keys.into_iter().chain(others).chain(bytes) {
            let name = key_name(&key).unwrap();
            assert_eq!(key_value(&name), key, "{name}");
            assert!(names.insert(name));
        }
        assert_eq!(key_name(&Value::Float(5.0)), key_name(&Value::Int(5)));
        for no_key in [Value::Null, Value::Float(0.5), Value::Bool(true), Value::List(vec![])] {
            assert_eq!(key_name(&no_key), None);
        }
    }

    proptest! {
        #[test]
        fn any_name_stands_for_one_key(name in "[~#$@_a0-9+-]{0,6}") {
            // Would show two elements of another program under one key.
            let key = key_value(&name);
            prop_assert!(key_name(&key).as_deref() == Some(&*name) || key == Value::from(&*name));
        }
    }
}
