use std::path::PathBuf;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT};
use bytes::Bytes;
use headwater::document::{Document, examine};
use headwater::ingest::{ChangeLimits, IngestError, check_change};
use headwater_fuzz::hostile::{self, Attack};

/// The entity that is attacked.
pub(crate) fn genuine() -> Vec<Bytes> {
    let mut document = AutoCommit::new();
    document.put(ROOT, "name", "Guji").unwrap();
    let tags = document.put_object(ROOT, "tags", ObjType::List).unwrap();
    document.insert(&tags, 0, "floral").unwrap();
    let first = document.get_last_local_change().unwrap();
    document.put(ROOT, "name", "Guji natural").unwrap();
    let second = document.get_last_local_change().unwrap();
    [first, second].map(|change| Bytes::copy_from_slice(change.raw_bytes())).into()
}

/// Which step stops an attack.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// The checks of the change by itself.
    Check,
    /// The feed's index, which knows the author's numbers and the entity's operations.
    Index,
    /// The document: it does not apply, or cannot be saved and loaded.
    Document,
    /// It does no harm.
    Harmless,
}

fn stop(genuine: &[Bytes], changes: &[Bytes]) -> Stopped {
    let limits = ChangeLimits::default();
    if changes.iter().all(|change| check_change(change, &limits).is_err()) {
        return Stopped::Check;
    }
    let known: Vec<_> = genuine.iter().map(|change| check_change(change, &limits).unwrap()).collect();
    let highest = known.iter().map(|change| change.header.max_op()).max().unwrap();
    let refused_by_index = changes.iter().all(|change| {
        let header = check_change(change, &limits).unwrap().header;
        let last =
            known.iter().filter(|known| known.header.actor == header.actor).map(|known| known.header.seq);
        header.seq != last.max().unwrap_or(0) + 1
            || header.start_op > highest + limits.operation_ahead_max
            || header.deps.iter().any(|dep| known.iter().all(|known| known.hash() != *dep))
    });
    if refused_by_index {
        return Stopped::Index;
    }
    let all = genuine.iter().chain(changes);
    let all = all.map(|change| (check_change(change, &limits).unwrap().hash(), change.clone())).collect();
    let examined = examine(all);
    assert!(examined.culprits.len() <= changes.len(), "honest changes are left out: {:?}", examined.culprits);
    if examined.culprits.is_empty() { Stopped::Harmless } else { Stopped::Document }
}

#[test]
fn every_attack_is_stopped_where_it_should_be() {
    // Would let the attack through, or give up the cheap check and rely on a later one.
    let genuine = genuine();
    for Attack { name, changes } in Attack::all(&genuine).unwrap() {
        let expected = match name {
            "ten million operations in 113 bytes"
            | "64 MB in 62 KB"
            | "the highest operation number"
            | "an unknown actor" => Stopped::Check,
            "a number that is taken"
            | "operations numbered far ahead"
            | "changes whose dependencies never come" => Stopped::Index,
            _ => Stopped::Document,
        };
        assert_eq!(stop(&genuine, &changes), expected, "{name}");
    }
}

#[test]
fn the_measured_samples_are_refused_as_ours_are() {
    // Would guard against imitations of the attacks, and not against the attacks.
    let data = std::env::var_os("HEADWATER_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let samples = data.join("hostile");
    let Ok(nulls) = std::fs::read(samples.join("change-rle-10m-nulls.bin")) else {
        println!("skipped: there are no samples in {}", samples.display());
        return;
    };
    let limits = ChangeLimits::default();
    let refused = |bytes: Vec<u8>| check_change(&Bytes::from(bytes), &limits).unwrap_err();
    assert!(matches!(refused(nulls), IngestError::TooMany { .. }));
    let string = std::fs::read(samples.join("change-string-64mb.bin")).unwrap();
    assert!(matches!(refused(string), IngestError::TooLarge { .. }));
    let bloom = std::fs::read(samples.join("sync-bloom-zero-bits.bin")).unwrap();
    assert_eq!(bloom, hostile::bloom_without_bits());
}

#[test]
fn changes_that_come_before_what_they_build_on_wait() {
    // Would lose them, or apply them to nothing.
    let genuine = genuine();
    let mut document = Document::new();
    document.apply(&genuine[1..]).unwrap();
    assert_eq!((document.waiting_len(), document.heads().len()), (1, 0));
    document.apply(&genuine[..1]).unwrap();
    assert_eq!(document.waiting_len(), 0);
    assert_eq!(document.heads(), Document::from_changes(genuine).unwrap().heads());
}
