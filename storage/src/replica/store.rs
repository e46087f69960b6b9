//! The store itself: opening, reading, and the one way to write.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use redb::{ReadableTable, StorageBackend};

use super::names::Names;
use super::tables::{self, EntityState, Waiting};
use super::{
    Commit, CommitError, Committed, EntitySync, NewReplica, OutboxEntry, OutboxSeq, SetAside, StoredChange,
    StoredEntity, snapshot, write,
};
use crate::error::StoreError;
use crate::file::{Format, NewFile, StoreFile, Written};
use crate::id::{ChangeHash, CollectionName, DeviceId, EntityId, SpaceId};
use crate::layout::{change_key, entity_key, ordered_key};
use crate::meta::{META, OpenError, unusable};
use crate::position::Position;

const FORMAT: Format = Format { name: "headwater replica", version: 2, cache_bytes: 64 * 1024 * 1024 };

/// One device's store. Cheap to clone; all clones are the same store.
///
/// After an I/O error every call answers [`StoreError::Poisoned`] until all clones are dropped and the file is opened again,
/// because nobody knows what the disk has kept.
///
/// ```
/// use headwater_storage::{
///     Bytes, ChangeHash, CollectionName, Commit, DeviceId, EntityId, EntityWrite, NewChange, NewReplica, Outbox, OutboxSeq,
///     PayloadKind, ReplicaStore, SpaceId, Step,
/// };
/// let directory = tempfile::tempdir()?;
/// let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 };
/// let store = ReplicaStore::open(directory.path().join("home.headwater"), new)?;
///
/// let space = SpaceId::from_name("home");
/// let bags = CollectionName::new("coffee_bags")?;
/// let entity = EntityId::from_bytes([2; 16]);
/// let mut commit = Commit::new(space, 0);
/// commit.steps.push(Step::Write(EntityWrite {
///     entity,
///     collection: bags.clone(),
///     changes: vec![NewChange {
///         kind: PayloadKind::Change,
///         hash: ChangeHash::from_bytes([3; 32]),
///         payload: Bytes::from_static(b"change"),
///         outbox: Outbox::Queue,
///     }],
///     row: Some(Bytes::from_static(b"row")),
/// }));
/// let committed = store.commit(commit)?;
///
/// assert_eq!(store.row(space, &bags, entity)?.as_deref(), Some(&b"row"[..]));
/// assert_eq!(store.outbox(space, OutboxSeq::ZERO, 10, 1024)?[0].seq, committed.outbox[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ReplicaStore {
    inner: Arc<Inner>,
}

struct Inner {
    file: StoreFile,
    device: DeviceId,
    names: RwLock<Names>,
    /// Held through a whole commit, so that numbers are given out in the order in which transactions commit.
    writer: Mutex<()>,
}

