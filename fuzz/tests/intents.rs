//! What authors mean by their edits of texts and lists is what becomes of them. `HEADWATER_INTENTS=N` plays as many cases of each
//! form, up to 200,000 letters and 20,000 elements: with `--release`, since unoptimised the large ones take minutes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_fuzz::Random;
use headwater_fuzz::intent::{Form, InMemory, Size, play};

/// How many cases to play, and how many items one may have.
fn cases() -> (u64, usize) {
    const SMALL: (u64, usize) = (150, 300);
    std::env::var("HEADWATER_INTENTS").map_or(SMALL, |number| (number.parse().unwrap(), usize::MAX))
}

fn all_keep_their_intents(form: Form) {
    let (cases, items_max) = cases();
    for seed in 0..cases {
        let mut random = Random::new(seed);
        let devices = 2 + random.below(2);
        let size = Size::from_random(form, &mut random);
        let size = Size { items: size.items.min(items_max), ..size };
        if let Err(broken) = play(&mut InMemory::new(devices, seed), form, size, &mut random) {
            panic!("seed {seed}, {devices} devices, {form:?}, {size:?}: {broken}");
        }
    }
}

#[test]
fn what_is_meant_by_edits_of_a_text_is_what_becomes_of_it() {
    // Would double, lose or take back words, above all where a long text is handed over whole.
    all_keep_their_intents(Form::Text);
}

#[test]
fn what_is_meant_by_edits_of_a_list_of_strings_is_what_becomes_of_it() {
    // Would lose insertions and removals, or elements that nobody touched.
    all_keep_their_intents(Form::Strings);
}

#[test]
fn what_is_meant_by_edits_of_a_list_of_records_is_what_becomes_of_it() {
    // Would mix two records into one that nobody wrote.
    all_keep_their_intents(Form::Records);
}
