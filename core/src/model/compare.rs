//! When two values are equal: the one place that knows NaN, negative zero, whole numbers of either sign, and kinds.
//!
//! - `==` is exact: the same kind and the same content, floats bit for bit. NaN equals itself, and -0 differs from 0.
//! - [`Value::same`] is what a reader sees: numbers by amount, strings and texts by content, lists of any kind by their elements, a case
//!   of an enum as the map that it is to other programs.
//! - [`Value::satisfies`] asks whether a field already is what an edit wants it to be.
//! - [`fingerprint`] gives equal bytes exactly for values that are the same to a reader.

use std::mem::discriminant;

use minicbor::Encoder;

use super::{Map, Value, encode_value};

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b))
            | (Value::Timestamp(a), Value::Timestamp(b))
            | (Value::Counter(a), Value::Counter(b)) => a == b,
            (Value::Uint(a), Value::Uint(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Keyed(key, a), Value::Keyed(other_key, b)) => key == other_key && a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Tuple(a), Value::Tuple(b)) => a == b,
            (Value::Variant(name, a), Value::Variant(other_name, b)) => name == other_name && a == b,
            _ => discriminant(self) == discriminant(other),
        }
    }
}

impl Eq for Value {}

impl Value {
    /// Whether the two are the same to a reader: numbers by amount, strings and texts by content, lists of any kind by their
    /// elements, a case of an enum as the map that it is to other programs.
    ///
    /// NaN is the same as a NaN of the same bits. -0 is the same as itself only, because no whole number holds its sign.
    ///
    /// ```
    /// use headwater::Value;
    /// assert!(Value::Int(1).same(&Value::Float(1.0)));
    /// assert!(!Value::Uint(u64::MAX).same(&Value::Uint(u64::MAX - 1)));
    /// assert!(!Value::Float(-0.0).same(&Value::Int(0)));
    /// ```
    pub fn same(&self, other: &Value) -> bool {
        same(self, other, |_, _| true)
    }

    /// Whether a field that holds this already is what an edit wants. As [`Value::same`], but a text is not yet there where a
    /// string is, nor a counter where a plain number is, nor a keyed list where a plain one is: they merge in another way.
    ///
    /// ```
    /// use headwater::Value;
    /// let (text, string) = (Value::Text("juicy".into()), Value::from("juicy"));
    /// assert!(text.satisfies(&string) && !string.satisfies(&text));
    /// ```
    pub fn satisfies(&self, wanted: &Value) -> bool {
        same(self, wanted, |held, wanted| {
            let merges_otherwise = match wanted {
                Value::Text(_) => !matches!(held, Value::Text(_)),
                Value::Counter(_) => !matches!(held, Value::Counter(_)),
                Value::Tuple(_) => !matches!(held, Value::Tuple(_)),
                Value::Variant(..) => !matches!(held, Value::Variant(..)),
                Value::Keyed(key, _) => !matches!(held, Value::Keyed(held, _) if held == key),
                _ => false,
            };
            !merges_otherwise
        })
    }
}

/// Walks both values. `fits` says of any two that are the same in all else whether they count as that.
fn same(a: &Value, b: &Value, fits: fn(&Value, &Value) -> bool) -> bool {
    if !fits(a, b) {
        return false;
    }
    if let (Some(a), Some(b)) = (a.as_list(), b.as_list()) {
        return a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, fits));
    }
    match (a, b) {
        (Value::Variant(name, a), Value::Variant(other, b)) => name == other && same(a, b, fits),
        (Value::Variant(name, content), Value::Map(map)) => {
            map.len() == 1 && map.get(name).is_some_and(|held| same(content, held, fits))
        }
        (Value::Map(map), Value::Variant(name, content)) => {
            map.len() == 1 && map.get(name).is_some_and(|held| same(held, content, fits))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && same(va, vb, fits))
        }
        _ => scalars_are_same(a, b),
    }
}

fn scalars_are_same(a: &Value, b: &Value) -> bool {
    match (Amount::of(a), Amount::of(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
        _ => false,
    }
}

/// A number, whichever type it has: two are equal exactly when the amounts are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    Whole(i128),
    /// The bits of a float that no whole number equals: fractions, -0, NaN, infinities and what is beyond 128 bits.
    Other(u64),
}

