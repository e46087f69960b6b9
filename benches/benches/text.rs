//! L6: the keystrokes of a paper through the text API, beside Automerge alone: replay, size, and loading.

use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{Automerge, ObjType, ROOT};
use criterion::Criterion;
use headwater::document::Document;
use headwater::{Replica, Text};
use headwater_benches::prepared::{self, Fixed};
use headwater_benches::table::{Table, time};
use headwater_benches::{OrExit, data, run, scaled};
use serde::{Deserialize, Serialize};

const NAME: &str = "text";
/// The first keystrokes of the paper: one commit each takes as long as the text is.
const KEYSTROKES: usize = 20_000;
/// Keystrokes in one commit, as an editor that saves twice a second makes them.
const TOGETHER: usize = 10;

#[derive(Deserialize)]
struct Trace {
    txns: Vec<Txn>,
}

#[derive(Deserialize)]
struct Txn {
    patches: Vec<(usize, usize, String)>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    text: Text,
}

fn main() {
    run(NAME, bench);
}

fn bench(_criterion: &mut Criterion) {
    let Some(json) = data::read("automerge-paper.json.gz") else { return };
    let trace: Trace = serde_json::from_str(&json).or_exit("reading the trace");
    let keystrokes: Vec<_> =
        trace.txns.into_iter().flat_map(|txn| txn.patches).take(scaled(KEYSTROKES)).collect();
    for together in [1, TOGETHER] {
        let (of_automerge, document) = by_automerge(&keystrokes, together);
        let (of_replica, changes) = by_replica(&keystrokes, together);
        let saved = document.save();
        let (load, ()) = time(|| drop(Automerge::load(&saved).or_exit("loading")));
        let (from_changes, ()) =
            time(|| drop(Document::from_changes(changes.iter().cloned()).or_exit("loading")));
        let bytes: usize = changes.iter().map(|change| change.len()).sum();
        let title = format!("L6: {} keystrokes of a paper, {together} a commit, in memory", keystrokes.len());
        let table = Table::new(&title)
            .goal("1.2 times automerge")
            .row("replica: splices through `update`", of_replica)
            .row("automerge: splice and commit", of_automerge)
            .row("   loading all changes into a document", from_changes)
            .row("   automerge: loading what it saved", load)
            .note(format!("{} KB of changes; saved as one, {} KB", bytes / 1000, saved.len() / 1000));
        print!("{table}");
    }
}

fn by_replica(keystrokes: &[(usize, usize, String)], together: usize) -> (Duration, Vec<bytes::Bytes>) {
    let replica = Replica::in_memory(Fixed::seeded(1)).or_exit("opening a replica");
    let notes = replica.space(prepared::SPACE).collection::<Note>("notes").or_exit("opening the collection");
    let id = notes.insert(&Note { text: Text::new() }).or_exit("inserting").id;
    let (took, ()) = time(|| {
        for commit in keystrokes.chunks(together) {
            let edit = |note: &mut Note| {
                for (position, deleted, inserted) in commit {
                    note.text.splice(*position, *deleted, inserted);
                }
            };
            notes.update(id, edit).or_exit("editing");
        }
    });
    let changes = replica.entity_changes(prepared::space(), id).or_exit("reading changes");
    (took, changes.into_iter().map(|(_, payload)| payload).collect())
}

fn by_automerge(keystrokes: &[(usize, usize, String)], together: usize) -> (Duration, Automerge) {
    let mut document = Automerge::new();
    let mut transaction = document.transaction();
    let text = transaction.put_object(ROOT, "text", ObjType::Text).or_exit("making a text");
    transaction.commit();
    let (took, ()) = time(|| {
        for commit in keystrokes.chunks(together) {
            let mut transaction = document.transaction();
            for (position, deleted, inserted) in commit {
                let deleted = isize::try_from(*deleted).unwrap_or(isize::MAX);
                transaction.splice_text(&text, *position, deleted, inserted).or_exit("splicing");
            }
            transaction.commit();
            std::hint::black_box(document.get_last_local_change().map(|change| change.raw_bytes().len()));
        }
    });
    (took, document)
}
