use std::collections::HashMap;

use headwater_storage::{EntityId, SpaceId};

use crate::document::Document;

/// Documents kept loaded between edits, at most this many.
const DOCUMENTS_MAX: usize = 256;
/// And at most this many bytes of changes in them; in memory a document takes some ten times that.
const CHANGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The documents that were used last. Losing one costs a load, never data: the stored changes are the truth.
#[derive(Default)]
pub(super) struct DocumentCache {
    documents: HashMap<(SpaceId, EntityId), Entry>,
    change_bytes: usize,
    clock: u64,
}

struct Entry {
    document: Document,
    used: u64,
}

impl DocumentCache {
    /// Takes the document out. Whoever does so puts it back only once its changes are stored, so a failure cannot leave a
    /// document here that is ahead of the store.
    pub(super) fn take(&mut self, space: SpaceId, entity: EntityId) -> Option<Document> {
        let entry = self.documents.remove(&(space, entity))?;
        self.change_bytes -= entry.document.size_bytes();
        Some(entry.document)
    }

    pub(super) fn put(&mut self, space: SpaceId, entity: EntityId, document: Document) {
        let size = document.size_bytes();
        if size > CHANGE_BYTES_MAX {
            return;
        }
        self.clock += 1;
        let replaced = self.documents.insert((space, entity), Entry { document, used: self.clock });
        self.change_bytes += size;
        self.change_bytes -= replaced.map_or(0, |entry| entry.document.size_bytes());
        if self.documents.len() > DOCUMENTS_MAX || self.change_bytes > CHANGE_BYTES_MAX {
            self.evict();
        }
    }

    /// Drops the longer unused half, so that its cost is shared by many calls.
    fn evict(&mut self) {
        let mut uses: Vec<u64> = self.documents.values().map(|entry| entry.used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let oldest_kept = *median;
        self.documents.retain(|_, entry| entry.used >= oldest_kept);
        self.change_bytes = self.documents.values().map(|entry| entry.document.size_bytes()).sum();
    }
}