impl Amount {
    fn of(value: &Value) -> Option<Amount> {
        /// 2^100: every float below it that has no fraction is exactly an `i128`.
        const WHOLE_BELOW: f64 = (1_u128 << 100) as f64;
        Some(match value {
            Value::Int(whole) | Value::Counter(whole) => Amount::Whole((*whole).into()),
            Value::Uint(whole) if cfg!(bug = "large-numbers-as-doubles") => {
                Amount::Other((*whole as f64).to_bits())
            }
            Value::Uint(whole) => Amount::Whole((*whole).into()),
            Value::Float(float) => {
                let is_negative_zero = *float == 0.0 && float.is_sign_negative();
                if float.fract() == 0.0 && float.abs() < WHOLE_BELOW && !is_negative_zero {
                    Amount::Whole(*float as i128)
                } else {
                    Amount::Other(float.to_bits())
                }
            }
            _ => return None,
        })
    }
}

/// Bytes that are equal exactly when two values are the same to a reader.
pub(crate) fn fingerprint(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _infallible = encode_value(&mut Encoder::new(&mut bytes), &plain(value));
    bytes
}

/// The value with every number, string and list in its simplest form.
fn plain(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Str(text.to_string()),
        Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => {
            Value::List(items.iter().map(plain).collect())
        }
        Value::Variant(name, content) => Value::Map(Map::from([(name.clone(), plain(content))])),
        Value::Map(map) => {
            Value::Map(map.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<Map>())
        }
        _ => match Amount::of(value) {
            Some(Amount::Whole(whole)) => match (i64::try_from(whole), u64::try_from(whole)) {
                (Ok(whole), _) => Value::Int(whole),
                (_, Ok(whole)) => Value::Uint(whole),
                // A float, since no other number is that large.
                _ => value.clone(),
            },
            _ => value.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Vec<Value> {
        let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
        let floats = [0.0, -0.0, 1.0, 1.5, f64::NAN, other_nan, f64::INFINITY, f64::NEG_INFINITY];
        let large = [2f64.powi(53), 2f64.powi(63), -(2f64.powi(63)), 2f64.powi(64), 1e300];
        let mut values: Vec<Value> = floats.into_iter().chain(large).map(Value::Float).collect();
        values.extend([0, 1, -1, i64::MIN, i64::MAX, 1 << 53].map(Value::Int));
        values.extend([1 << 63, u64::MAX - 1, u64::MAX].map(Value::Uint));
        values.extend([0, 1, i64::MAX].map(Value::Counter));
        values.extend([0, 1].map(Value::Timestamp));
        values.extend([Value::Null, Value::Bool(false), Value::Bytes(vec![]), Value::from("")]);
        values.extend([Value::Text("".into()), Value::Text("a".into()), Value::from("a")]);
        values
    }

    #[test]
    fn numbers_of_any_type_are_the_same_amount() {
        // Would drop an edit from one large number to the next, or count a JavaScript client's `1` as a change of our `1.0`.
        assert!(Value::Int(1).same(&Value::Float(1.0)) && Value::Uint(7).same(&Value::Int(7)));
        assert!(Value::Uint(1 << 63).same(&Value::Float(2f64.powi(63))));
        assert!(!Value::Uint(u64::MAX).same(&Value::Uint(u64::MAX - 1)));
        assert!(!Value::Uint(u64::MAX).same(&Value::Float(2f64.powi(64))));
        assert!(!Value::Int(i64::MAX).same(&Value::Uint(1 << 63)));
        assert!(!Value::Bool(true).same(&Value::Int(1)) && !Value::Timestamp(1).same(&Value::Int(1)));
        assert!(Value::Float(f64::NAN).same(&Value::Float(f64::NAN)));
        assert!(!Value::Float(-0.0).same(&Value::Float(0.0)));
    }

    #[test]
    fn sameness_and_fingerprints_agree_on_every_pair() {
        // Would align a list's elements by one idea of equality, and write them by another.
        for a in &values() {
            assert_eq!(a, a);
            for b in &values() {
                assert_eq!(a.same(b), b.same(a), "{a:?} {b:?}");
                assert_eq!(a.same(b), fingerprint(a) == fingerprint(b), "{a:?} {b:?}");
                assert!(a != b || a.satisfies(b), "{a:?} {b:?}");
                assert!(!a.satisfies(b) || a.same(b), "{a:?} {b:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_two_bit_patterns_are_equal_only_to_themselves(a in any::<u64>(), b in any::<u64>()) {
            // Would take a value for unchanged that differs in its last bit.
            prop_assert_eq!(Value::Float(f64::from_bits(a)) == Value::Float(f64::from_bits(b)), a == b);
            prop_assert_eq!(Value::from(a).same(&Value::from(b)), a == b);
        }
    }
}
