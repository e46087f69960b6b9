//! Imports that are repeated, interrupted, or full of mistakes, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "not every test file uses every helper")]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::{Terminal, lines};

/// Long enough for a loaded machine, short enough to see that something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn ids(terminal: &Terminal, collection: &str) -> BTreeSet<String> {
    let exported = lines(&terminal.ok(&["export", collection]));
    exported.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

/// Runs an import that may fail, and gives what it said on stderr, line by line, and the result.
fn import(terminal: &Terminal, options: &[&str], input: &str) -> (i32, Vec<Json>, Option<Json>) {
    let arguments = [&["--json", "import", "bags", "-"], options].concat();
    let ran = terminal.run_with_input(&arguments, input);
    (ran.code, lines(&ran.stderr), lines(&ran.stdout).pop())
}

#[test]
fn a_file_with_ids_of_another_program_can_be_imported_again() {
    // Would double every record when a file is corrected and imported a second time, or on a second device.
    let (a, b) = (Terminal::new(), Terminal::new());
    let file = "{\"id\": 5, \"name\": \"Guji\"}\n{\"id\": \"5\", \"name\": \"Yirga\"}\n{\"id\": {\"$oid\": \"5f\"}, \"name\": \"Harrar\"}\n";
    for terminal in [&a, &a, &b] {
        assert_eq!(terminal.run_with_input(&["import", "bags", "-"], file).code, 0);
        assert_eq!(ids(terminal, "bags").len(), 3);
    }
    assert_eq!(ids(&a, "bags"), ids(&b, "bags"));
    let pending = a.json(&["status"])["pending"].clone();
    let corrected = file.replace("Yirga", "Yirgacheffe");
    assert_eq!(a.run_with_input(&["import", "bags", "-"], &corrected).code, 0);
    let names: Vec<Json> = lines(&a.ok(&["export", "bags"])).iter().map(|bag| bag["name"].clone()).collect();
    assert!(names.len() == 3 && names.contains(&json!("Yirgacheffe")), "{names:?}");
    // Only the record that differs became a change.
    assert_eq!(a.json(&["status"])["pending"].as_u64(), pending.as_u64().map(|before| before + 1));
}

