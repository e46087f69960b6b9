//! What a relay holds: one of the feed backends, behind async calls.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

#[cfg(feature = "postgres")]
use super::PostgresFeed;
use super::writer::{FeedWriter, WriterLimits};
use super::{
    Append, AppendError, Appended, EntityHeads, EntityPage, FeedSnapshot, Page, PageLimit, Quarantined,
    ReadError, RedbFeed, Standing, Walked,
};
use crate::change::ChangeRecord;
use crate::error::StoreError;
use crate::id::{ChangeHash, EntityId, SpaceId};
use crate::position::{Position, Seq, Watermark};

/// A feed store on one of its backends. Cheap to clone; all clones are the same store.
///
/// Calls have to be made within a tokio runtime, unless the store is [inline](FeedStore::inline). An append that is dropped before it answers may still be stored. Reads of
/// pages run on tokio's blocking threads, since even a small page may wait for a cold disk and must not hold up sockets
/// meanwhile; `head` and `check` read one or two rows and run where they are called.
///
/// ```
/// use headwater_storage::{Append, DeviceId, FeedEpoch, FeedStore, InMemoryBackend, NewFeed, RedbFeed, SpaceId, WriterLimits};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
/// let store = FeedStore::redb(feed, WriterLimits::default())?;
/// let space = SpaceId::from_name("home");
/// let appended = store
///     .append(Append {
///         space,
///         origin: DeviceId::from_bytes([1; 16]), pusher: headwater_storage::Pusher::default(),
///         received_ms: 0,
///         epoch_if_new: FeedEpoch::from_bytes([2; 16]),
///         entries: vec![],
///     })
///     .await?;
/// assert_eq!(store.head(space).await?, Some(appended.head()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum FeedStore {
    /// One redb file, for one relay process.
    Redb(RedbStore),
    /// A database that several relays share.
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
}

/// The Postgres backend with its writers. Made by [`FeedStore::postgres`].
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub struct PostgresStore {
    feed: PostgresFeed,
    writer: Arc<FeedWriter>,
}

/// The redb backend with its writer thread. Made by [`FeedStore::redb`].
#[derive(Clone)]
pub struct RedbStore {
    feed: RedbFeed,
    /// `None` if everything runs where it is called.
    writer: Option<Arc<FeedWriter>>,
}

impl FeedStore {
    /// A store on `feed`. Starts the writer's thread, which ends with the last clone; dropping that one waits for the
    /// running transaction.
    pub fn redb(feed: RedbFeed, limits: WriterLimits) -> Result<Self, StoreError> {
        let writer = Some(Arc::new(FeedWriter::start(feed.clone(), limits)?));
        Ok(Self::Redb(RedbStore { feed, writer }))
    }

    /// A store on `feed` whose calls do their work where they are called: no threads, no runtime, and every future is ready
    /// when it is first polled. For simulations; a server would hold up its sockets.
    pub fn inline(feed: RedbFeed) -> Self {
        Self::Redb(RedbStore { feed, writer: None })
    }

    /// A store on `feed`. Has to be called within a tokio runtime, on which its writers run.
    #[cfg(feature = "postgres")]
    pub fn postgres(feed: PostgresFeed, limits: WriterLimits) -> Self {
        let writer = Arc::new(FeedWriter::start_tasks(&feed, limits));
        Self::Postgres(PostgresStore { feed, writer })
    }

    /// The database under it, if there is one.
    #[cfg(feature = "postgres")]
    pub fn database(&self) -> Option<&PostgresFeed> {
        match self {
            Self::Redb(_) => None,
            Self::Postgres(store) => Some(&store.feed),
        }
    }

