//! What authors mean by their edits of texts and lists is what becomes of them. `HEADWATER_INTENTS=N` plays as many cases of each
//! form, up to 200,000 letters and 20,000 elements: with `--release`, since unoptimised the large ones take minutes.

use headwater_fuzz::intent::{Form, InMemory, cases};

fn all_keep_their_intents(form: Form) {
    for case in cases(form, 150, 300) {
        let mut devices = InMemory::new(case.devices, case.number);
        case.play(&mut devices);
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