#[test]
fn a_record_is_recognised_by_an_entity_that_has_its_id_already() {
    // Would add a second copy of what an earlier version imported, or somebody put there by hand.
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", r#"{"source_id": 17, "name": "Guji"}"#]).trim().to_owned();
    assert_eq!(import(&terminal, &[], r#"{"id": 17, "rating": 5}"#).0, 0);
    let expected = json!({"id": id, "source_id": 17, "name": "Guji", "rating": 5});
    assert_eq!(lines(&terminal.ok(&["export", "bags"])), [expected]);
}

#[test]
fn a_key_of_ones_own_tells_records_apart() {
    // Would leave a file whose records are known by something else than `id` impossible to import twice.
    let terminal = Terminal::new();
    let file = "{\"sku\": \"a\", \"n\": 1}\n{\"sku\": \"b\", \"n\": 2}\n{\"sku\": \"a\", \"n\": 3}\n";
    for _ in 0..2 {
        assert_eq!(import(&terminal, &["--key", "sku"], file).0, 0);
    }
    let mut found = lines(&terminal.ok(&["export", "bags"]));
    found.sort_by_key(|bag| bag["sku"].to_string());
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["n"], &found[1]["n"]), (&json!(3), &json!(2)));
    let (code, errors, _) = import(&terminal, &["--key", "sku"], "{\"n\": 1}");
    assert!(code == 1 && errors[0]["error"]["message"].to_string().contains("no `sku`"), "{errors:?}");
    // Two entities with one key: which of them is meant, nobody can know.
    let second = terminal.ok(&["put", "bags", r#"{"sku": "b"}"#]).trim().to_owned();
    let (code, errors, _) = import(&terminal, &["--key", "sku"], "{\"sku\": \"b\", \"n\": 9}");
    let message = errors[0]["error"]["message"].to_string();
    assert!(code == 1 && message.contains(&second), "{message}");
    assert!(message.contains(found[1]["id"].as_str().unwrap()), "{message}");
}

#[test]
fn a_record_over_an_entity_is_an_edit_of_what_differs() {
    // Would undo what was written since the export, in fields that the record does not change.
    let terminal = Terminal::new();
    let record =
        r#"{"notes": {"$text": "juicy"}, "brewed": {"$counter": 3}, "rating": 4, "tags": ["a", "b"]}"#;
    let id = terminal.ok(&["put", "bags", record]).trim().to_owned();
    let before = terminal.json(&["status"])["pending"].as_u64().unwrap();
    let same = terminal.ok(&["export", "bags"]);
    assert_eq!(terminal.run_with_input(&["import", "bags", "-"], &same).code, 0);
    assert_eq!(
        terminal.json(&["status"])["pending"].as_u64(),
        Some(before),
        "nothing differs, nothing is written"
    );
    let edited = format!(r#"{{"id": "{id}", "notes": {{"$text": "very juicy"}}, "brewed": 5}}"#);
    assert_eq!(terminal.run_with_input(&["import", "bags", "-"], &edited).code, 0);
    let expected = json!({
        "id": id, "notes": {"$text": "very juicy"}, "brewed": {"$counter": 5}, "rating": 4, "tags": ["a", "b"],
    });
    assert_eq!(lines(&terminal.ok(&["export", "bags"])), [expected]);
}

#[test]
fn bad_records_are_passed_over_and_named_when_asked() {
    // Would lose everything behind the first typing error, or lose the bad ones without a word.
    let terminal = Terminal::new();
    let deep = format!("{{\"n\": {}{}}}", "[".repeat(70), "]".repeat(70));
    let too_long = format!("{{\"n\": \"{}\"}}", "y".repeat(9 << 20));
    let good: String = (0..600).map(|n| format!("{{\"id\": \"g{n}\"}}\n")).collect();
    let bad = [
        ("{\"n\": ", "not JSON"),
        ("[1]", "object"),
        ("{\"n\": 1, \"n\": 2}", "there twice"),
        ("{\"n\": 18446744073709551616}", "18446744073709551616"),
        ("{\"n\": \"\\ud800\"}", "half of a surrogate"),
        ("{\"_rev\": 1}", "`_rev`"),
        ("{\"n\": {\"$bytes\": \"0g\"}}", "$bytes"),
        ("{\"id\": 1, \"source_id\": 2}", "source_id"),
        // Found when its batch is stored.
        (&deep, "nest deeper"),
        (&too_long, "larger than 8 MiB"),
    ];
    let mut file = "{\"id\": \"first\"}\r\n".to_owned();
    for (line, _) in &bad {
        file.push_str(&format!("{line}\n{good}"));
    }
    file.push_str("{\"id\": \"last\"}");
    let (code, errors, result) = import(&terminal, &["--skip-bad"], &file);
    let result = result.unwrap();
    assert_eq!((code, &result["skipped"]), (1, &json!(bad.len())), "{result} {errors:?}");
    assert_eq!(result["imported"], json!(2 + 600 * bad.len()));
    for (number, (_, about)) in bad.iter().enumerate() {
        let line = 2 + number * 601;
        let entry = errors.iter().find(|entry| entry["skipped"]["line"] == json!(line));
        let reason = entry.map(|entry| entry["skipped"]["reason"].to_string()).unwrap_or_default();
        assert!(reason.contains(about), "line {line}: {reason}; {about}");
        assert!(result["bad"].as_array().unwrap().iter().any(|entry| entry["line"] == json!(line)));
    }
    assert_eq!(errors.last().unwrap()["error"]["kind"], "skipped");
    assert_eq!(ids(&terminal, "bags").len(), 602);
    // People read the same as lines.
    let ran = terminal.run_with_input(&["import", "bags", "-", "--skip-bad"], "{}\n{\"_a\": 1}\n");
    assert!(
        ran.code == 1 && ran.stderr.starts_with("line 2: ") && ran.stdout.contains("skipped 1"),
        "{ran:?}"
    );
}

#[test]
fn an_array_of_records_is_imported_as_lines_are() {
    // Would refuse the form in which most programs export.
    let terminal = Terminal::new();
    let file = "\u{feff}[\r\n  {\"id\": 1, \"name\": \"a, ]\"},\r\n  {\"id\": 2,\r\n \"name\": \"b\"}, {\"id\": }\r\n]\r\n";
    let (code, errors, result) = import(&terminal, &["--skip-bad"], file);
    let entry = json!({"skipped": {"line": 4, "record": 3, "reason": errors[0]["skipped"]["reason"]}});
    assert_eq!((code, &errors[0]), (1, &entry));
    assert_eq!(result.unwrap()["imported"], 2);
    assert_eq!(import(&terminal, &[], "[]").2.unwrap()["imported"], 0);
    // Half a download is not the whole of it.
    let (code, errors, _) = import(&terminal, &[], "[{\"id\": 1}, {\"id\": 3}, {\"id\"");
    let message = errors[0]["error"]["message"].to_string();
    assert!(code == 1 && message.contains("does not end") && message.contains("(2 records)"), "{message}");
}

#[test]
fn names_that_are_headwaters_own_are_named_left_out_or_renamed() {
    // Would make every record of CouchDB and MongoDB one that cannot be imported.
    let terminal = Terminal::new();
    let file = r#"{"_id": "a", "_rev": 7, "rev": 1}"#;
    let (code, errors, _) = import(&terminal, &[], file);
    assert!(code == 1 && errors[0]["error"]["message"].to_string().contains("`_id`"), "{errors:?}");
    let (_, _, result) = import(&terminal, &["--underscore", "rename"], file);
    let renamed = json!({"_id": "id", "_rev": "field_rev"});
    assert_eq!(result.unwrap()["renamed"], renamed);
    let (_, _, result) = import(&terminal, &["--underscore", "rename"], file);
    assert_eq!(result.unwrap()["imported"], 1);
    let found = lines(&terminal.ok(&["export", "bags"]));
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["source_id"], &found[0]["field_rev"]), (&json!("a"), &json!(7)));
    let (code, _, _) = import(&terminal, &["--underscore", "skip"], r#"{"_id": "a", "name": "x"}"#);
    assert_eq!((code, ids(&terminal, "bags").len()), (0, 2));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_an_import_with_how_far_it_came() {
    // Would leave a person with some of the records, and no way to know which.
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let terminal = Terminal::new();
        let mut command = terminal.command(&["--json", "import", "bags", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        for n in 0..1500 {
            writeln!(input, "{{\"id\": {n}}}").unwrap();
        }
        input.flush().unwrap();
        // The input stays open and silent. What is there is in the replica once a second process finds it in
        // use.
        let deadline = Instant::now() + PATIENCE;
        while terminal.run(&["ls", "bags"]).stderr.contains("there is no replica") {
            assert!(Instant::now() < deadline, "the import did not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(status.success());
        wait(&mut child);
        let output = child.wait_with_output().unwrap();
        let error: Json = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        let imported = error["error"]["imported"].as_u64().unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(&format!("{imported} records got in")));
        assert_eq!(lines(&terminal.run(&["export", "bags"]).stdout).len() as u64, imported);
        drop(input);
        // And it goes on: each record is there once.
        let file: String = (0..1500).map(|n| format!("{{\"id\": {n}}}\n")).collect();
        assert_eq!(terminal.run_with_input(&["import", "bags", "-"], &file).code, 0);
        assert_eq!(ids(&terminal, "bags").len(), 1500);
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_an_import_with_how_far_it_came() {
    // Would say that a file could not be written, and not that thousands of records are in it; or promise
    // that running it again goes on, and add records a second time that nothing tells apart.
    for has_ids in [true, false] {
        let terminal = Terminal::new();
        let record = |n: u64| {
            let id = if has_ids { format!("\"id\": {n}, ") } else { String::new() };
            format!("{{{id}\"padding\": \"{}\"}}\n", "x".repeat(200))
        };
        let path = terminal.write("bags.jsonl", &(0..20_000).map(record).collect::<String>());
        // No file may grow beyond 6 MB; the signal that says so is ignored, so that writing fails as on a
        // full disk.
        let script = format!(
            "trap '' XFSZ; ulimit -f 6000; exec '{}' --json --replica '{}' import bags '{}'",
            env!("CARGO_BIN_EXE_headwater"),
            terminal.path("replica.redb").display(),
            path.display()
        );
        let mut command = Command::new("bash");
        let output = command.args(["-c", &script]).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
        let error: Json = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        let imported = error["error"]["imported"].as_u64().unwrap();
        assert!(imported > 0 && imported < 20_000, "{error}");
        assert_eq!(terminal.json(&["status"])["spaces"][0]["collections"]["bags"], imported);
        assert_eq!(error["error"]["message"].as_str().unwrap().contains("--key"), !has_ids, "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_so_with_how_far_it_came() {
    // Would end as if the file had been empty.
    let terminal = Terminal::new();
    let directory = terminal.path("folder");
    std::fs::create_dir(&directory).unwrap();
    // A folder can be opened, and not be read.
    let error = terminal.error(1, &["import", "bags", directory.to_str().unwrap()]);
    assert_eq!((&error["kind"], &error["imported"]), (&json!("io"), &json!(0)), "{error}");
}

fn wait(child: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        let is_late = Instant::now() > deadline;
        if is_late {
            child.kill().unwrap();
        }
        assert!(!is_late, "the import did not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}
