//! One device's copy of its spaces: reads from the stored rows, one way to write, one way to merge.
//!
//! Local and remote edits share the document module, one redb transaction and one notification ([`Patch`]).

mod answer;
mod cache;
mod collection;
mod compact;
mod dynamic;
mod elsewhere;
mod error;
mod judge;
mod listed;
mod load;
mod merge;
mod mutate;
mod notice;
mod reapply;
mod receipt;
mod salvage;
mod seed;
mod space;
mod step;
mod supply;
mod watch;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use headwater_storage::{DeviceId, EntityId, NewReplica, OpenError, ReplicaStore, SpaceId, StorageBackend};
use tokio::sync::{broadcast, watch as tokio_watch};

pub use headwater_storage::{Direction as AsideCause, SetAside};
// The storage crate's name for it. Apps see one `Direction`: the one in which a connection syncs.
#[doc(hidden)]
pub use headwater_storage::Direction;

pub use collection::Collection;
pub use dynamic::{DynamicCollection, EntitySync, Record};
pub use error::{EditError, MergeError, ReadError, StillOpen};
pub use listed::{Listed, Misfit};
pub use merge::{MergeRequest, Merged};
pub use notice::{Notice, Notices, Withdrawn};
pub use reapply::ReapplyError;
pub use receipt::{Receipt, ReceiptError, Written};
pub use salvage::{TakeBackError, Verified};
pub use space::Space;
pub use supply::EntityPosition;
pub use watch::{Missed, Origin, Patch, PatchKind, Patches};

use cache::DocumentCache;
use compact::{Background, Compaction};
use notice::Board;

use crate::document::ACTOR_BYTES;
use crate::ingest::stamp;

/// Patches that a slow listener may fall behind before it has to read again from the start.
const PATCHES_BUFFERED_MAX: usize = 4096;

/// Where a replica gets the time and its random numbers from. The default asks the operating system; a simulator passes its own.
///
/// ```
/// use headwater::{Environment, Replica};
/// struct Fixed;
/// impl Environment for Fixed {
///     fn now_ms(&self) -> u64 { 1_700_000_000_000 }
///     fn random(&self) -> u128 { 4 }
/// }
/// let replica = Replica::in_memory(Fixed).unwrap();
/// # drop(replica);
/// ```
pub trait Environment: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. Times before March 1973 count as that, and those beyond the year 275760 as that.
    fn now_ms(&self) -> u64;
    /// 128 random bits, different in every call.
    fn random(&self) -> u128;
}

struct System;

impl Environment for System {
    fn now_ms(&self) -> u64 {
        // A clock before 1970 reads as 1970: times are for people, no decision rests on them.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
    }

    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}

/// One device's copy: a file, and the handle to it. Cheap to clone, and all clones are the same replica.
///
/// Calls block for as long as the disk takes, which is well under a millisecond for a read and about one flush for a write; from
/// async code, use `spawn_blocking` where that matters.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("journal.headwater");
/// let replica = headwater::Replica::open(&path)?;
/// let device = replica.device_id();
/// drop(replica);
/// assert_eq!(headwater::Replica::open(&path)?.device_id(), device);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Replica {
    /// `None` in the background itself, and where there is none. Goes before `inner`, which it uses.
    background: Option<Arc<Background>>,
    inner: Arc<Inner>,
}

struct Inner {
    store: ReplicaStore,
    environment: Box<dyn Environment>,
    /// Who makes the local changes. New in each opening, and when the relay leaves out changes of it.
    actor: Mutex<[u8; ACTOR_BYTES]>,
    /// Held through every write and merge, so that a document and its stored changes never part. A std mutex, because nothing
    /// awaits while holding it.
    documents: Mutex<DocumentCache>,
    compaction: Compaction,
    /// The spaces in which something was found damaged since their session began.
    lossy: Mutex<HashSet<SpaceId>>,
    patches: broadcast::Sender<Patch>,
    board: Board,
    /// Counts the documents that were built from stored changes.
    documents_loaded: AtomicU64,
    /// Counts the commits that touched an outbox: those who wait for one look again when it moves.
    outbox_moves: tokio_watch::Sender<u64>,
    /// Counts the local commits that put something into an outbox: a connection pushes when it moves.
    local_commits: tokio_watch::Sender<u64>,
}

