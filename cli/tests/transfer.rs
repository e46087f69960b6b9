//! Import and export, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "not every test file uses every helper")]

mod support;

use serde_json::{Value as Json, json};
use support::{Terminal, data, lines};

const FIRST: &str = "0190a5e0-0000-7000-8000-000000000001";
const SECOND: &str = "0190a5e0-0000-7000-8000-000000000002";

#[test]
fn the_coffee_records_come_out_as_they_went_in() {
    // Would change somebody's data on its way through: a number's form, a null, the order.
    let Some(text) = data("coffees.jsonl.gz") else { return };
    let terminal = Terminal::new();
    let file = terminal.write("coffees.jsonl", &text);
    let records = lines(&text);
    assert_eq!(
        terminal.json(&["import", "coffees", file.to_str().unwrap()])["imported"],
        json!(records.len())
    );
    let exported = terminal.ok(&["export", "coffees"]);
    assert_eq!(exported.lines().count(), records.len());
    let mut last = String::new();
    for (line, record) in exported.lines().zip(&records) {
        assert!(line.starts_with(r#"{"id":""#), "{line}");
        let mut exported: Json = serde_json::from_str(line).unwrap();
        let id = exported.as_object_mut().unwrap().remove("id").unwrap().as_str().unwrap().to_owned();
        assert!(id > last, "ids ascend");
        last = id;
        let expected = record.as_object().unwrap();
        assert_eq!(exported.as_object().unwrap().len(), expected.len());
        for (field, value) in expected {
            assert_eq!(exported[field].to_string(), value.to_string(), "{field}");
        }
    }
    // What was exported goes into another replica under the same ids, and into this one without a change.
    let copy = Terminal::new();
    let again = copy.write("export.jsonl", &exported);
    copy.ok(&["import", "coffees", again.to_str().unwrap()]);
    assert_eq!(copy.ok(&["export", "coffees"]), exported);
    let pending = terminal.json(&["status"])["pending"].clone();
    terminal.ok(&["import", "coffees", again.to_str().unwrap()]);
    assert_eq!(terminal.json(&["status"])["pending"], pending);
}

#[test]
fn an_id_is_kept_and_upserts() {
    // Would double every record when a file is imported twice, or lose the fields that it does not have.
    let terminal = Terminal::new();
    terminal.ok(&["put", "bags", &format!(r#"{{"id": "{FIRST}", "name": "Guji", "rating": 4}}"#)]);
    let input = format!(
        "{{\"id\": \"{FIRST}\", \"rating\": 5}}\n\n{{\"id\": \"{SECOND}\", \"n\": 1}}\n{{\"id\": \"{SECOND}\", \"n\": 2}}"
    );
    let ran = terminal.run_with_input(&["import", "bags", "-", "--json"], &input);
    assert_eq!(lines(&ran.stdout), [json!({"imported": 3, "collection": "bags"})], "{ran:?}");
    let expected = [json!({"id": FIRST, "name": "Guji", "rating": 5}), json!({"id": SECOND, "n": 2})];
    assert_eq!(lines(&terminal.ok(&["export", "bags"])), expected);
}

#[test]
fn an_id_of_another_program_is_kept_beside_the_new_one() {
    // Would lose the only key by which the other program knows the record.
    let terminal = Terminal::new();
    terminal.run_with_input(&["import", "bags", "-"], "{\"id\": 17, \"name\": \"Guji\"}\n{\"id\": null}\n");
    let records = lines(&terminal.ok(&["export", "bags"]));
    let (named, unnamed): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.get("name").is_some());
    assert_eq!(named[0]["source_id"], 17);
    assert_eq!(unnamed[0].as_object().unwrap().len(), 1);
}

#[test]
fn a_bad_line_is_named_and_those_before_it_stay() {
    // Would leave a person with half a file and no idea which half.
    for (bad, about) in [
        ("{\"name\": ", "not JSON"),
        ("[1]", "object"),
        ("{\"at\": {\"$timestamp\": \"now\"}}", "$timestamp"),
        ("{\"_deleted\": 1}", "_deleted"),
        ("{\"id\": 1, \"source_id\": 2}", "source_id"),
    ] {
        let terminal = Terminal::new();
        let good: String = (1..=700).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        let file = terminal.write("bags.jsonl", &format!("{good}{bad}\n{{\"n\": 0}}\n"));
        let error = terminal.error(1, &["import", "bags", file.to_str().unwrap()]);
        let message = error["message"].as_str().unwrap();
        assert_eq!(error["kind"], "bad_line", "{message}");
        assert!(message.starts_with("line 701: ") && message.contains(about), "{message}");
        assert!(message.contains("what is before it is imported (700 records)"), "{message}");
        assert_eq!(terminal.ok(&["export", "bags"]).lines().count(), 700);
    }
}

#[test]
fn an_export_to_a_file_replaces_it_whole_and_is_counted() {
    // Would leave half an export in the place of a good one.
    let terminal = Terminal::new();
    terminal.ok(&["put", "bags", r#"{"name": "Guji"}"#]);
    let file = terminal.write("bags.jsonl", "an older export");
    let path = file.to_str().unwrap();
    assert_eq!(terminal.json(&["export", "bags", path]), json!({"exported": 1, "file": path}));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), terminal.ok(&["export", "bags", "-"]));
    let names = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
    assert_eq!(
        terminal.error(1, &["export", "bags", terminal.path("no/where").to_str().unwrap()])["kind"],
        "io"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // Would end `headwater export ... | head -1` with a panic.
    use std::io::{BufRead, BufReader};
    let terminal = Terminal::new();
    let input: String =
        (0..3000).map(|n| format!("{{\"n\": {n}, \"padding\": \"{}\"}}\n", "x".repeat(80))).collect();
    assert_eq!(terminal.run_with_input(&["import", "bags", "-"], &input).code, 0);
    let mut command = terminal.command(&["export", "bags"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}
