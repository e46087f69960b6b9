use std::collections::{HashMap, HashSet};

use automerge::{Automerge, Change};
use bytes::Bytes;
use headwater::ChangeHash;
use headwater::document::{Alarm, Culprit, Document, Examined, examine};
use headwater::ingest::{ChangeLimits, CheckedChange, check_record};

use super::fixture::{history, record};
use super::repair::{Repair, hash_of, parsed, plain, repaired};

/// Bytes of one mutation: the change, the position in it (two bytes), the new byte.
const MUTATION_BYTES: usize = 4;
const MUTATIONS_MAX: usize = 8;
const TYPE_CHANGE: u8 = 1;

/// The changes of a small document with some bytes replaced, as somebody makes them who means harm: with lengths, checksums and
/// dependencies that fit. What the checks let through, and the examination leaves in, makes a document that loads again.
pub fn ingest(data: &[u8]) {
    let mut accepted: Vec<CheckedChange> = Vec::new();
    let mut known: HashSet<ChangeHash> = HashSet::new();
    for payload in mutated(data) {
        let record = record(ChangeHash::from_bytes(hash_of(&payload)), payload);
        let Ok(checked) = check_record(&record, &ChangeLimits::default()) else { continue };
        // As in a feed: nothing comes before what it depends on.
        if checked.deps().iter().all(|dep| known.contains(dep)) && known.insert(checked.hash()) {
            accepted.push(checked);
        }
    }
    let mut document = Document::new();
    let applied = document.apply_checked(accepted.clone());
    let all: Vec<(ChangeHash, Bytes)> =
        accepted.iter().map(|change| (change.hash(), change.payload.clone())).collect();
    let examined = examine(all.clone());
    if examined.culprits.is_empty() && examined.alarm.is_none() {
        assert!(applied.is_ok(), "no culprit, and yet: {applied:?}");
        let mut heads = document.heads();
        heads.sort_unstable();
        assert_eq!(heads, examined.heads);
    }
    loads_again(&all, &examined);
}

fn loads_again(all: &[(ChangeHash, Bytes)], examined: &Examined) {
    let culprits: HashSet<ChangeHash> = examined.culprits.iter().map(Culprit::hash).collect();
    assert_eq!(culprits.len(), examined.culprits.len(), "a culprit is named twice");
    let left: Vec<Change> = all
        .iter()
        .filter(|(hash, _)| !culprits.contains(hash))
        .map(|(_, payload)| parsed(payload).expect("an accepted change does not parse"))
        .collect();
    assert_ne!(examined.alarm, Some(Alarm::LooksDiffer), "one input, and two findings");
    let Some(snapshot) = &examined.snapshot else {
        assert!(left.is_empty() || examined.alarm.is_some(), "changes are left, and there is no snapshot");
        return;
    };
    let mut engine = Automerge::new();
    engine.apply_changes(left).expect("what is left does not apply");
    assert_eq!(heads(&engine), examined.heads);
    let loaded = Automerge::load(snapshot).expect("the snapshot does not load");
    assert_eq!(heads(&loaded), examined.heads);
    let again = Automerge::load(&engine.save()).expect("what is left does not load again");
    assert_eq!(heads(&again), examined.heads);
}

fn heads(document: &Automerge) -> Vec<ChangeHash> {
    let mut heads: Vec<ChangeHash> =
        document.get_heads().into_iter().map(|head| ChangeHash::from_bytes(head.0)).collect();
    heads.sort_unstable();
    heads
}

/// The history with the mutations of `data`. A change whose dependency has another hash now depends on that one.
fn mutated(data: &[u8]) -> Vec<Bytes> {
    let history = history();
    let mut renamed: HashMap<[u8; 32], [u8; 32]> = HashMap::new();
    let mut changes = Vec::with_capacity(history.len());
    for (index, (hash, payload)) in history.iter().enumerate() {
        let mut bytes = plain(payload).to_vec();
        let places = if renamed.is_empty() { 0 } else { bytes.len().saturating_sub(31) };
        for at in 0..places {
            let window = &mut bytes[at..at + 32];
            if let Some(new) = <[u8; 32]>::try_from(&*window).ok().and_then(|old| renamed.get(&old)) {
                window.copy_from_slice(new);
            }
        }
        for mutation in data.chunks_exact(MUTATION_BYTES).take(MUTATIONS_MAX) {
            if usize::from(mutation[0]) % history.len() == index {
                let position = usize::from(u16::from_be_bytes([mutation[1], mutation[2]])) % bytes.len();
                bytes[position] = mutation[3];
            }
        }
        let bytes = repaired(&bytes, Repair::Everything { chunk_type: TYPE_CHANGE });
        let new = hash_of(&bytes);
        if new != *hash.as_bytes() {
            renamed.insert(*hash.as_bytes(), new);
        }
        changes.push(bytes);
    }
    changes
}