impl Replica {
    /// Opens the replica at `path`, creating it and its directory if there is none. Needs no network and no account.
    ///
    /// # Errors
    /// See [`OpenError`]. A file of something else, or of a newer version, is refused and left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Replica, OpenError> {
        Replica::open_with(path, System)
    }

    /// As [`Replica::open`], with the caller's clock and randomness.
    ///
    /// # Errors
    /// As for [`Replica::open`].
    pub fn open_with(path: impl AsRef<Path>, environment: impl Environment) -> Result<Replica, OpenError> {
        let new = new_replica(&environment);
        let mut replica = Replica::new(ReplicaStore::open(path, new)?, environment);
        replica.background = Some(Arc::new(Background::start(Arc::clone(&replica.inner))));
        Ok(replica)
    }

    /// A replica in memory that is gone when the last handle is dropped: for tests and previews.
    ///
    /// # Errors
    /// As for [`Replica::open`].
    pub fn in_memory(environment: impl Environment) -> Result<Replica, OpenError> {
        let new = new_replica(&environment);
        Ok(Replica::new(ReplicaStore::in_memory(new)?, environment))
    }

    /// A replica on a storage backend of the caller's, such as a simulated disk.
    ///
    /// # Errors
    /// As for [`Replica::open`].
    pub fn open_backend(
        backend: impl StorageBackend,
        environment: impl Environment,
    ) -> Result<Replica, OpenError> {
        let new = new_replica(&environment);
        Ok(Replica::new(ReplicaStore::open_backend(backend, new)?, environment))
    }

    fn new(store: ReplicaStore, environment: impl Environment) -> Replica {
        let actor = Mutex::new(new_actor(&store, &environment));
        let inner = Inner {
            store,
            environment: Box::new(environment),
            actor,
            documents: Mutex::new(DocumentCache::default()),
            compaction: Compaction::default(),
            lossy: Mutex::new(HashSet::new()),
            documents_loaded: AtomicU64::new(0),
            patches: broadcast::Sender::new(PATCHES_BUFFERED_MAX),
            board: Board::default(),
            outbox_moves: tokio_watch::Sender::new(0),
            local_commits: tokio_watch::Sender::new(0),
        };
        Replica { background: None, inner: Arc::new(inner) }
    }

    /// Closes the replica, if this is its last handle: work in the background has ended and the file is free when this returns, for
    /// another process too. Dropping the last handle does the same, and says nothing if it was not the last.
    ///
    /// Everything that was made from a replica holds it: spaces, collections, receipts, and a connection until its `disconnect` has
    /// returned.
    ///
    /// # Errors
    /// When other handles are there. The replica stays open, and the error gives this handle back.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("journal.headwater");
    /// # use headwater::Replica;
    /// let replica = Replica::open(&path)?;
    /// let home = replica.space("home");
    /// let still_open = replica.close().unwrap_err();
    /// assert_eq!(still_open.others, 1); // `home`
    /// drop(home);
    /// still_open.replica.close()?;
    /// assert!(Replica::open(&path).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> Result<(), StillOpen> {
        let Replica { background, inner } = self;
        let background = match background.map(Arc::try_unwrap).transpose() {
            Ok(background) => background,
            Err(background) => {
                let others = Arc::strong_count(&background).saturating_sub(1);
                let replica = Replica { background: Some(background), inner };
                return Err(StillOpen { replica, others });
            }
        };
        let had_background = background.is_some();
        // Waits for the thread behind it, which holds the replica too.
        drop(background);
        match Arc::try_unwrap(inner) {
            Ok(inner) => {
                drop(inner);
                tracing::debug!("the replica is closed");
                Ok(())
            }
            Err(inner) => {
                let others = Arc::strong_count(&inner).saturating_sub(1);
                let background = had_background.then(|| Arc::new(Background::start(Arc::clone(&inner))));
                Err(StillOpen { replica: Replica { background, inner }, others })
            }
        }
    }

    /// This device's permanent id. A copy of the file has the same one.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.inner.store.device_id()
    }

    /// A space by its id or its name. It need not exist yet.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let replica = headwater::Replica::open(directory.path().join("r"))?;
    /// assert_eq!(replica.space("home").id(), headwater::SpaceId::from_name("home"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn space(&self, space: impl Into<SpaceRef>) -> Space {
        Space::new(self.clone(), space.into().0)
    }

    /// The spaces that this replica holds anything of.
    #[must_use]
    pub fn spaces(&self) -> Vec<SpaceId> {
        self.inner.store.spaces()
    }

    /// Everything that changes in any space from now on, local and remote.
    pub fn patches(&self) -> Patches {
        Patches::new(self.inner.patches.subscribe())
    }

    /// How many documents were built from stored changes since the replica was opened. Syncing what has not changed builds none;
    /// tests and benchmarks check that.
    #[doc(hidden)]
    #[must_use]
    pub fn documents_loaded(&self) -> u64 {
        self.inner.documents_loaded.load(Ordering::Relaxed)
    }

    pub(crate) fn store(&self) -> &ReplicaStore {
        &self.inner.store
    }

    /// A value that moves whenever an outbox gains or loses a change.
    pub(crate) fn outbox_moves(&self) -> tokio_watch::Receiver<u64> {
        self.inner.outbox_moves.subscribe()
    }

    /// A value that moves whenever a local commit put something into an outbox.
    #[cfg(feature = "client")]
    pub(crate) fn local_commits(&self) -> tokio_watch::Receiver<u64> {
        self.inner.local_commits.subscribe()
    }

    /// The time now, as edits are stamped with it: a clock that is off by more than any reader bears counts as the nearest time that
    /// reads the same everywhere.
    pub(crate) fn now_ms(&self) -> u64 {
        stamp(i64::try_from(self.inner.environment.now_ms()).unwrap_or(i64::MAX)).unsigned_abs()
    }

    /// A new entity id: UUIDv7, so that ids made later sort later.
    pub(crate) fn new_entity(&self) -> EntityId {
        /// The 48 bits that a UUIDv7 has for the time.
        const UUID_MS_MAX: u64 = (1 << 48) - 1;
        let random = self.inner.environment.random().to_be_bytes();
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&random[..10]);
        let now_ms = self.now_ms().min(UUID_MS_MAX);
        EntityId::from_uuid(uuid::Builder::from_unix_timestamp_millis(now_ms, &bytes).into_uuid())
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("device", &self.device_id()).finish_non_exhaustive()
    }
}

