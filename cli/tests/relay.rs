//! `sync` and `watch`, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "not every test file uses every helper")]

#[path = "support/serving.rs"]
mod serving;
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use headwater::ingest::{ChangeLimits, check_change};
use headwater::{EntityId, Replica, SpaceId};
use headwater_fuzz::hostile::low_operation;
use headwater_storage::{
    Bytes, Commit, EntityWrite, NewChange, NewReplica, Outbox, PayloadKind, ReplicaStore, Step,
};
use serde_json::{Value as Json, json};
use serving::{PATIENCE, Relay};
use support::{Terminal, lines};

#[test]
fn edits_of_two_devices_to_one_entity_both_arrive() {
    // Would break what this is all for.
    let relay = Relay::start();
    let (a, b) = (Terminal::new(), Terminal::new());
    let sync = ["sync", "--relay", &relay.url];
    let id = a
        .ok(&["put", "bags", r#"{"name": "Guji", "rating": 4, "notes": {"$text": "jasmine"}}"#])
        .trim()
        .to_owned();
    let report = a.json(&sync);
    assert_eq!(
        (&report["pushed"], &report["rejected"], &report["pending"]),
        (&json!(2), &json!(0), &json!(0)),
        "the text, which nobody made, and the rest"
    );
    assert!(report["bytes_sent"].as_u64() > Some(0) && report["elapsed_ms"].is_u64());
    assert_eq!(b.json(&sync)["pulled"], 2);
    a.ok(&["set", "bags", &id, "rating=5", r#"notes="bergamot, jasmine""#]);
    b.ok(&["set", "bags", &id, r#"name="Guji Highland""#, r#"notes="jasmine, lime""#]);
    assert!(a.ok(&sync).starts_with("pushed 1 change, pulled 0"));
    for terminal in [&b, &a] {
        terminal.ok(&sync);
    }
    let merged = json!({"id": id, "name": "Guji Highland", "rating": 5, "notes": "bergamot, jasmine, lime"});
    assert_eq!(a.json(&["get", "bags", &id]), merged);
    assert_eq!(b.json(&["get", "bags", &id]), merged);
    assert_eq!(a.json(&["status"])["spaces"][0]["position"]["seq"], 4);
    assert!(a.ok(&sync).starts_with("pushed 0 changes, pulled 0"));
}

#[test]
fn a_log_says_what_happens_inside_and_nothing_of_what_is_in_the_entities() {
    // Would leave whoever looks for a fault without a trace, or put people's data into logs.
    let relay = Relay::start();
    let (a, b) = (Terminal::new(), Terminal::new());
    let sync = ["sync", "--relay", &relay.url];
    let log_of = |terminal: &Terminal| {
        let ran = terminal.command(&sync).env("RUST_LOG", "debug").env("NO_COLOR", "1").output().unwrap();
        assert!(ran.status.success());
        String::from_utf8(ran.stderr).unwrap()
    };
    let secret = "bergamot-1739";
    a.ok(&["put", "bags", &json!({ "name": secret, "notes": {"$text": secret} }).to_string()]);
    let (pushing, pulling) = (log_of(&a), log_of(&b));
    for line in ["connecting", "connected", "the space is open", "pushed", "a push was answered", "closing"] {
        assert!(pushing.contains(line), "{line}: {pushing}");
    }
    for line in ["caught up", "merged", "the round is over", "pulled=2"] {
        assert!(pulling.contains(line), "{line}: {pulling}");
    }
    assert!(!pushing.contains(secret) && !pulling.contains(secret));
}

#[test]
fn a_relay_that_cannot_be_reached_has_exit_code_1() {
    // Would let a script believe that its data is safe elsewhere.
    let terminal = Terminal::new();
    terminal.ok(&["put", "bags", "{}"]);
    // Port 1 is reserved, and nothing listens there.
    let error = terminal.error(1, &["sync", "--relay", "ws://127.0.0.1:1"]);
    assert_eq!(error["kind"], "sync");
    assert_eq!(terminal.json(&["status"])["pending"], 1);
    assert_eq!(terminal.error(2, &["sync", "--relay", "carrier pigeon"])["kind"], "usage");
}

#[test]
fn watch_prints_changes_as_they_come_and_ends_on_ctrl_c() {
    // Would leave a script that waits for news without any, or running for ever.
    let relay = Relay::start();
    let (a, b) = (Terminal::new(), Terminal::new());
    let mut command = b.command(&["watch", "bags", "--json", "--relay", &relay.url]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let news = lines_of(&mut watch);
    let sync = ["sync", "--relay", &relay.url];
    let id = a.ok(&["put", "bags", r#"{"name": "Guji"}"#]).trim().to_owned();
    a.ok(&["put", "lists", "{}"]);
    a.ok(&sync);
    let created: Json = serde_json::from_str(&news.recv_timeout(PATIENCE).unwrap()).unwrap();
    let expected = json!({"kind": "created", "collection": "bags", "id": id, "fields": {"name": "Guji"}, "origin": "remote"});
    assert_eq!(created, expected);
    a.ok(&["set", "bags", &id, "rating=5"]);
    a.ok(&sync);
    let updated = lines(&news.recv_timeout(PATIENCE).unwrap());
    assert_eq!((&updated[0]["kind"], &updated[0]["fields"]), (&json!("updated"), &json!({"rating": 5})));
    a.ok(&["rm", "bags", &id]);
    a.ok(&sync);
    assert_eq!(lines(&news.recv_timeout(PATIENCE).unwrap())[0]["kind"], "deleted");
    interrupt(&watch);
    assert_eq!(ended(&mut watch), Some(0));
}

#[test]
fn watch_prints_that_a_change_is_taken_away_and_what_it_had_written() {
    // Would let an edit disappear under whoever watches, with a line about a field that went back at best.
    let relay = Relay::start();
    let terminal = Terminal::new();
    let id = terminal.ok(&["put", "bags", r#"{"name": "Guji"}"#]).trim().to_owned();
    let hash = queue_harmful(&terminal, id.parse().unwrap());
    // Another collection's watch has nothing to say about it.
    for (collection, is_told) in [("bags", true), ("lists", false)] {
        let copy = Terminal::new();
        std::fs::copy(terminal.path("replica.redb"), copy.path("replica.redb")).unwrap();
        let mut command = copy.command(&["watch", collection, "--json", "--relay", &relay.url]);
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
        let news = lines_of(&mut watch);
        if is_told {
            let notice = std::iter::from_fn(|| news.recv_timeout(PATIENCE).ok())
                .map(|line| serde_json::from_str::<Json>(&line).unwrap())
                .find(|news| news["hash"] == hash)
                .expect("nobody is told");
            assert_eq!(
                (&notice["kind"], &notice["collection"], &notice["id"]),
                (&json!("quarantined"), &json!("bags"), &json!(id))
            );
            assert!(notice["reason"].as_str().unwrap().contains("out of order"), "{notice}");
            assert_eq!((&notice["own"], notice["content"].is_object()), (&json!(false), true), "{notice}");
        } else {
            until(&copy, |status| status["connection"]["phase"] == "up_to_date");
            assert_eq!(news.try_recv().ok(), None);
        }
        interrupt(&watch);
        assert_eq!(ended(&mut watch), Some(0));
    }
}

/// Puts a change that would keep an entity from loading into a replica's outbox, as no call of the replica does. Returns its hash.
fn queue_harmful(terminal: &Terminal, entity: EntityId) -> String {
    let path = terminal.path("replica.redb");
    let space = SpaceId::from_name("default");
    let (genuine, device): (Vec<Bytes>, _) = {
        let replica = Replica::open(&path).unwrap();
        let changes = replica.entity_changes(space, entity).unwrap();
        (changes.into_iter().map(|(_, payload)| payload).collect(), replica.device_id())
    };
    let payload = low_operation(&genuine).unwrap();
    let hash = check_change(&payload, &ChangeLimits::default()).unwrap().hash();
    let store = ReplicaStore::open(&path, NewReplica { device, created_ms: 0 }).unwrap();
    let change = NewChange { kind: PayloadKind::Change, hash, payload, outbox: Outbox::Queue };
    let mut commit = Commit::new(space, 1_700_000_000_000);
    let collection = "bags".parse().unwrap();
    let write = EntityWrite { entity, collection, changes: vec![change], row: None };
    commit.steps.push(Step::Write(write));
    store.commit(commit).unwrap();
    hash.to_string()
}

#[test]
fn counters_that_are_counted_beyond_64_bits_stand_at_the_end_on_every_device() {
    // Would show two people who each added a lot that they took something away.
    let relay = Relay::start();
    let (a, b) = (Terminal::new(), Terminal::new());
    let sync = ["sync", "--relay", &relay.url];
    let id = a.ok(&["put", "bags", r#"{"up": {"$counter": 0}, "l": [{"$counter": -1}]}"#]).trim().to_owned();
    a.ok(&sync);
    b.ok(&sync);
    for terminal in [&a, &b] {
        terminal.ok(&["set", "bags", &id, "up=9223372036854775807", "l=[-9223372036854775808]"]);
    }
    for terminal in [&a, &b, &a] {
        terminal.ok(&sync);
    }
    let exported = a.ok(&["export", "bags"]);
    assert_eq!(exported, b.ok(&["export", "bags"]));
    assert_eq!(lines(&exported)[0]["up"], json!({"$counter": i64::MAX}));
    assert_eq!(lines(&exported)[0]["l"], json!([{"$counter": i64::MIN}]));
    // What is set from there is what it is set to.
    a.ok(&["set", "bags", &id, "up=7"]);
    a.ok(&sync);
    b.ok(&sync);
    assert_eq!(b.json(&["get", "bags", &id])["up"], 7);
}

#[cfg(unix)]
#[test]
fn status_asks_a_watch_that_has_the_replica_open() {
    // Would leave whoever keeps a watch running without a way to see whether it works.
    use std::os::unix::fs::PermissionsExt;
    let relay = Relay::start();
    let terminal = Terminal::new();
    terminal.ok(&["put", "bags", "{}"]);
    assert_eq!(terminal.json(&["status"])["connection"], json!(null));
    let socket = terminal.path("replica.redb.watch");
    // Left behind by one that was killed: nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut watch = watch(&terminal, &relay.url);
    let deadline = Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "the watch does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = until(&terminal, |status| status["connection"]["phase"] == "up_to_date");
    assert_eq!(status["connection"]["error"], json!(null));
    assert!(status["connection"]["last_synced_ms"].as_i64() > Some(1_500_000_000_000), "{status}");
    assert_eq!((&status["pending"], &status["connection"]["pending"]), (&json!(0), &json!(0)));
    assert_eq!(status["spaces"][0]["collections"], json!({"bags": 1}));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let text = terminal.ok(&["status"]);
    assert!(text.contains("watch     up to date") && text.contains("bags: 1 entity\n"), "{text}");
    let other_space = terminal.json(&["status", "--space", "team"]);
    assert_ne!(other_space["space"], status["space"]);
    // Everything else still needs the file.
    assert_eq!(terminal.error(1, &["ls", "bags"])["kind"], "in_use");
    // Nonsense, silence and a reader who leaves do it no harm.
    use std::io::Write;
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"{}\n", b"\xff\xff\n", &[b'x'; 10_000]] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        // It may have hung up before all of it was said.
        let _is_taken = stream.write_all(nonsense).is_ok();
    }
    let silent: Vec<_> = (0..4).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    drop(relay);
    let status = until(&terminal, |status| status["connection"]["phase"] != "up_to_date");
    assert!(["offline", "connecting"].contains(&status["connection"]["phase"].as_str().unwrap()), "{status}");
    interrupt(&watch);
    assert_eq!(ended(&mut watch), Some(0));
    drop(silent);
    assert!(!socket.exists());
    assert_eq!(terminal.json(&["status"])["connection"], json!(null));
}

#[cfg(unix)]
#[test]
fn what_is_in_the_place_of_the_socket_is_left_alone() {
    // Would remove another program's file, or believe what another program answers.
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    let relay = Relay::start();
    let terminal = Terminal::new();
    terminal.ok(&["init"]);
    let socket = terminal.write("replica.redb.watch", "my thesis");
    let mut first = watch(&terminal, &relay.url);
    let mut said = BufReader::new(first.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("cannot ask this watch")));
    assert_eq!(terminal.error(1, &["status"])["kind"], "in_use");
    interrupt(&first);
    assert_eq!(ended(&mut first), Some(0));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "my thesis");
    std::fs::remove_file(&socket).unwrap();
    // Another program listens there, and answers something else.
    let listener = UnixListener::bind(&socket).unwrap();
    let mut second = watch(&terminal, &relay.url);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 64];
            let _is_asked = stream.read(&mut asked).is_ok();
            let _is_told = stream.write_all(b"{\"status\": 5}\n").is_ok();
        }
    });
    let mut said = BufReader::new(second.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("cannot ask this watch")));
    assert_eq!(terminal.error(1, &["status"])["kind"], "in_use");
    interrupt(&second);
    assert_eq!(ended(&mut second), Some(0));
    assert!(socket.exists());
}

/// A watch as a process.
fn watch(terminal: &Terminal, url: &str) -> Child {
    let mut command = terminal.command(&["watch", "--relay", url]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Asks for the status until it is as it should be.
fn until(terminal: &Terminal, is_so: impl Fn(&Json) -> bool) -> Json {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = terminal.json(&["status"]);
        if is_so(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The exit code of a process that was told to end.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        let is_late = Instant::now() > deadline;
        if is_late {
            child.kill().unwrap();
        }
        assert!(!is_late, "it did not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of a process as they come.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

/// What ctrl-c does.
fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}
