use automerge::Automerge;
use bytes::Bytes;
use headwater::ingest::{Chunk, guarded, prevalidate_document};
use headwater::replica::MergeRequest;
use headwater::{Map, Replica, Value};
use headwater_storage::{ChangeRecord, PayloadKind};

use super::fixture::{COLLECTION, SPACE, entity, record, replica, space};
use super::repair::{Repair, repaired};

const TYPE_DOCUMENT: u8 = 0;

/// Any bytes as a snapshot, as they are and put right. What passes the check is loaded: with an error or a panic at worst, and
/// never with more memory or stack than there is. Then a replica gets it from its relay: it sets it aside, or begins an entity with
/// it that can be walked, edited and folded again.
pub fn snapshot(data: &[u8]) {
    let whole = Repair::Everything { chunk_type: TYPE_DOCUMENT };
    for bytes in [Bytes::copy_from_slice(data), repaired(data, Repair::Checksum), repaired(data, whole)] {
        let Ok(header) = prevalidate_document(&bytes) else { continue };
        let Ok(Ok(document)) = guarded(|| Automerge::load(&bytes)) else { continue };
        let mut heads: Vec<[u8; 32]> = document.get_heads().into_iter().map(|head| head.0).collect();
        heads.sort_unstable();
        let claimed: Vec<[u8; 32]> = header.heads.iter().map(|head| *head.as_bytes()).collect();
        assert_eq!(heads, claimed, "it loads to other heads than it claims");
        begins_an_entity(&replica(3), bytes);
    }
}

fn begins_an_entity(replica: &Replica, payload: Bytes) {
    let hash = Chunk::single(&payload).expect("it was checked").hash();
    let record = ChangeRecord { kind: PayloadKind::Snapshot, ..record(hash, payload) };
    let request = MergeRequest { records: vec![record], position: None };
    let merged = replica.merge(space(), request).expect("merges");
    assert_eq!(merged.set_aside + u64::from(merged.applied > 0), 1, "{merged:?}");
    let _found = replica.verify().expect("verifies");
    let things = replica.space(SPACE).dynamic(COLLECTION).expect("a name");
    // What it holds may be such that no edit of it is possible; then it says so.
    let _edited = things.set(entity(), Map::from([("note".into(), Value::Null)]));
    let _made = replica.compact_all().expect("compacts");
    let found = replica.verify().expect("verifies").set_aside;
    assert!(found.is_empty(), "what is left of it does not load: {found:?}");
}
