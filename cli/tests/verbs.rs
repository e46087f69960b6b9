//! Every verb that works without a relay, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "not every test file uses every helper")]

mod support;

use serde_json::json;
use support::{Terminal, lines};

const MISSING: &str = "0190a5e0-0000-7000-8000-000000000000";

#[test]
fn init_creates_once_and_says_so() {
    // Would give a device a second identity if init replaced a replica.
    let terminal = Terminal::new();
    let first = terminal.json(&["init"]);
    let second = terminal.json(&["init"]);
    assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
    assert_eq!(first["device"], second["device"]);
    assert!(terminal.ok(&["init"]).contains("already"));
}

#[test]
fn put_get_set_and_ls_agree_on_an_entity() {
    // Would break the simplest script: keep the id that put prints, and work with it.
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", r#"{"name": "Guji", "rating": 4, "lot": null}"#]).trim().to_owned();
    assert_eq!(
        terminal.json(&["get", "bags", &id]),
        json!({"id": id, "name": "Guji", "rating": 4, "lot": null})
    );
    assert_eq!(terminal.json(&["set", "bags", &id, "rating=4.5", r#"tags=["a"]"#])["changed"], json!(true));
    assert_eq!(terminal.json(&["set", "bags", &id, "rating=4.5"])["changed"], json!(false));
    let expected = json!({"id": id, "name": "Guji", "rating": 4.5, "lot": null, "tags": ["a"]});
    assert_eq!(lines(&terminal.ok(&["ls", "bags", "--json"])), [expected]);
    let listed = terminal.ok(&["ls", "bags"]);
    assert!(listed.starts_with(&id) && listed.contains("Guji"), "{listed}");
    assert!(terminal.ok(&["get", "bags", &id]).starts_with("{\n  \"id\""));
}

#[test]
fn rm_hides_and_restore_brings_back() {
    // Would lose an entity for good, or leave a person without a way to see why it is gone.
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", r#"{"name": "Guji"}"#]).trim().to_owned();
    assert_eq!(terminal.json(&["rm", "bags", &id]), json!({"id": id, "collection": "bags"}));
    assert_eq!(terminal.error(1, &["get", "bags", &id])["kind"], "deleted");
    assert_eq!(terminal.error(1, &["set", "bags", &id, "rating=1"])["kind"], "deleted");
    assert_eq!(terminal.error(1, &["rm", "bags", &id])["kind"], "deleted");
    assert_eq!(terminal.ok(&["ls", "bags"]), "");
    terminal.ok(&["restore", "bags", &id]);
    assert_eq!(terminal.json(&["get", "bags", &id])["name"], "Guji");
}

#[test]
fn typed_values_are_read_and_printed() {
    // Would store a text as a map, and merge it badly ever after.
    let terminal = Terminal::new();
    let record = r#"{"notes": {"$text": "juicy"}, "brewed": {"$counter": 5}, "raw": {"$bytes": "c0ff"}, "at": {"$timestamp": 7}}"#;
    let id = terminal.ok(&["put", "bags", record]).trim().to_owned();
    terminal.ok(&["set", "bags", &id, r#"notes="juicy, sweet""#, "brewed=6"]);
    let expected = json!({"id": id, "notes": "juicy, sweet", "brewed": 6, "raw": {"$bytes": "c0ff"}, "at": {"$timestamp": 7}});
    assert_eq!(terminal.json(&["get", "bags", &id]), expected);
}

#[test]
fn spaces_are_apart_and_a_name_is_the_same_space_everywhere() {
    // Would mix a team's data with a person's own.
    let terminal = Terminal::new();
    terminal.ok(&["put", "bags", "{}", "--space", "team"]);
    assert_eq!(terminal.error(1, &["ls", "bags"])["kind"], "no_collection");
    let team = terminal.json(&["status", "--space", "team"]);
    let by_id = terminal.ok(&["ls", "bags", "--space", team["space"].as_str().unwrap()]);
    assert_eq!(by_id, terminal.ok(&["ls", "bags", "--space", "team"]));
    assert!(!by_id.is_empty());
}

#[test]
fn status_counts_what_waits_and_what_is_there() {
    // Would tell a person that everything is safe on the relay when it is not.
    let terminal = Terminal::new();
    let first = terminal.ok(&["put", "bags", "{}"]).trim().to_owned();
    terminal.ok(&["put", "bags", "{}"]);
    terminal.ok(&["rm", "bags", &first]);
    let status = terminal.json(&["status"]);
    assert_eq!(status["pending"], 3);
    assert_eq!(status["spaces"][0]["position"], json!(null));
    assert_eq!(status["spaces"][0]["collections"], json!({"bags": 1}));
    assert_eq!(status["device"], terminal.json(&["init"])["device"]);
    let text = terminal.ok(&["status"]);
    assert!(
        text.contains("(default)") && text.contains("waiting for the relay: 3") && text.contains("bags: 1"),
        "{text}"
    );
}

#[test]
fn what_is_missing_has_exit_code_1() {
    // Would let a script go on with data that is not there.
    let terminal = Terminal::new();
    assert_eq!(terminal.error(1, &["ls", "bags"])["kind"], "no_replica");
    assert!(!terminal.path("replica.redb").exists());
    terminal.ok(&["init"]);
    for verb in [vec!["get", "bags", MISSING], vec!["rm", "bags", MISSING], vec!["restore", "bags", MISSING]]
    {
        assert_eq!(terminal.error(1, &verb)["kind"], "not_found");
    }
    assert_eq!(terminal.error(1, &["set", "bags", MISSING, "a=1"])["kind"], "not_found");
    assert_eq!(terminal.error(1, &["import", "bags", "no-such-file"])["kind"], "io");
}

#[test]
fn a_collection_that_never_was_is_not_an_empty_one() {
    // Would let a typing error look like lost data, or an export of nothing replace one of everything.
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", "{}"]).trim().to_owned();
    terminal.ok(&["rm", "bags", &id]);
    let file = terminal.write("bags.jsonl", "an older export");
    for verb in [vec!["ls", "bagz"], vec!["export", "bagz"], vec!["export", "bagz", file.to_str().unwrap()]] {
        let error = terminal.error(1, &verb);
        assert!(
            error["kind"] == "no_collection" && error["message"].to_string().contains("`bagz`"),
            "{error}"
        );
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "an older export");
    for verb in ["ls", "export"] {
        assert_eq!(terminal.ok(&[verb, "bags"]), "", "it is empty, and it is there");
    }
}

#[test]
fn logs_that_nobody_looks_at_have_no_colours() {
    // Would fill a log file with codes that hide the words from whoever searches it.
    let terminal = Terminal::new();
    let mut command = terminal.command(&["sync", "--relay", "ws://127.0.0.1:1"]);
    let output = command.env("RUST_LOG", "trace").output().unwrap();
    let logged = String::from_utf8(output.stderr).unwrap();
    assert!(!logged.contains('\u{1b}') && logged.contains("error: "), "{logged}");
}

#[test]
fn what_is_not_understood_has_exit_code_2() {
    // Would make a typing error look like missing data.
    let terminal = Terminal::new();
    terminal.ok(&["init"]);
    for usage in [
        vec!["get", "bags", "17"],
        vec!["get", "_bags", MISSING],
        vec!["set", "bags", MISSING],
        vec!["put", "bags", "{}", "--space", ""],
        vec!["frobnicate"],
        vec!["sync"],
        vec!["set", "bags", MISSING, r#"id="x""#],
    ] {
        assert_eq!(terminal.error(2, &usage)["kind"], "usage", "{usage:?}");
    }
    for bad in ["{name}", "[1]", r#"{"a": {"$bytes": "0g"}}"#, r#"{"id": 1, "source_id": 2}"#] {
        assert_eq!(terminal.error(2, &["put", "bags", bad])["kind"], "bad_json", "{bad}");
    }
    let message = terminal.error(2, &["set", "bags", MISSING, "name=Guji"])["message"].to_string();
    assert!(message.contains("'name=\\\"Guji\\\"'"), "{message}");
    let human = terminal.run(&["set", "bags", MISSING, "name=Guji"]);
    assert!(human.code == 2 && human.stderr.contains(r#"'name="Guji"'"#), "{human:?}");
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    // Would overwrite whatever a mistyped path points at.
    let terminal = Terminal::new();
    let path = terminal.write("replica.redb", "my thesis");
    assert_eq!(terminal.error(1, &["put", "bags", "{}"])["kind"], "open");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "my thesis");
}

#[test]
fn completions_are_printed_for_every_shell() {
    // Would leave a shell with a script that does not know the verbs.
    let terminal = Terminal::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = terminal.ok(&["completions", shell]);
        assert!(script.contains("headwater") && script.contains("restore"), "{shell}");
    }
}

#[test]
fn the_default_replica_is_in_the_data_directory() {
    // Would put the replica where no backup looks, or in the current directory.
    let terminal = Terminal::new();
    for (variable, expected) in [("XDG_DATA_HOME", "headwater"), ("HOME", ".local/share/headwater")] {
        let home = terminal.path(variable);
        let mut command = terminal.command(&["init"]);
        assert!(
            command.env_remove("HEADWATER_REPLICA").env(variable, &home).output().unwrap().status.success()
        );
        assert!(home.join(expected).join("replica.redb").is_file());
    }
}

#[test]
fn verify_finds_a_damaged_change_and_quarantine_shows_it() {
    // Would leave a person with a damaged disk without a word, or without a way to see what is lost.
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", r#"{"name": "Guji"}"#]).trim().to_owned();
    terminal.ok(&["set", "bags", &id, "rating=4"]);
    assert_eq!(terminal.json(&["verify"])["set_aside"], json!([]));
    assert_eq!(terminal.ok(&["quarantine", "ls"]), "");
    {
        const CHANGES: redb::TableDefinition<&[u8; 24], &[u8]> = redb::TableDefinition::new("changes_v1");
        let database = redb::Database::open(terminal.path("replica.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(CHANGES).unwrap();
            let (key, mut value) = {
                let (key, value) = redb::ReadableTable::last(&table).unwrap().unwrap();
                (*key.value(), value.value().to_vec())
            };
            *value.last_mut().unwrap() ^= 1;
            table.insert(&key, value.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    let verified = terminal.run(&["verify"]);
    assert!(verified.code != 0 && verified.stderr.contains("1 change did not load"), "{verified:?}");
    assert!(verified.stdout.contains(&id), "{verified:?}");
    let listed = lines(&terminal.ok(&["quarantine", "ls", "--json"]));
    assert_eq!((listed.len(), &listed[0]["direction"]), (1, &json!("damaged")));
    let hash = listed[0]["hash"].as_str().unwrap();
    let shown = terminal.json(&["quarantine", "show", &hash[..8]]);
    assert_eq!(shown["entity"], json!(id));
    assert!(!shown["payload"].as_str().unwrap().is_empty());
    let released = terminal.error(1, &["quarantine", "release", &hash[..8]]);
    assert_eq!(released["kind"], json!("not_released"), "{released}");
    assert_eq!(terminal.error(1, &["quarantine", "show", "ffff"])["kind"], json!("not_found"));
    // What is whole is still there, and can be edited.
    assert_eq!(terminal.json(&["get", "bags", &id])["name"], json!("Guji"));
    terminal.ok(&["set", "bags", &id, "rating=5"]);
    assert_eq!(terminal.json(&["verify"])["set_aside"], json!([]));
}

#[test]
fn what_a_verdict_took_away_can_be_seen_exported_and_written_again() {
    // Would leave a person with a hash and a reason, and no way to the text behind them.
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", r#"{"name": "Guji", "brews": {"$counter": 5}}"#]).trim().to_owned();
    terminal.ok(&["set", "bags", &id, r#"name="Guji natural""#, "brews=7"]);
    let hash = quarantined(&terminal, &id);
    assert_eq!(terminal.json(&["get", "bags", &id])["name"], json!("Guji"));
    let shown = terminal.json(&["quarantine", "show", &hash[..8]]);
    assert_eq!(shown["content"]["set"], json!({"name": "Guji natural", "brews": {"$counter": 7}}));
    let exported = lines(&terminal.ok(&["quarantine", "export"]));
    assert_eq!((exported.len(), &exported[0]["content"]), (1, &shown["content"]));
    assert_eq!(lines(&terminal.ok(&["quarantine", "export", &hash[..8]])), exported);
    assert_eq!(terminal.json(&["quarantine", "apply", &hash[..8]])["changed"], json!(true));
    let now = terminal.json(&["get", "bags", &id]);
    assert_eq!((&now["name"], &now["brews"]), (&json!("Guji natural"), &json!(7)));
    assert_eq!(terminal.error(1, &["quarantine", "apply", "ffff"])["kind"], json!("not_found"));
}

/// Puts the last change of an entity into quarantine, as a relay's verdict does. Returns its hash.
fn quarantined(terminal: &Terminal, id: &str) -> String {
    let replica = headwater::Replica::open(terminal.path("replica.redb")).unwrap();
    let (space, entity) = (headwater::SpaceId::from_name("default"), id.parse().unwrap());
    let (hash, _) = replica.entity_changes(space, entity).unwrap().pop().unwrap();
    let reason = headwater_storage::Refusal { code: 32, message: "it does harm".to_owned() };
    let verdict =
        headwater::ingest::Verdict { at_ms: 1, quarantined: vec![(hash, reason)], released: Vec::new() };
    let records = vec![verdict.record(entity, "bags".parse().unwrap())];
    replica.merge(space, headwater::replica::MergeRequest { records, position: None }).unwrap();
    hash.to_string()
}