impl ReplicaStore {
    /// Opens the file at `path`. If there is none, creates it and the directory it is in.
    pub fn open(path: impl AsRef<Path>, new: NewReplica) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let tag = new.device.as_uuid().simple().to_string();
        let init = |txn: &_| tables::create(txn, new.device);
        let new_file = NewFile { created_ms: new.created_ms, tag: &tag, init: &init };
        Self::load(path, StoreFile::open(path, &FORMAT, &new_file)?)
    }

    /// Opens a replica on a storage backend, such as a simulated disk. An empty backend gets a new replica.
    ///
    /// ```
    /// use headwater_storage::{DeviceId, InMemoryBackend, NewReplica, ReplicaStore};
    /// let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 };
    /// let store = ReplicaStore::open_backend(InMemoryBackend::new(), new)?;
    /// assert_eq!(store.device_id(), new.device);
    /// # Ok::<(), headwater_storage::OpenError>(())
    /// ```
    pub fn open_backend(backend: impl StorageBackend, new: NewReplica) -> Result<Self, OpenError> {
        let init = |txn: &_| tables::create(txn, new.device);
        let new_file = NewFile { created_ms: new.created_ms, tag: "", init: &init };
        Self::load(Path::new("(backend)"), StoreFile::open_backend(backend, &FORMAT, &new_file)?)
    }

    /// A new replica in memory, which is gone when its last handle is dropped.
    ///
    /// ```
    /// use headwater_storage::{DeviceId, NewReplica, ReplicaStore};
    /// let store = ReplicaStore::in_memory(NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 })?;
    /// assert!(store.spaces().is_empty());
    /// # Ok::<(), headwater_storage::OpenError>(())
    /// ```
    pub fn in_memory(new: NewReplica) -> Result<Self, OpenError> {
        let init = |txn: &_| tables::create(txn, new.device);
        let new_file = NewFile { created_ms: new.created_ms, tag: "", init: &init };
        Self::load(Path::new("(memory)"), StoreFile::in_memory(&FORMAT, &new_file)?)
    }

    fn load(path: &Path, file: StoreFile) -> Result<Self, OpenError> {
        let (device, names) = file
            .read(|txn| {
                let damaged = || StoreError::corrupt("the device id");
                let device = txn.open_table(META)?.get(tables::DEVICE)?.ok_or_else(damaged)?;
                let device = device.value().try_into().map_err(|_| damaged())?;
                Ok((DeviceId::from_bytes(device), Names::load(txn)?))
            })
            .map_err(|error| unusable(path, error))?;
        let inner = Inner { file, device, names: RwLock::new(names), writer: Mutex::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The permanent id of this device, as the file has it.
    pub fn device_id(&self) -> DeviceId {
        self.inner.device
    }

    /// The spaces that this replica has, in ascending order.
    pub fn spaces(&self) -> Vec<SpaceId> {
        self.names().spaces()
    }

    /// How far this replica has come in the feed of `space`. The default if it does not have the space.
    pub fn position(&self, space: SpaceId) -> Result<Position, StoreError> {
        self.inner.file.read(|txn| match txn.open_table(tables::SPACES)?.get(space.as_bytes())? {
            Some(value) => Ok(tables::parse_space(value.value())?.1),
            None => Ok(Position::default()),
        })
    }

    /// The collections of `space` in the order of their names.
    pub fn collections(&self, space: SpaceId) -> Vec<CollectionName> {
        self.names().collections(space)
    }

    /// The view row of an entity, if it is in this collection and has one.
    pub fn row(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        entity: EntityId,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(number) = self.names().collection_of(space, collection) else { return Ok(None) };
        self.inner.file.read(|txn| {
            let value = txn.open_table(tables::ROWS)?.get(&entity_key(number, entity))?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    /// The collection of an entity, whichever it is in, and its view row, if it has one. `None` if it is not
    /// here.
    pub fn find(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<(CollectionName, Option<Bytes>)>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(None) };
        self.inner.file.read(|txn| {
            let entities = txn.open_table(tables::ENTITIES)?;
            let Some(value) = entities.get(&entity_key(space.number, entity))? else { return Ok(None) };
            let number = EntityState::parse(value.value())?.collection;
            let row = txn.open_table(tables::ROWS)?.get(&entity_key(number, entity))?;
            Ok(Some((self.name(number)?, row.map(|row| Bytes::copy_from_slice(row.value())))))
        })
    }

    /// At most `limit` rows of a collection, in ascending order of their ids, from the one after `after`.
    pub fn rows(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, Bytes)>, StoreError> {
        let Some(number) = self.names().collection_of(space, collection) else { return Ok(Vec::new()) };
        self.inner.file.read(|txn| {
            let (from, to) = entity_range(number, after);
            let rows = txn.open_table(tables::ROWS)?;
            rows.range::<&[u8; 20]>((from.as_ref(), Bound::Included(&to)))?
                .take(limit)
                .map(|row| {
                    let (key, value) = row?;
                    Ok((entity_of(key.value()), Bytes::copy_from_slice(value.value())))
                })
                .collect()
        })
    }

    /// How many rows a collection has. Deleted entities keep their row, and count.
    pub fn count(&self, space: SpaceId, collection: &CollectionName) -> Result<u64, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(0) };
        self.inner.file.read(|txn| {
            let key = tables::collection_key(space.number, collection);
            match txn.open_table(tables::COLLECTIONS)?.get(key.as_slice())? {
                Some(value) => Ok(tables::parse_collection(value.value())?.1),
                None => Ok(0),
            }
        })
    }

    /// At most `limit` entities of a space with their collections, in ascending order, from the one after `after`.
    /// Entities without a view row are included.
    pub fn entities(
        &self,
        space: SpaceId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, CollectionName)>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(Vec::new()) };
        self.inner.file.read(|txn| {
            let (from, to) = entity_range(space.number, after);
            let entities = txn.open_table(tables::ENTITIES)?;
            entities
                .range::<&[u8; 20]>((from.as_ref(), Bound::Included(&to)))?
                .take(limit)
                .map(|row| {
                    let (key, value) = row?;
                    let collection = EntityState::parse(value.value())?.collection;
                    Ok((entity_of(key.value()), self.name(collection)?))
                })
                .collect()
        })
    }

    /// How an entity stands towards the relay. `None` if it is not here.
    pub fn entity_sync(&self, space: SpaceId, entity: EntityId) -> Result<Option<EntitySync>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(None) };
        self.inner.file.read(|txn| {
            let entities = txn.open_table(tables::ENTITIES)?;
            let value = entities.get(&entity_key(space.number, entity))?;
            let state = value.map(|value| EntityState::parse(value.value())).transpose()?;
            Ok(state.map(|state| EntitySync {
                waiting: state.waiting,
                synced_ms: (state.synced_ms != 0).then_some(state.synced_ms),
            }))
        })
    }

    /// What is stored of an entity: its snapshot, if it has one, and the changes behind it. Empty if it is not here.
    pub fn entity(&self, space: SpaceId, entity: EntityId) -> Result<StoredEntity, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(StoredEntity::default()) };
        self.inner.file.read(|txn| snapshot::read(txn, space.number, entity))
    }

    /// As [`ReplicaStore::entity`], with what it takes to put a snapshot in the place of all of it. Walks the outbox.
    ///
    /// ```
    /// # use headwater_storage::{Bytes, ChangeHash, CollectionName, Commit, DeviceId, EntityId, EntityWrite, InMemoryBackend};
    /// # use headwater_storage::{NewChange, NewReplica, NewSnapshot, Outbox, PayloadKind, ReplicaStore, SpaceId, Step, StoredSnapshot};
    /// # let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 };
    /// # let store = ReplicaStore::open_backend(InMemoryBackend::new(), new)?;
    /// # let (space, entity) = (SpaceId::from_name("home"), EntityId::from_bytes([2; 16]));
    /// # let collection = CollectionName::new("notes")?;
    /// # let (kind, hash) = (PayloadKind::Change, ChangeHash::from_bytes([3; 32]));
    /// # let change = NewChange { kind, hash, payload: Bytes::from_static(b"change"), outbox: Outbox::Skip };
    /// # let mut commit = Commit::new(space, 0);
    /// # let row = Some(Bytes::from_static(b"row"));
    /// # let write = EntityWrite { entity, collection: collection.clone(), changes: vec![change], row };
    /// # commit.steps.push(Step::Write(write));
    /// # store.commit(commit)?;
    /// let extent = store.foldable(space, entity)?.extent;
    /// let payload = Bytes::from_static(b"a document with all changes");
    /// let snapshot =
    ///     StoredSnapshot { hash: ChangeHash::from_bytes([4; 32]), changes: 1, changes_bytes: 6, payload };
    /// let mut commit = Commit::new(space, 0);
    /// let new = NewSnapshot { entity, collection, extent, snapshot: snapshot.clone(), is_from_relay: false };
    /// commit.steps.push(Step::Fold(new));
    /// assert_eq!(store.commit(commit)?.folded, [entity]);
    ///
    /// let stored = store.entity(space, entity)?;
    /// assert_eq!((stored.snapshot, stored.changes.len()), (Some(snapshot), 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn foldable(&self, space: SpaceId, entity: EntityId) -> Result<StoredEntity, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(StoredEntity::default()) };
        self.inner.file.read(|txn| snapshot::read_foldable(txn, space.number, entity))
    }

    /// Every change of an entity that is stored by itself: those behind its snapshot, and those before it that wait for the relay.
    pub fn loose_changes(&self, space: SpaceId, entity: EntityId) -> Result<Vec<StoredChange>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(Vec::new()) };
        self.inner.file.read(|txn| snapshot::loose(txn, space.number, entity))
    }

    /// Stores all of `commit`, or nothing. When it returns `Ok`, it is as durable as the commit asked for.
    ///
    /// An empty [`Commit`] makes earlier deferred commits durable.
    ///
    /// ```
    /// # use headwater_storage::{DeviceId, InMemoryBackend, NewReplica, ReplicaStore};
    /// use headwater_storage::{Commit, SpaceId};
    /// # let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 0 };
    /// # let store = ReplicaStore::open_backend(InMemoryBackend::new(), new)?;
    /// let space = SpaceId::from_name("home");
    /// store.commit(Commit::new(space, 0))?;
    /// assert_eq!(store.spaces(), [space]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        commit.check()?;
        let _writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = self.inner.file.write(write::durability(&commit), |txn| {
            let staged = write::write(txn, &self.names(), &commit)?;
            // Before the rows can be seen, so that no reader meets a number that has no name yet. Should the commit fail,
            // the store is poisoned and the names no longer matter.
            self.inner.names.write().unwrap_or_else(PoisonError::into_inner).learn(&staged);
            Ok(Written::Commit(staged))
        })?;
        Ok(Committed { outbox: staged.outbox, folded: staged.folded, due: staged.due })
    }

    /// The changes that wait for the relay, oldest first, from the one after `after`: at most `entries_max` of them, and no
    /// more once their payloads reach `bytes_max`. If any wait, there is at least one, whatever its size.
    pub fn outbox(
        &self,
        space: SpaceId,
        after: OutboxSeq,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(Vec::new()) };
        self.inner.file.read(|txn| {
            let (from, to) = outbox_range(space.number, after);
            let changes = txn.open_table(tables::CHANGES)?;
            let mut entries = Vec::new();
            let mut bytes = 0_usize;
            for row in txn.open_table(tables::OUTBOX)?.range::<&[u8; 12]>(&from..=&to)? {
                if entries.len() >= entries_max.max(1) {
                    break;
                }
                let (key, value) = row?;
                let entry = self.outbox_entry(&changes, space.number, key.value(), value.value())?;
                bytes = bytes.saturating_add(entry.record.payload.len());
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            Ok(entries)
        })
    }

    /// How many changes of `space` wait for the relay.
    pub fn outbox_len(&self, space: SpaceId) -> u64 {
        self.names().space(space).map_or(0, |space| space.outbox_len)
    }

    /// Whether this change still waits.
    pub fn outbox_contains(&self, space: SpaceId, seq: OutboxSeq) -> Result<bool, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(false) };
        self.inner.file.read(|txn| {
            Ok(txn.open_table(tables::OUTBOX)?.get(&ordered_key(space.number, seq.get()))?.is_some())
        })
    }

    /// The newest change of `space` that waits.
    pub fn outbox_last(&self, space: SpaceId) -> Result<Option<OutboxSeq>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(None) };
        self.inner.file.read(|txn| {
            let (from, to) = outbox_range(space.number, OutboxSeq::ZERO);
            let outbox = txn.open_table(tables::OUTBOX)?;
            let last = outbox.range::<&[u8; 12]>(&from..=&to)?.next_back().transpose()?;
            Ok(last.map(|(key, _)| outbox_seq(key.value())))
        })
    }

    /// The entities of `space` that have changes waiting. Reads the whole outbox, but no payloads.
    pub fn outbox_entities(&self, space: SpaceId) -> Result<BTreeSet<EntityId>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(BTreeSet::new()) };
        self.inner.file.read(|txn| {
            let (from, to) = outbox_range(space.number, OutboxSeq::ZERO);
            txn.open_table(tables::OUTBOX)?
                .range::<&[u8; 12]>(&from..=&to)?
                .map(|row| Ok(Waiting::parse(row?.1.value())?.entity))
                .collect()
        })
    }

    /// The changes of `space` that are kept apart, in the order of their entities.
    pub fn set_aside(&self, space: SpaceId) -> Result<Vec<SetAside>, StoreError> {
        self.set_aside_between(space, EntityId::from_bytes([0; 16]), EntityId::from_bytes([0xff; 16]))
    }

    /// The changes of one entity that are kept apart.
    pub fn set_aside_of(&self, space: SpaceId, entity: EntityId) -> Result<Vec<SetAside>, StoreError> {
        self.set_aside_between(space, entity, entity)
    }

    fn set_aside_between(
        &self,
        space: SpaceId,
        first: EntityId,
        last: EntityId,
    ) -> Result<Vec<SetAside>, StoreError> {
        let Some(space) = self.names().space(space) else { return Ok(Vec::new()) };
        self.inner.file.read(|txn| {
            let from = change_key(space.number, first, ChangeHash::from_bytes([0; 32]));
            let to = change_key(space.number, last, ChangeHash::from_bytes([0xff; 32]));
            txn.open_table(tables::SET_ASIDE)?
                .range::<&[u8; 52]>(&from..=&to)?
                .map(|row| {
                    let (key, value) = row?;
                    tables::parse_set_aside(key.value(), value.value())
                })
                .collect()
        })
    }

    fn outbox_entry(
        &self,
        changes: &impl ReadableTable<&'static [u8; 24], &'static [u8]>,
        space: u32,
        key: &[u8; 12],
        value: &[u8; 24],
    ) -> Result<OutboxEntry, StoreError> {
        let waiting = Waiting::parse(value)?;
        let change_key = tables::numbered_key(entity_key(space, waiting.entity), waiting.number);
        let stored = changes.get(&change_key)?.ok_or_else(|| StoreError::corrupt("a row of outbox_v1"))?;
        let stored = tables::parse_change(stored.value())?;
        let record = stored.into_record(waiting.entity, self.name(waiting.collection)?);
        Ok(OutboxEntry { seq: outbox_seq(key), record })
    }

    fn name(&self, collection: u32) -> Result<CollectionName, StoreError> {
        self.names().collection_name(collection).ok_or_else(|| StoreError::corrupt("a collection number"))
    }

    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.inner.names.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReplicaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaStore").field("device", &self.inner.device).finish_non_exhaustive()
    }
}

fn entity_range(number: u32, after: Option<EntityId>) -> (Bound<[u8; 20]>, [u8; 20]) {
    let from = match after {
        Some(entity) => Bound::Excluded(entity_key(number, entity)),
        None => Bound::Included(entity_key(number, EntityId::from_bytes([0; 16]))),
    };
    (from, entity_key(number, EntityId::from_bytes([0xff; 16])))
}

fn entity_of(key: &[u8; 20]) -> EntityId {
    let mut id = [0; 16];
    id.copy_from_slice(&key[4..]);
    EntityId::from_bytes(id)
}

fn outbox_range(number: u32, after: OutboxSeq) -> ([u8; 12], [u8; 12]) {
    (ordered_key(number, after.get().saturating_add(1)), ordered_key(number, u64::MAX))
}

pub(super) fn outbox_seq(key: &[u8; 12]) -> OutboxSeq {
    let mut number = [0; 8];
    number.copy_from_slice(&key[4..]);
    OutboxSeq::new(u64::from_be_bytes(number))
}
