//! Arbitrary values of the model: every kind, and in each kind what programs get wrong.

use headwater::model::DEPTH_MAX;
use headwater::{Map, Text, Value};

use crate::Random;

/// Names of fields inside of maps that somebody could take for something else.
const NAMES: [&str; 10] = ["a", "b", "id", "$text", "$float", "_inside", "ключ", "🌱", "a.b/c~d", "\u{0}"];
const LETTERS: [&str; 12] = ["a", "b", "c", " ", "é", "ß", "漢", "🌱", "e\u{301}", "\n", "\u{0}", "\u{feff}"];

/// A value of any kind, whose lists and maps nest at most `depth_max` deep.
///
/// In an entity, a field's value is at the first of [`DEPTH_MAX`] levels.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// let (mut a, mut b) = (Random::new(7), Random::new(7));
/// assert_eq!(values::value(&mut a, 3), values::value(&mut b, 3));
/// ```
pub fn value(random: &mut Random, depth_max: usize) -> Value {
    if depth_max <= 1 || random.chance(70) {
        return scalar(random);
    }
    let len = [0, 1, 1, 2, 3, 5][random.below(6)];
    match random.below(8) {
        0..3 => Value::List((0..len).map(|_| value(random, depth_max - 1)).collect()),
        // In a document a map stands around the list.
        3 if depth_max > 2 => Value::Tuple((0..len).map(|_| value(random, depth_max - 2)).collect()),
        4 => Value::Variant(name(random), Box::new(value(random, depth_max - 1))),
        5 if depth_max > 2 => keyed(random, len, depth_max),
        _ => Value::Map((0..len).map(|_| (name(random), value(random, depth_max - 1))).collect()),
    }
}

/// A keyed list with the keys of its elements in any order.
fn keyed(random: &mut Random, len: usize, depth_max: usize) -> Value {
    let key = ["id", "$text"][random.below(2)];
    let (first, step) = (random.below(9) as i64, [1, -1][random.below(2)]);
    let are_numbers = random.chance(50);
    let element = |index: usize| {
        let number = first + step * index as i64;
        let own = if are_numbers { Value::Int(number) } else { Value::from(format!("k{number}")) };
        let mut fields: Map =
            (0..random.below(3)).map(|_| (name(random), value(random, depth_max - 2))).collect();
        fields.insert(key.to_owned(), own);
        Value::Map(fields)
    };
    Value::Keyed(key.to_owned(), (0..len).map(element).collect())
}

/// The fields of an entity: some values, and now and then one that nests as deep as the model lets it.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// assert!(!values::fields(&mut Random::new(1)).is_empty());
/// ```
pub fn fields(random: &mut Random) -> Map {
    let field = |random: &mut Random| {
        let name = format!("{}{}", ["f", "naïve ", "$", "f.", "🌱"][random.below(5)], random.below(6));
        (name, if random.chance(10) { deepest(random) } else { value(random, 5) })
    };
    (0..=random.below(6)).map(|_| field(random)).collect()
}

/// A value inside of as many lists and maps as a field may have.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// let deepest = values::deepest(&mut Random::new(1));
/// assert!(deepest.as_list().is_some() || deepest.as_map().is_some());
/// ```
pub fn deepest(random: &mut Random) -> Value {
    (1..DEPTH_MAX).fold(scalar(random), |inner, _| match random.chance(50) {
        true => Value::List(vec![inner]),
        false => Value::Map(Map::from([(name(random), inner)])),
    })
}

/// A value that holds no other.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// let mut random = Random::new(1);
/// assert!((0..1000).any(|_| matches!(values::scalar(&mut random), headwater::Value::Float(float) if float.is_nan())));
/// ```
pub fn scalar(random: &mut Random) -> Value {
    match random.below(11) {
        0 => Value::Null,
        1 => Value::Bool(random.chance(50)),
        2 => Value::Int(whole(random)),
        3 => Value::from(whole(random).cast_unsigned()),
        4..6 => Value::Float(float(random)),
        6 => Value::Str(string(random)),
        7 => Value::Bytes((0..random.below(40)).map(|_| random.below(256) as u8).collect()),
        8 => Value::Timestamp(whole(random)),
        9 => Value::Counter(whole(random)),
        _ => Value::Text(Text::from(string(random))),
    }
}

/// A float: special ones, round ones, and any bits.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// let (mut a, mut b) = (Random::new(7), Random::new(7));
/// assert_eq!(values::float(&mut a).to_bits(), values::float(&mut b).to_bits());
/// ```
pub fn float(random: &mut Random) -> f64 {
    let other_nan = f64::from_bits(f64::NAN.to_bits() | random.bits() >> 13);
    match random.below(13) {
        0 => f64::NAN,
        1 => other_nan,
        2 => -f64::NAN,
        3 => f64::INFINITY,
        4 => f64::NEG_INFINITY,
        5 => 0.0,
        6 => -0.0,
        7 => f64::MIN_POSITIVE / 2.0,
        8 => -1e300,
        9 => 2f64.powi(63 + random.below(2) as i32),
        10..12 => random.below(100) as f64 / 8.0,
        _ => f64::from_bits(random.bits()),
    }
}

/// A whole number: the ends of the range, what floats cannot hold, small ones, and any.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// let (mut a, mut b) = (Random::new(7), Random::new(7));
/// assert_eq!(values::whole(&mut a), values::whole(&mut b));
/// ```
pub fn whole(random: &mut Random) -> i64 {
    match random.below(8) {
        0 => i64::MIN + random.below(3) as i64,
        1 => i64::MAX - random.below(3) as i64,
        2 => (1 << 53) + random.below(3) as i64,
        3 => -1 - random.below(3) as i64,
        4..7 => random.below(100) as i64,
        _ => random.bits().cast_signed(),
    }
}

/// A string, with characters of one to four bytes in it, U+0000 among them.
///
/// ```
/// use headwater_fuzz::{Random, values};
/// assert!((0..20).any(|seed| values::string(&mut Random::new(seed)).is_empty()));
/// ```
pub fn string(random: &mut Random) -> String {
    let len = if random.chance(5) { 600 } else { random.below(8) };
    (0..len).filter_map(|_| random.pick(&LETTERS).copied()).collect()
}

fn name(random: &mut Random) -> String {
    random.pick(&NAMES).map_or_else(String::new, |name| (*name).to_owned())
}
