//! The store of a client, which can tell when a document is in it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use automerge::ChangeHash;
use headwater_compare_adapter::Result;
use samod::DocumentId;
use samod::storage::{Storage, StorageKey, TokioFilesystemStorage};
use tokio::sync::watch;

/// With more changes than this samod writes a document as one file, which does not name the changes in it.
const CHANGES_MAX: usize = 10;

/// samod's file-system storage, and the keys of what it has written.
///
/// samod gives a document to the app before it is stored, and cannot be asked when it is, except by stopping the repository.
#[derive(Clone)]
pub(crate) struct LocalStore {
    files: TokioFilesystemStorage,
    written: Arc<watch::Sender<HashSet<StorageKey>>>,
}

impl LocalStore {
    pub(crate) fn new(directory: &Path) -> LocalStore {
        LocalStore { files: TokioFilesystemStorage::new(directory), written: Arc::default() }
    }

    /// Returns when all these changes of the document are files. They are not flushed: samod does not do that.
    pub(crate) async fn has(&self, document: &DocumentId, changes: &[ChangeHash]) -> Result<()> {
        if changes.len() > CHANGES_MAX {
            return Err(format!("document {document} has too many changes to see them in the store").into());
        }
        let keys: Vec<_> =
            changes.iter().map(|&change| StorageKey::incremental_path(document, change)).collect();
        let mut written = self.written.subscribe();
        written.wait_for(|written| keys.iter().all(|key| written.contains(key))).await?;
        Ok(())
    }
}

impl Storage for LocalStore {
    async fn load(&self, key: StorageKey) -> Option<Vec<u8>> {
        Storage::load(&self.files, key).await
    }

    fn load_range(&self, prefix: StorageKey) -> impl Future<Output = HashMap<StorageKey, Vec<u8>>> + Send {
        Storage::load_range(&self.files, prefix)
    }

    async fn put(&self, key: StorageKey, data: Vec<u8>) {
        Storage::put(&self.files, key.clone(), data).await;
        self.written.send_modify(|written| {
            written.insert(key);
        });
    }

    async fn delete(&self, key: StorageKey) {
        Storage::delete(&self.files, key).await;
    }
}
