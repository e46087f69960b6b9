//! A real session of two people who wrote one text together, replayed on two replicas through a real relay process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/data.rs"]
mod data;
#[allow(dead_code, reason = "other test binaries need more of it")]
#[path = "support/process.rs"]
mod process;

use std::collections::HashSet;
use std::time::Instant;

use headwater::{Collection, Direction, EntityId, Replica, SpaceId, SyncOptions, Text};
use process::RelayProcess;
use serde::{Deserialize, Serialize};

const SPACE: &str = "friends";

#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "endContent")]
    end_content: String,
    txns: Vec<Txn>,
}

#[derive(Deserialize)]
struct Txn {
    parents: Vec<usize>,
    agent: usize,
    patches: Vec<(usize, usize, String)>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    text: Text,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authors_end_with_the_same_text_as_the_original() {
    // Would garble a text that two people write at the same time, or miss an edit that crossed another one.
    let Some(json) = data::test_data("friendsforever.json.gz") else { return };
    let trace: Trace = serde_json::from_str(&json).unwrap();
    let started = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let relay = RelayProcess::start(&directory.path().join("relay"));
    let mut authors = ["a", "b"].map(|name| Author::open(directory.path().join(name), &relay.url));
    let note = EntityId::from_bytes([7; 16]);
    authors[0].notes.insert_with_id(note, &Note { text: Text::new() }).unwrap();
    authors[0].sync(Direction::Push, None).await;
    authors[1].sync(Direction::Pull, None).await;

    let needs = needs(&trace.txns);
    let handed_over: HashSet<usize> = needs.iter().flatten().copied().collect();
    let mut crossings = 0;
    for (index, txn) in trace.txns.iter().enumerate() {
        if let Some(needed) = needs[index] {
            let (author, other) = (txn.agent, 1 - txn.agent);
            authors[author].write(note);
            let upto = authors[other].changes_upto(needed);
            authors[other].push(upto).await;
            authors[author].sync(Direction::Pull, None).await;
            crossings += 1;
        }
        let author = &mut authors[txn.agent];
        author.edits.extend(txn.patches.iter().cloned());
        author.last = Some(index);
        if handed_over.contains(&index) {
            author.write(note);
        }
    }
    for author in &mut authors {
        author.write(note);
    }
    for author in [0, 1, 0] {
        authors[author].sync(Direction::Both, None).await;
    }
    for author in &authors {
        let text = author.notes.get(note).unwrap().unwrap().text;
        assert!(*text == *trace.end_content, "{:?} ends with another text", author.replica);
        assert_eq!(author.replica.space(SPACE).pending().unwrap(), 0);
    }
    let space = SpaceId::from_name(SPACE);
    let [a, b] =
        [&authors[0], &authors[1]].map(|author| author.replica.entity_positions(space, None, 10).unwrap());
    assert_eq!(a, b);
    println!("{} transactions, {crossings} crossings in {:?}", trace.txns.len(), started.elapsed());
}

/// One author: a replica, and the edits that wait to become its next change.
struct Author {
    replica: Replica,
    notes: Collection<Note>,
    url: String,
    edits: Vec<(usize, usize, String)>,
    /// The newest transaction that is in `edits` or was written.
    last: Option<usize>,
    written: u64,
    pushed: u64,
    /// (last transaction, changes written by then), in ascending order.
    marks: Vec<(usize, u64)>,
}

impl Author {
    fn open(path: std::path::PathBuf, url: &str) -> Author {
        let replica = Replica::open(path).unwrap();
        let notes = replica.space(SPACE).collection("notes").unwrap();
        let (url, edits, marks) = (url.to_owned(), Vec::new(), Vec::new());
        Author { replica, notes, url, edits, last: None, written: 0, pushed: 0, marks }
    }

    /// Makes one change of the waiting edits.
    fn write(&mut self, note: EntityId) {
        let Some(last) = self.last.filter(|_| !self.edits.is_empty()) else { return };
        let edits = std::mem::take(&mut self.edits);
        let receipt = self.notes.update(note, |note| {
            for (position, deleted, inserted) in &edits {
                note.text.splice(*position, *deleted, inserted);
            }
        });
        // Edits that cancel each other out make no change.
        self.written += u64::from(!receipt.unwrap().is_empty());
        self.marks.push((last, self.written));
    }

    /// How many changes were written when `txn` was.
    fn changes_upto(&self, txn: usize) -> u64 {
        let mark = self.marks.partition_point(|(last, _)| *last <= txn);
        mark.checked_sub(1).map_or(0, |mark| self.marks[mark].1)
    }

    /// Pushes the first `upto` changes, as far as they are not pushed.
    async fn push(&mut self, upto: u64) {
        let count = upto.saturating_sub(self.pushed);
        if count > 0 {
            let pushed = self.sync(Direction::Push, Some(count)).await;
            assert_eq!(pushed, count, "a bounded push pushes exactly its bound");
            self.pushed = upto;
        }
    }

    async fn sync(&self, direction: Direction, push_changes_max: Option<u64>) -> u64 {
        let mut options = SyncOptions::new([SpaceId::from_name(SPACE)]);
        options.direction = direction;
        options.push_changes_max = push_changes_max;
        self.replica.sync(&self.url, options).await.unwrap().pushed
    }
}

/// For each transaction that builds on something new of the other author: the newest of these.
fn needs(txns: &[Txn]) -> Vec<Option<usize>> {
    // txn -> the newest one of the other author that it knows of
    let mut known: Vec<Option<usize>> = Vec::with_capacity(txns.len());
    let mut newest = [None, None];
    let mut needs = Vec::with_capacity(txns.len());
    for txn in txns {
        let of_parent =
            |parent: &usize| if txns[*parent].agent == txn.agent { known[*parent] } else { Some(*parent) };
        let knows = txn.parents.iter().map(of_parent).max().flatten().max(newest[txn.agent]);
        needs.push(knows.filter(|_| knows > newest[txn.agent]));
        newest[txn.agent] = knows;
        known.push(knows);
    }
    needs
}
