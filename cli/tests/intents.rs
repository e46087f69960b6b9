//! What is meant by edits of texts and lists on the command line is what becomes of them, through real processes and a real relay.
//! `HEADWATER_INTENTS=N` plays as many cases of each form.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "not every test file uses every helper")]

#[path = "support/serving.rs"]
mod serving;
mod support;

use headwater::model::{JsonStyle, json_from_map, json_from_value, map_from_json_text};
use headwater::{Map, Value};
use headwater_fuzz::Random;
use headwater_fuzz::intent::{Case, Devices, Edit, FIELD, Form, cases, large_cases};
use serving::Relay;
use support::Terminal;

const ID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
/// What fits into one argument of a command; Linux takes 128 KiB.
const ARGUMENT_BYTES_MAX: usize = 100_000;

struct Terminals {
    relay: Relay,
    terminals: Vec<Terminal>,
    form: Form,
}

impl Terminals {
    fn import(&self, device: usize, fields: &Map, style: JsonStyle) {
        let mut record = json_from_map(fields, style);
        record["id"] = ID.into();
        let ran = self.terminals[device].run_with_input(&["import", "bodies", "-"], &record.to_string());
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    fn sync(&self, device: usize) {
        let report = self.terminals[device].json(&["sync", "--relay", &self.relay.url]);
        assert_eq!((&report["rejected"], &report["pending"]), (&0.into(), &0.into()), "{report}");
    }
}

impl Devices for Terminals {
    fn len(&self) -> usize {
        self.terminals.len()
    }

    fn create(&mut self, fields: Map) {
        self.import(0, &fields, JsonStyle::Kinds);
        for device in 0..self.terminals.len() {
            self.sync(device);
        }
    }

    fn write(&mut self, device: usize, form: Form, edit: &Edit, random: &mut Random) {
        let whole = form.render(&edit.after);
        // Another program's string over the text, or a text.
        let style = if random.chance(50) { JsonStyle::Plain } else { JsonStyle::Kinds };
        let assignment = format!("{FIELD}={}", json_from_value(&whole, style));
        if assignment.len() < ARGUMENT_BYTES_MAX && random.chance(50) {
            self.terminals[device].ok(&["set", "bodies", ID, &assignment]);
        } else {
            self.import(device, &Map::from([(FIELD.to_owned(), whole)]), style);
        }
    }

    fn meet(&mut self, random: &mut Random) {
        let mut order: Vec<usize> = (0..self.terminals.len()).collect();
        random.shuffle(&mut order);
        // The last of them has everything the first time.
        for device in order.iter().chain(&order[..order.len() - 1]) {
            self.sync(*device);
        }
    }

    fn read(&mut self, device: usize) -> Value {
        let shown = self.terminals[device].ok(&["--json", "get", "bodies", ID]);
        match map_from_json_text(shown.as_bytes()).unwrap().remove(FIELD).unwrap() {
            Value::Str(text) if self.form == Form::Text => Value::Text(text.into()),
            value => value,
        }
    }
}

fn keeps_its_intents(case: Case) {
    let terminals = (0..case.devices).map(|_| Terminal::new()).collect();
    let mut terminals = Terminals { relay: Relay::start(), terminals, form: case.form };
    case.play(&mut terminals);
}

fn all_keep_their_intents(form: Form) {
    cases(form, 3, usize::MAX).for_each(keeps_its_intents);
}

#[test]
fn what_is_meant_by_edits_of_a_text_is_what_becomes_of_it() {
    // Would double, lose or take back words of a text that a script hands over whole.
    all_keep_their_intents(Form::Text);
}

#[test]
fn what_is_meant_by_edits_of_a_list_of_strings_is_what_becomes_of_it() {
    // Would lose what another device put into a list when a record is imported again.
    all_keep_their_intents(Form::Strings);
}

#[test]
fn what_is_meant_by_edits_of_a_list_of_records_is_what_becomes_of_it() {
    // Would mix two records into one that nobody wrote.
    all_keep_their_intents(Form::Records);
}

#[test]
fn a_long_text_and_a_long_list_keep_everything() {
    // Would fail, or lose what others wrote, where a value is as large as what apps really hold.
    large_cases().into_iter().for_each(keeps_its_intents);
}
