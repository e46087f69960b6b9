//! The dataset: records of about 1 KB JSON, made from a seed.

use headwater::{Map, Value};
use serde::{Deserialize, Serialize};

/// Single-field edits of one record, after the change that creates it.
pub const EDITS: usize = 5;

/// A record of 14 scalar fields, about 1 KB as JSON.
///
/// ```
/// use headwater_benches::record::Bag;
/// assert_eq!(Bag::numbered(7), Bag::numbered(7));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and nothing depends on what the fields mean")]
pub struct Bag {
    pub name: String,
    pub roaster: String,
    pub origin: String,
    pub region: String,
    pub farm: String,
    pub variety: String,
    pub process: String,
    pub notes: String,
    pub roasted_on: String,
    pub altitude_m: i64,
    pub weight_g: i64,
    pub price: f64,
    pub rating: f64,
    pub decaf: bool,
}

impl Bag {
    /// The record with this number: always the same one.
    pub fn numbered(number: u64) -> Bag {
        let mut random = Random::seeded(number);
        Bag {
            name: random.words(3),
            roaster: random.words(3),
            origin: random.words(1),
            region: random.words(3),
            farm: random.words(4),
            variety: random.words(2),
            process: random.words(2),
            notes: random.words(101),
            roasted_on: format!("2026-{:02}-{:02}", 1 + random.below(12), 1 + random.below(28)),
            altitude_m: 900 + random.below(1400) as i64,
            weight_g: 250,
            price: 9.0 + random.below(2000) as f64 / 100.0,
            rating: random.below(50) as f64 / 10.0,
            decaf: random.below(20) == 0,
        }
    }

    /// The edit with this number, from 0 to [`EDITS`] - 1: one field, and a value that it does not have yet.
    pub fn edit(&self, edit: usize) -> Map {
        let (name, value) = match edit % EDITS {
            0 => ("rating", Value::Float(self.rating + 0.05)),
            1 => ("price", Value::Float(self.price + 1.25)),
            2 => ("weight_g", Value::Int(self.weight_g - 18)),
            3 => ("altitude_m", Value::Int(self.altitude_m + 1)),
            _ => ("decaf", Value::Bool(!self.decaf)),
        };
        Map::from([(name.to_owned(), value)])
    }
}

/// SplitMix64: enough for data that only has to look like data, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence that follows from `seed` alone.
    pub fn seeded(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit
    }

    /// Seven letters, drawn evenly.
    pub fn letters(&mut self) -> String {
        let mut word = self.words(1);
        word.push('z');
        word
    }

    /// Words of six letters: letters drawn evenly compress badly, so no size is flattered.
    fn words(&mut self, count: usize) -> String {
        let mut text = String::with_capacity(count * 7);
        for word in 0..count {
            if word > 0 {
                text.push(' ');
            }
            let mut bits = self.next_u64();
            for _ in 0..6 {
                text.push(char::from(b'a' + (bits % 26) as u8));
                bits /= 26;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_size_that_the_goals_were_measured_with() {
        // Would compare with figures of other work.
        for number in 0..100 {
            let bytes = serde_json::to_vec(&Bag::numbered(number)).unwrap().len();
            assert!((950..1100).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn every_edit_changes_its_field() {
        // Would measure updates that write nothing.
        let bag = Bag::numbered(3);
        let before: serde_json::Value = serde_json::to_value(&bag).unwrap();
        for edit in 0..EDITS {
            for (name, value) in bag.edit(edit) {
                let old = &before[&name];
                let same = value.as_f64().is_some_and(|new| old.as_f64() == Some(new))
                    || value == Value::Bool(old == true);
                assert!(!same, "{name}");
            }
        }
    }
}
