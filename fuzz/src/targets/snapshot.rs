use automerge::Automerge;
use bytes::Bytes;
use headwater::ingest::{guarded, prevalidate_document};

use super::repair::{Repair, repaired};

const TYPE_DOCUMENT: u8 = 0;

/// Any bytes as a snapshot, as they are and put right. What passes the check is loaded: with an error or a panic at worst, and
/// never with more memory or stack than there is.
pub fn snapshot(data: &[u8]) {
    let whole = Repair::Everything { chunk_type: TYPE_DOCUMENT };
    for bytes in [Bytes::copy_from_slice(data), repaired(data, Repair::Checksum), repaired(data, whole)] {
        let Ok(header) = prevalidate_document(&bytes) else { continue };
        let Ok(Ok(document)) = guarded(|| Automerge::load(&bytes)) else { continue };
        let mut heads: Vec<[u8; 32]> = document.get_heads().into_iter().map(|head| head.0).collect();
        heads.sort_unstable();
        let claimed: Vec<[u8; 32]> = header.heads.iter().map(|head| *head.as_bytes()).collect();
        assert_eq!(heads, claimed, "it loads to other heads than it claims");
    }
}