/// A space's id, or a name that stands for one; see [`SpaceId::from_name`].
///
/// ```
/// use headwater::{SpaceId, SpaceRef};
/// let name = String::from("home");
/// let _all_the_same: [SpaceRef; 4] = [SpaceId::from_name("home").into(), "home".into(), (&name).into(), name.into()];
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SpaceRef(SpaceId);

impl From<SpaceId> for SpaceRef {
    fn from(id: SpaceId) -> SpaceRef {
        SpaceRef(id)
    }
}

impl From<&str> for SpaceRef {
    fn from(name: &str) -> SpaceRef {
        SpaceRef(SpaceId::from_name(name))
    }
}

impl From<&String> for SpaceRef {
    fn from(name: &String) -> SpaceRef {
        SpaceRef::from(name.as_str())
    }
}

impl From<String> for SpaceRef {
    fn from(name: String) -> SpaceRef {
        SpaceRef::from(name.as_str())
    }
}

/// An actor that nobody had before: a copied or restored file never goes on with another's numbers.
fn new_actor(store: &ReplicaStore, environment: &dyn Environment) -> [u8; ACTOR_BYTES] {
    let mut actor = [0; ACTOR_BYTES];
    actor[..16].copy_from_slice(store.device_id().as_bytes());
    if !cfg!(bug = "actor-reused") {
        actor[16..].copy_from_slice(&environment.random().to_be_bytes()[..8]);
    }
    actor
}

fn new_replica(environment: &impl Environment) -> NewReplica {
    let device = uuid::Builder::from_random_bytes(environment.random().to_be_bytes()).into_uuid();
    NewReplica { device: DeviceId::from_uuid(device), created_ms: environment.now_ms() }
}