    /// Stores an append, together with whatever else waits. Durable when this returns.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        // One append has one receipt.
        self.append_all(vec![append]).await?.pop().ok_or(AppendError::Store(StoreError::Stopped))
    }

    /// Stores several appends in this order, all in one transaction, together with whatever else waits. Durable when this
    /// returns, with a receipt for each.
    pub async fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
        match self {
            Self::Redb(RedbStore { writer: Some(writer), .. }) => writer.append_all(appends).await,
            Self::Redb(RedbStore { feed, writer: None }) => feed.append_all(appends),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.writer.append_all(appends).await,
        }
    }

    /// How many write transactions there have been since the store was opened: the measure of how well appends are grouped.
    /// An inline store groups nothing, and does not count.
    pub fn commits(&self) -> u64 {
        match self {
            Self::Redb(redb) => redb.writer.as_ref().map_or(0, |writer| writer.commits()),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.writer.commits(),
        }
    }

    /// Whether appends are taken, trying again what has failed, and how often another file has taken the place of the one that was
    /// open; see [`RedbFeed::look`]. A database is always the same one.
    pub async fn look(&self) -> Result<u64, StoreError> {
        match self {
            Self::Redb(redb) => redb.blocking(RedbFeed::look).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.look().await.map(|()| 0),
        }
    }

    /// Whether appends are taken, as far as is known without trying anything; see [`RedbFeed::takes_appends`].
    pub async fn takes_appends(&self) -> Result<(), StoreError> {
        match self {
            Self::Redb(redb) => redb.feed.takes_appends(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.look().await,
        }
    }

    /// The end of a feed. `None` if the space has no feed.
    pub async fn head(&self, space: SpaceId) -> Result<Option<Watermark>, StoreError> {
        match self {
            Self::Redb(redb) => redb.feed.head(space),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.head(space).await,
        }
    }

    /// Whether a replica that is at `watermark` can go on from there.
    pub async fn check(&self, space: SpaceId, watermark: &Watermark) -> Result<Standing, StoreError> {
        match self {
            Self::Redb(redb) => redb.feed.check(space, watermark),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.check(space, watermark).await,
        }
    }

    /// Whether a replica that is at `position` can go on from there: its watermark and its cursor both belong to this feed.
    pub async fn check_position(&self, space: SpaceId, position: &Position) -> Result<Standing, StoreError> {
        match self {
            Self::Redb(redb) => redb.feed.check_position(space, position),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.check_position(space, position).await,
        }
    }

    /// A page of the changes after `after`, in the order of their seqs.
    pub async fn read_by_seq(&self, space: SpaceId, after: Seq, limit: PageLimit) -> Result<Page, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.read_by_seq(space, after, limit)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.read_by_seq(space, after, limit).await,
        }
    }

    /// A page of a catch-up by entity that began at `base`, from `cursor` on.
    pub async fn read_by_entity(
        &self,
        space: SpaceId,
        base: Seq,
        cursor: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<EntityPage, ReadError> {
        match self {
            Self::Redb(redb) => {
                let cursor = cursor.map(Bytes::copy_from_slice);
                redb.blocking(move |feed| feed.read_by_entity(space, base, cursor.as_deref(), limit)).await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.read_by_entity(space, base, cursor, limit).await,
        }
    }

    /// A page of the changes of one entity after `after`. Without rows if the feed does not know the entity.
    pub async fn read_entity(
        &self,
        space: SpaceId,
        entity: EntityId,
        after: Seq,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        match self {
            Self::Redb(redb) => {
                redb.blocking(move |feed| feed.read_entity(space, entity, after, limit)).await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.read_entity(space, entity, after, limit).await,
        }
    }

    /// The heads of at most `limit` entities, in ascending order of their ids, from the one after `after`.
    pub async fn heads(
        &self,
        space: SpaceId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityHeads>, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.heads(space, after, limit)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.heads(space, after, limit).await,
        }
    }

    /// At most `limit` entities whose last change or verdict comes after `after`, in the order of those, with their seqs.
    pub async fn changed_after(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, EntityId)>, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.changed_after(space, after, limit)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.changed_after(space, after, limit).await,
        }
    }

    /// The last seq of an entity, and its heads without what is in quarantine. `None` if the feed does not know it.
    pub async fn entity(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<(Seq, EntityHeads)>, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.entity(space, entity)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.entity(space, entity).await,
        }
    }

    /// At most `limit` changes in quarantine, in ascending order of entity and hash, from the one after `after`.
    pub async fn quarantined(
        &self,
        space: SpaceId,
        after: Option<(EntityId, ChangeHash)>,
        limit: usize,
    ) -> Result<Vec<Quarantined>, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.quarantined(space, after, limit)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.quarantined(space, after, limit).await,
        }
    }

    /// The changes of one entity that are in quarantine.
    pub async fn quarantined_of(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Vec<Quarantined>, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.quarantined_of(space, entity)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.quarantined_of(space, entity).await,
        }
    }

    /// How far `name` has come in its work behind the feed. Zero if it has never said.
    pub async fn progress(&self, space: SpaceId, name: &'static str) -> Result<Seq, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.progress(space, name)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.progress(space, name).await,
        }
    }

    /// Remembers how far `name` has come. Durable with the next append: after a crash some of the work is done again.
    pub async fn set_progress(&self, space: SpaceId, name: &'static str, seq: Seq) -> Result<(), ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.set_progress(space, name, seq)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.set_progress(space, name, seq).await,
        }
    }

    /// Walks at most `limit` rows after `after`: compares the chain, and asks `is_whole` about each payload. See [`RedbFeed::walk`].
    pub async fn walk(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
        is_whole: fn(&ChangeRecord) -> bool,
    ) -> Result<Walked, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.walk(space, after, limit, is_whole)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.walk(space, after, limit, is_whole).await,
        }
    }

    /// Sets an entity's heads right, if its last change or verdict is still the one at `last`. Says whether it was.
    pub async fn set_heads(
        &self,
        space: SpaceId,
        entity: EntityId,
        last: Seq,
        heads: Vec<ChangeHash>,
    ) -> Result<bool, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.set_heads(space, entity, last, heads)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.set_heads(space, entity, last, heads).await,
        }
    }

    /// Keeps a snapshot of an entity, in place of an older one. Says whether it did; see [`RedbFeed::put_snapshot`].
    pub async fn put_snapshot(
        &self,
        space: SpaceId,
        entity: EntityId,
        snapshot: FeedSnapshot,
    ) -> Result<bool, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.put_snapshot(space, entity, snapshot)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.put_snapshot(space, entity, snapshot).await,
        }
    }

    /// The snapshot of an entity. `None` if there is none, or if it is damaged.
    pub async fn snapshot(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<FeedSnapshot>, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.snapshot(space, entity)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.snapshot(space, entity).await,
        }
    }

    /// Removes the snapshots of a space whose payloads are damaged. Says how many there were.
    pub async fn drop_damaged_snapshots(&self, space: SpaceId) -> Result<u64, ReadError> {
        match self {
            Self::Redb(redb) => redb.blocking(move |feed| feed.drop_damaged_snapshots(space)).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.drop_damaged_snapshots(space).await,
        }
    }

    /// The spaces that have a feed, in ascending order.
    pub async fn spaces(&self) -> Result<Vec<SpaceId>, StoreError> {
        match self {
            Self::Redb(redb) => redb.blocking(RedbFeed::spaces).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.feed.spaces().await,
        }
    }
}

impl RedbStore {
    async fn blocking<T, E>(
        &self,
        read: impl FnOnce(&RedbFeed) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let feed = self.feed.clone();
        if self.writer.is_none() {
            return read(&feed);
        }
        tokio::task::spawn_blocking(move || read(&feed)).await.map_err(|_| StoreError::Stopped)?
    }
}

impl fmt::Debug for FeedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redb(_) => "FeedStore::Redb",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "FeedStore::Postgres",
        })
    }
}

#[cfg(feature = "postgres")]
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedbStore")
    }
}
