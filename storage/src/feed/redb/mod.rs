//! The feed on redb: one file, plain blocking calls, nothing kept in memory but redb's page cache.

mod append;
mod behind;
mod catch_up;
mod damage;
mod snapshot;
mod tables;

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Durability, ReadTransaction, StorageBackend};

use self::append::FileLedger;
use self::tables::SpaceState;
use super::append::{EntityState, decide};
use super::filling::Filling;
use super::{Append, AppendError, Appended, EntityHeads, EntityPage, Page, PageLimit, ReadError, Standing};
use crate::error::StoreError;
use crate::file::{Format, NewFile, StoreFile, Written};
use crate::id::{EntityId, SpaceId};
use crate::layout::{entity_key, ordered_key};
use crate::meta::OpenError;
use crate::position::{ChainHash, Position, Seq, Watermark};

/// What has to have room before a disk that was full counts as a disk again.
const PROBE_BYTES: usize = 256 << 10;

const FORMAT: Format = Format { name: "headwater feed", version: 2, cache_bytes: 64 * 1024 * 1024 };

/// What a feed file gets when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFeed {
    /// The time now, in milliseconds since 1970.
    pub created_ms: u64,
}

/// The feeds of one relay in one redb file. Cheap to clone; all clones are the same store.
///
/// Every call blocks until it is done. After an I/O error every call answers [`StoreError::Poisoned`] until all clones are
/// dropped and the file is opened again. A write that was refused, for want of room most often, and a file that has gone are the
/// exceptions: the append that met it fails, and
/// the store opens the file again by itself, for all clones. Reads then go on, and appends once there is room.
///
/// ```
/// use headwater_storage::{
///     Append, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEntry, FeedEpoch, InMemoryBackend,
///     NewFeed, PageLimit, PayloadKind, Placement, RedbFeed, Seq, SpaceId,
/// };
/// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
/// let space = SpaceId::from_name("home");
/// let record = ChangeRecord {
///     entity: EntityId::from_bytes([1; 16]),
///     collection: CollectionName::new("coffee_bags")?,
///     kind: PayloadKind::Change,
///     hash: ChangeHash::from_bytes([2; 32]),
///     payload: Bytes::from_static(b"change"),
/// };
/// let appended = feed.append_all(vec![Append {
///     space,
///     origin: DeviceId::from_bytes([3; 16]), pusher: headwater_storage::Pusher::default(),
///     received_ms: 0,
///     epoch_if_new: FeedEpoch::from_bytes([4; 16]),
///     entries: vec![FeedEntry::new(record, vec![])],
/// }])?;
/// assert_eq!(appended[0].placements(), [Placement::Accepted(Seq::new(1))]);
///
/// let page = feed.read_by_seq(space, Seq::ZERO, PageLimit { entries_max: 10, bytes_max: 1024 })?;
/// assert_eq!(page.rows, appended[0].rows());
/// assert_eq!(page.end, page.head);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedbFeed {
    file: Arc<StoreFile>,
    /// `None` if it is not on a file.
    path: Option<Arc<Path>>,
    /// Whether the last append did not fail.
    takes_appends: Arc<AtomicBool>,
}

impl RedbFeed {
    /// Opens the file at `path`. If there is none, creates it and the directory it is in.
    pub fn open(path: impl AsRef<Path>, new: NewFeed) -> Result<Self, OpenError> {
        let tag = format!("{:x}", new.created_ms);
        let new_file = NewFile { created_ms: new.created_ms, tag: &tag, init: &tables::create };
        let path = path.as_ref();
        let file = Arc::new(StoreFile::open(path, &FORMAT, &new_file)?);
        Ok(Self { file, path: Some(path.into()), takes_appends: Arc::new(AtomicBool::new(true)) })
    }

    /// Opens a feed in memory or on a simulated disk. An empty backend gets a new feed.
    pub fn open_backend(backend: impl StorageBackend, new: NewFeed) -> Result<Self, OpenError> {
        let new_file = NewFile { created_ms: new.created_ms, tag: "", init: &tables::create };
        let file = Arc::new(StoreFile::open_backend(backend, &FORMAT, &new_file)?);
        Ok(Self { file, path: None, takes_appends: Arc::new(AtomicBool::new(true)) })
    }

