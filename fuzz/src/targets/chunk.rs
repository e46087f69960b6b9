use bytes::Bytes;
use headwater::ingest::{ChangeLimits, check_change, prevalidate_change, prevalidate_document, split_chunks};

use super::repair::{Repair, parsed, repaired};

const TYPE_CHANGE: u8 = 1;

/// Any bytes as a change: as they are, with the checksum put right, and with the length put right too. Nothing panics, and what is
/// taken is to the merge engine the very change that it is to the checks.
pub fn chunk(data: &[u8]) {
    let whole = Repair::Everything { chunk_type: TYPE_CHANGE };
    for bytes in [Bytes::copy_from_slice(data), repaired(data, Repair::Checksum), repaired(data, whole)] {
        splits(&bytes);
        let _header = prevalidate_document(&bytes);
        change(&bytes);
    }
}

/// Chunks come one after the other, and together are the bytes up to the first that is none.
fn splits(bytes: &Bytes) {
    let mut at = 0;
    for chunk in split_chunks(bytes.clone()) {
        let Ok(chunk) = chunk else { return };
        assert_eq!(chunk.bytes, bytes.slice(at..at + chunk.bytes.len()));
        assert!(chunk.bytes.ends_with(chunk.body()));
        at += chunk.bytes.len();
    }
    assert_eq!(at, bytes.len(), "bytes that are in no chunk");
}

fn change(payload: &Bytes) {
    let limits = ChangeLimits::default();
    let prevalidated = prevalidate_change(payload, &limits);
    let Ok(checked) = check_change(payload, &limits) else { return };
    let header = prevalidated.expect("the second check takes what the first refuses");
    assert_eq!(header, checked.header);
    let parsed = parsed(payload).expect("the engine refuses what the check takes");
    let deps: Vec<[u8; 32]> = parsed.deps().iter().map(|dep| dep.0).collect();
    let claimed: Vec<[u8; 32]> = checked.deps().iter().map(|dep| *dep.as_bytes()).collect();
    assert_eq!(parsed.hash().0, *checked.hash().as_bytes());
    assert_eq!(deps, claimed);
    assert_eq!(parsed.actor_id().to_bytes(), &header.actor[..]);
    assert_eq!(
        (parsed.seq(), parsed.start_op().get(), parsed.len() as u64, parsed.max_op()),
        (header.seq, header.start_op, header.operations, header.max_op())
    );
}
