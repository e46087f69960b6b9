//! Entities with every kind of container, edited apart. `HEADWATER_NESTED=N` plays as many cases, with every order of delivery.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use headwater_fuzz::nested::{Orders, play};

#[test]
fn what_everybody_meant_is_what_became_of_it() {
    // Would lose an edit, double what two devices began with, or leave two devices with different entities for good.
    let (cases, orders) = match std::env::var("HEADWATER_NESTED") {
        Ok(cases) => {
            (cases.parse().unwrap_or_else(|error| panic!("HEADWATER_NESTED={cases}: {error}")), Orders::All)
        }
        Err(_) => (150, Orders::Some),
    };
    for seed in 0..cases {
        if let Err(broken) = play(seed, orders) {
            panic!("case {seed}: {broken}");
        }
    }
}