    /// Stores everything in one transaction: all of it is durable when this returns, or none of it is stored. The receipts
    /// are in the order of the appends.
    pub fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
        // Only if that failed the last time: there may be room by now.
        self.reopen_if_held_up();
        let durability =
            if cfg!(bug = "append-not-durable") { Durability::None } else { Durability::Immediate };
        let appended = self.file.write(durability, |txn| {
            let ledger = FileLedger::new(txn, appends.iter().map(|append| append.space))?;
            let outcome = decide(&ledger, appends)?;
            if outcome.is_empty() {
                return Ok(Written::Nothing(outcome.appended));
            }
            ledger.write(&outcome)?;
            Ok(Written::Commit(outcome.appended))
        });
        let has_failed = appended.as_ref().is_err_and(StoreError::needs_reopen);
        self.takes_appends.store(!has_failed, Ordering::Release);
        // Before the caller hears of the error: whoever reads next finds a store that answers.
        Ok(appended.inspect_err(|_| self.reopen_if_held_up())?)
    }

    /// Whether the store takes appends: its file is there, and the last append did not fail. What failed is tried again, so that a
    /// store which is back works again by this. Says how often another file has taken the place of the one that was open: then
    /// the feeds are not the ones any more that they were.
    ///
    /// # Errors
    /// Why nothing can be appended.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// use headwater_storage::{NewFeed, RedbFeed, StoreError};
    /// let path = directory.path().join("relay").join("feed.redb");
    /// let feed = RedbFeed::open(&path, NewFeed { created_ms: 0 })?;
    /// assert_eq!(feed.look()?, 0);
    /// std::fs::remove_dir_all(directory.path().join("relay"))?;
    /// assert!(matches!(feed.look(), Err(StoreError::Gone { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look(&self) -> Result<u64, StoreError> {
        self.reopen_if_held_up();
        self.file.is_there()?;
        if !self.takes_appends.load(Ordering::Acquire) {
            for bytes in [PROBE_BYTES, 0] {
                self.file.try_out(|txn| tables::probe(txn, bytes), || self.open_file())?;
            }
            self.takes_appends.store(true, Ordering::Release);
        }
        self.file.read(|_| Ok(self.file.replaced()))
    }

    /// As [`RedbFeed::look`], as far as is known without trying anything: nothing is written, and nobody waits.
    ///
    /// # Errors
    /// Why nothing can be appended.
    ///
    /// ```
    /// use headwater_storage::{InMemoryBackend, NewFeed, RedbFeed};
    /// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
    /// feed.takes_appends()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn takes_appends(&self) -> Result<(), StoreError> {
        self.file.is_there()?;
        if !self.takes_appends.load(Ordering::Acquire) {
            return Err(StoreError::Poisoned);
        }
        self.file.read(|_| Ok(()))
    }

    fn open_file(&self) -> Result<StoreFile, OpenError> {
        StoreFile::open_file(self.path.as_deref().unwrap_or(Path::new("(backend)")), &FORMAT)
    }

    fn reopen_if_held_up(&self) {
        // As long as the name leads nowhere, the file that is open is all that is left of the data.
        if !self.path.as_ref().is_some_and(|path| path.exists()) {
            return;
        }
        if let Err(error) = self.file.reopen_if_held_up(|| self.open_file()) {
            tracing::debug!(%error, "the feed could not be opened again; tried once more at the next look");
        }
    }

    /// The end of a feed. `None` if the space has no feed.
    pub fn head(&self, space: SpaceId) -> Result<Option<Watermark>, StoreError> {
        self.file.read(|txn| Ok(find_space(txn, space)?.map(|state| state.head)))
    }

    /// Whether a replica that is at `watermark` can go on from there.
    pub fn check(&self, space: SpaceId, watermark: &Watermark) -> Result<Standing, StoreError> {
        self.file.read(|txn| {
            let Some(state) = find_space(txn, space)? else { return Ok(Standing::NoSuchSpace) };
            if watermark.epoch != state.head.epoch || watermark.seq > state.head.seq {
                return Ok(Standing::Diverged);
            }
            if watermark.seq == Seq::ZERO {
                return Ok(Standing::Known);
            }
            if damage::lacks_any(txn, state.number, watermark.seq)? {
                // Whoever compares heads sends what is missing.
                return Ok(Standing::Diverged);
            }
            let chain = chain_at(txn, space, &state, watermark.seq)?;
            Ok(if chain == watermark.chain || cfg!(bug = "chain-not-compared") {
                Standing::Known
            } else {
                Standing::Diverged
            })
        })
    }

    /// Whether a replica that is at `position` can go on from there: its watermark and its cursor both belong to this feed.
    pub fn check_position(&self, space: SpaceId, position: &Position) -> Result<Standing, StoreError> {
        let standing = match &position.watermark {
            Some(watermark) => self.check(space, watermark)?,
            None => Standing::Known,
        };
        let Some(cursor) = position.cursor.as_deref().filter(|_| standing == Standing::Known) else {
            return Ok(standing);
        };
        let base = position.watermark.map_or(Seq::ZERO, |watermark| watermark.seq);
        match self.read(space, |txn, state| catch_up::check(txn, state, base, cursor)) {
            Ok(()) => Ok(Standing::Known),
            Err(ReadError::Cursor(_)) => Ok(Standing::Diverged),
            Err(ReadError::NoSuchSpace { .. }) => Ok(Standing::NoSuchSpace),
            Err(ReadError::Store(error)) => Err(error),
        }
    }

    /// A page of the changes after `after`, in the order of their seqs.
    pub fn read_by_seq(&self, space: SpaceId, after: Seq, limit: PageLimit) -> Result<Page, ReadError> {
        self.read(space, |txn, state| {
            let head = state.head;
            let mut filling = filling(txn, state.number, limit)?;
            if after >= head.seq {
                return Ok(Page { rows: filling.rows, end: head, head, is_dense: true });
            }
            let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
            let from = ordered_key(state.number, after.next().get());
            let to = if cfg!(bug = "range-crosses-spaces") {
                [0xff; 12]
            } else {
                ordered_key(state.number, head.seq.get())
            };
            let mut end = None;
            for row in feed.range::<&[u8; 12]>(&from..=&to).map_err(StoreError::from)? {
                let (key, value) = row.map_err(StoreError::from)?;
                let (links, row) = tables::parse_feed(tables::seq_of(key.value()), value.value())?;
                let seq = row.seq;
                if filling.is_full() || !filling.push(row) {
                    break;
                }
                end = Some(Watermark { epoch: head.epoch, seq, chain: links.chain });
            }
            let end = end.ok_or_else(|| StoreError::corrupt("feed_v1 ends before its head"))?;
            let end = if cfg!(bug = "page-claims-the-rest") { head } else { end };
            Ok(Page { rows: filling.rows, end, head, is_dense: filling.is_dense })
        })
    }

    /// A page of a catch-up by entity that began at `base`, from `cursor` on.
    pub fn read_by_entity(
        &self,
        space: SpaceId,
        base: Seq,
        cursor: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<EntityPage, ReadError> {
        self.read(space, |txn, state| catch_up::page(txn, state, base, cursor, limit))
    }

    /// A page of the changes of one entity after `after`. None if the feed does not know the entity.
    pub fn read_entity(
        &self,
        space: SpaceId,
        entity: EntityId,
        after: Seq,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        self.read(space, |txn, state| {
            let head = state.head;
            let mut filling = filling(txn, state.number, limit)?;
            let mut end = head;
            if let Some(known) = find_entity(txn, state.number, entity)?
                && known.last > after.get()
            {
                let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
                let given = catch_up::fill(&feed, state.number, known.last, after.get(), &mut filling)?;
                if given < known.last {
                    let chain = tables::links_at(&feed, state.number, given)?.chain;
                    end = Watermark { epoch: head.epoch, seq: Seq::new(given), chain };
                }
            }
            Ok(Page { rows: filling.rows, end, head, is_dense: filling.is_dense })
        })
    }

    /// The heads of at most `limit` entities, in ascending order of their ids, from the one after `after`.
    pub fn heads(
        &self,
        space: SpaceId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityHeads>, ReadError> {
        self.read(space, |txn, state| {
            let first = match after {
                Some(entity) => Bound::Excluded(entity_key(state.number, entity)),
                None => Bound::Included(entity_key(state.number, EntityId::from_bytes([0; 16]))),
            };
            let last = entity_key(state.number, EntityId::from_bytes([0xff; 16]));
            let entities = txn.open_table(tables::ENTITIES).map_err(StoreError::from)?;
            let range = entities
                .range::<&[u8; 20]>((first.as_ref(), Bound::Included(&last)))
                .map_err(StoreError::from)?;
            range
                .take(limit)
                .map(|row| {
                    let (key, value) = row.map_err(StoreError::from)?;
                    let [_, _, _, _, entity @ ..] = key.value();
                    let known = tables::parse_entity(value.value())?;
                    Ok(EntityHeads {
                        entity: EntityId::from_bytes(*entity),
                        collection: known.collection,
                        heads: known.heads,
                    })
                })
                .collect()
        })
    }

    /// The spaces that have a feed, in ascending order.
    pub fn spaces(&self) -> Result<Vec<SpaceId>, StoreError> {
        self.file.read(|txn| {
            let mut spaces = Vec::new();
            let table = txn.open_table(tables::SPACES)?;
            let (first, last) = ([0; 16], [0xff; 16]);
            for row in table.range::<&[u8; 16]>(&first..=&last)? {
                spaces.push(SpaceId::from_bytes(*row?.0.value()));
            }
            Ok(spaces)
        })
    }

    /// Computes the chain hashes of at most `limit` changes after `after` again and compares them with the stored ones.
    /// Returns where to go on, or `None` when the head was reached. A difference is [`StoreError::Corrupt`].
    pub fn verify_chain(&self, space: SpaceId, after: Seq, limit: usize) -> Result<Option<Seq>, ReadError> {
        self.read(space, |txn, state| {
            if after > state.head.seq {
                return Ok(None);
            }
            let mut at =
                Watermark { epoch: state.head.epoch, seq: after, chain: chain_at(txn, space, state, after)? };
            let feed = txn.open_table(tables::FEED).map_err(StoreError::from)?;
            for _ in 0..limit.max(1) {
                if at.seq >= state.head.seq {
                    break;
                }
                let (links, row) = tables::row_at(&feed, state.number, at.seq.next().get())?;
                at = at.extended(row.record.entity, row.record.hash);
                if at.chain != links.chain {
                    return Err(StoreError::Corrupt(format!("the chain breaks at seq {}", at.seq)).into());
                }
            }
            if at.seq < state.head.seq {
                return Ok(Some(at.seq));
            }
            if at == state.head { Ok(None) } else { Err(StoreError::corrupt("the head of the chain").into()) }
        })
    }

    /// Reads the feed of a space that has to be there.
    fn read<T>(
        &self,
        space: SpaceId,
        read: impl FnOnce(&ReadTransaction, &SpaceState) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut other = None;
        let value = self.file.read(|txn| {
            let result = match find_space(txn, space)? {
                Some(state) => read(txn, &state),
                None => Err(ReadError::NoSuchSpace { space }),
            };
            match result {
                Ok(value) => Ok(Some(value)),
                Err(ReadError::Store(error)) => Err(error),
                Err(error) => {
                    other = Some(error);
                    Ok(None)
                }
            }
        })?;
        value.ok_or_else(|| other.unwrap_or(ReadError::Store(StoreError::Stopped)))
    }
}

impl fmt::Debug for RedbFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbFeed").finish_non_exhaustive()
    }
}

