//! Edits with a number in their value, so that whoever sees the value knows which edit it was.

use serde_json::Value;

/// Above every rating in the dataset.
const BASE: f64 = 1_000_000.0;

/// The rating that edit `number`, from 0, sets.
pub(crate) fn rating(number: usize) -> Value {
    (BASE + number as f64).into()
}

/// How many edits were made when the rating was this: those before count as seen, for one writer makes them in order.
pub(crate) fn seen(rating: f64) -> usize {
    if rating < BASE { 0 } else { (rating - BASE) as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rating_tells_how_many_edits_were_made() {
        // Would count an edit that did not arrive, or miss one that did.
        assert_eq!(seen(4.5), 0);
        for number in [0, 1, 299] {
            assert_eq!(seen(rating(number).as_f64().unwrap()), number + 1);
        }
    }
}
