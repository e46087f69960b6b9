//! The real server and client processes, over the real protocol, with small numbers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use headwater_compare_adapter::{Answer, Command};
use serde_json::json;
use tempfile::TempDir;

const DOCUMENTS: usize = 20;
const SUBSCRIBERS: usize = 5;
const MARKER: f64 = 7.25;

#[test]
fn documents_reach_another_client_and_stay_current() {
    // Would measure clients that have less than what was written.
    let server = Server::start();
    let (records, ids) = (server.records(), server.path("ids"));
    let mut writer = server.client("writer");
    let fill = Command::Fill { records, documents: DOCUMENTS, ids: ids.clone() };
    assert!(seconds(writer.ask(&fill)) > 0.0);
    let listed: Vec<String> = serde_json::from_slice(&fs::read(&ids).unwrap()).unwrap();
    assert_eq!(listed.len(), DOCUMENTS);

    let mut reader = server.client("reader");
    match reader.ask(&Command::Fetch { ids: ids.clone() }) {
        Answer::Fetched { seconds, documents } => assert!(seconds > 0.0 && documents == DOCUMENTS),
        other => panic!("{other:?}"),
    }
    // The change that makes the document, and five edits.
    assert_eq!(files(&server.path("reader")).len(), DOCUMENTS * 6);

    assert_eq!(reader.ask(&Command::Disconnect), Answer::Done {});
    let unchanged = Command::Reconnect { ids: ids.clone(), changed: 0, marker: MARKER };
    assert!(seconds(reader.ask(&unchanged)) > 0.0);

    assert_eq!(reader.ask(&Command::Disconnect), Answer::Done {});
    let edit = Command::Edit { ids: ids.clone(), documents: 5, marker: MARKER };
    assert!(seconds(writer.ask(&edit)) > 0.0);
    let changed = Command::Reconnect { ids, changed: 5, marker: MARKER };
    assert!(seconds(reader.ask(&changed)) > 0.0);
}

#[test]
fn nothing_arrives_while_disconnected() {
    // Would measure a reconnect that happened long before the clock started.
    let server = Server::start();
    let (records, ids) = (server.records(), server.path("ids"));
    let mut writer = server.client("writer");
    writer.ask(&Command::Fill { records, documents: 1, ids: ids.clone() });
    let mut reader = server.client("reader");
    reader.ask(&Command::Fetch { ids: ids.clone() });
    reader.ask(&Command::Disconnect);
    let before = files(&server.path("reader"));
    writer.ask(&Command::Edit { ids, documents: 1, marker: MARKER });
    // Longer than samod waits before it dials again.
    sleep(Duration::from_millis(500));
    assert_eq!(files(&server.path("reader")), before);
}

#[test]
fn live_workloads_count_every_edit() {
    // Would report latencies of some of the edits as if they were all.
    let server = Server::start();
    let records = server.records();
    let mut client = server.client("client");
    let propagate = Command::Propagate { records: records.clone(), documents: DOCUMENTS, edits: 30, warm: 5 };
    match client.ask(&propagate) {
        Answer::Propagated { latencies_ms } => all_positive(&latencies_ms, 30),
        other => panic!("{other:?}"),
    }
    for waits in [true, false] {
        match client.ask(&Command::Write { records: records.clone(), writers: 4, edits: 10, waits }) {
            Answer::Written { seconds, edits } => assert!(seconds > 0.0 && edits == 40),
            other => panic!("{other:?}"),
        }
    }
    let fan_out =
        Command::FanOut { records: records.clone(), subscribers: SUBSCRIBERS, per_second: 50, edits: 20 };
    match client.ask(&fan_out) {
        Answer::Delivered { latencies_ms, delivered, expected } => {
            assert_eq!((delivered, expected), (20 * SUBSCRIBERS, 20 * SUBSCRIBERS));
            all_positive(&latencies_ms, delivered);
        }
        other => panic!("{other:?}"),
    }
    let idle = Command::Idle { records, connections: SUBSCRIBERS };
    assert_eq!(client.ask(&idle), Answer::Connected { connections: SUBSCRIBERS });
}

#[test]
fn a_client_answers_what_it_cannot_do_and_lives_on() {
    // Would end the whole comparison with one failure.
    let server = Server::start();
    let mut client = server.client("client");
    assert!(matches!(client.ask_line("not JSON"), Answer::Failed { .. }));
    let missing = Command::Fetch { ids: server.path("missing") };
    assert!(matches!(client.ask(&missing), Answer::Failed { .. }));
    let records = server.records();
    let idle = Command::Idle { records, connections: 1 };
    assert_eq!(client.ask(&idle), Answer::Connected { connections: 1 });
}

fn seconds(answer: Answer) -> f64 {
    match answer {
        Answer::Elapsed { seconds } => seconds,
        other => panic!("{other:?}"),
    }
}

fn all_positive(latencies_ms: &[f64], count: usize) {
    assert_eq!(latencies_ms.len(), count);
    assert!(latencies_ms.iter().all(|&latency| latency > 0.0));
}

/// The files of documents in a client's store, without the id that each store has.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.components().any(|part| part.as_os_str() == "incremental") {
                files.push(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

struct Server {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = program()
            .args(["server", "--port", &port.to_string(), "--directory"])
            .arg(directory.path().join("server"))
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the server does not listen");
            sleep(Duration::from_millis(20));
        }
        Server { process, port, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn records(&self) -> PathBuf {
        // An edit to the value that a field has already is no change in Automerge, so no rating is that of the edit.
        let record = |number: usize| {
            let fields =
                json!({ "name": "a b c", "rating": 3.0 + number as f64 / 10.0, "price": 9, "decaf": false });
            json!({ "fields": fields, "edits": [
                { "rating": 1.5 }, { "price": 12.25 }, { "weight_g": 232 }, { "altitude_m": 901 }, { "decaf": true },
            ] })
        };
        let records: Vec<_> = (0..DOCUMENTS).map(record).collect();
        let file = self.path("records");
        fs::write(&file, serde_json::to_vec(&records).unwrap()).unwrap();
        file
    }

    /// A client process that has opened its store.
    fn client(&self, name: &str) -> ClientProcess {
        let mut process =
            program().arg("client").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut client = ClientProcess { process, stdin: Some(stdin), stdout };
        let url = format!("ws://127.0.0.1:{}", self.port);
        assert_eq!(client.ask(&Command::Open { url, directory: self.path(name) }), Answer::Done {});
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct ClientProcess {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl ClientProcess {
    fn ask(&mut self, command: &Command) -> Answer {
        self.ask_line(&serde_json::to_string(command).unwrap())
    }

    fn ask_line(&mut self, line: &str) -> Answer {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

/// A client ends by itself when its stdin ends.
impl Drop for ClientProcess {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let status = self.process.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "{status}");
    }
}

fn program() -> Process {
    Process::new(env!("CARGO_BIN_EXE_headwater-compare-samod"))
}