fn find_space(txn: &ReadTransaction, space: SpaceId) -> Result<Option<SpaceState>, StoreError> {
    let value = txn.open_table(tables::SPACES)?.get(space.as_bytes())?;
    value.map(|value| SpaceState::parse(value.value())).transpose()
}

fn find_entity(
    txn: &ReadTransaction,
    number: u32,
    entity: EntityId,
) -> Result<Option<EntityState>, StoreError> {
    let value = txn.open_table(tables::ENTITIES)?.get(&entity_key(number, entity))?;
    value.map(|value| tables::parse_entity(value.value())).transpose()
}

fn chain_at(
    txn: &ReadTransaction,
    space: SpaceId,
    state: &SpaceState,
    seq: Seq,
) -> Result<ChainHash, StoreError> {
    if seq == Seq::ZERO {
        return Ok(ChainHash::start(space, state.head.epoch));
    }
    if seq >= state.head.seq {
        return Ok(state.head.chain);
    }
    Ok(tables::links_at(&txn.open_table(tables::FEED)?, state.number, seq.get())?.chain)
}

fn filling(txn: &ReadTransaction, number: u32, limit: PageLimit) -> Result<Filling, StoreError> {
    Ok(Filling::new(limit, damage::damaged_seqs(txn, number)?))
}
