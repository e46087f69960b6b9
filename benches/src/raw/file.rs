//! redb without Headwater. [`ReplicaFile`] works on a copy of a replica's file, so that tables, keys and sizes are the same.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use headwater::EntityId;
use redb::{
    Builder, Database, Durability, Error, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use crate::OrExit;

// The tables of a replica's file; their layouts are in `storage/src/replica/tables.rs`. A benchmark's file has one space and one
// collection, and both have the number 1.
const ROWS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("rows_v1");
const ENTITIES: TableDefinition<&[u8; 20], &[u8; 40]> = TableDefinition::new("entities_v1");
const CHANGES: TableDefinition<&[u8; 24], &[u8]> = TableDefinition::new("changes_v1");
const OUTBOX: TableDefinition<&[u8; 12], &[u8; 24]> = TableDefinition::new("outbox_v1");
const NUMBER: u32 = 1;

// log: key: counts up from 1; value: any bytes.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// The cache that the replica store gives redb.
const CACHE_BYTES: usize = 64 << 20;

/// How a transaction is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// redb's defaults: one flush.
    Plain,
    /// Two-phase commit and quick repair, as Headwater's stores have it.
    QuickRepair,
}

/// A copy of a replica's file, through redb.
pub struct ReplicaFile {
    db: Database,
    flush: Flush,
}

/// The bytes that one local update writes, apart from its keys.
pub struct UpdateBytes {
    change: Vec<u8>,
    row: Vec<u8>,
}

/// Everything that is stored of one entity.
pub struct StoredEntity {
    state: [u8; 40],
    changes: Vec<Vec<u8>>,
    row: Vec<u8>,
}

/// Opens a file the way the replica store does, and nothing more.
pub fn open_only(path: &Path) -> Database {
    Builder::new().set_cache_size(CACHE_BYTES).open(path).or_exit("opening a redb file")
}

impl ReplicaFile {
    /// Opens the copy. The replica itself must be closed when it is made.
    pub fn open(path: &Path, flush: Flush) -> ReplicaFile {
        ReplicaFile { db: open_only(path), flush }
    }

    /// A new file with the same tables.
    pub fn create(path: &Path, flush: Flush) -> ReplicaFile {
        let db = Builder::new().set_cache_size(CACHE_BYTES).create(path).or_exit("creating a redb file");
        ReplicaFile { db, flush }
    }

    /// The newest change and the row of an entity: what its next update will resemble.
    pub fn update_bytes(&self, entity: EntityId) -> UpdateBytes {
        let StoredEntity { mut changes, row, .. } = self.stored(entity);
        UpdateBytes { change: changes.pop().or_exit("reading a change"), row }
    }

    /// Writes what one local update writes, in one transaction: a change, the row, the entity's state and the outbox.
    pub fn update(&self, entity: EntityId, bytes: &UpdateBytes) {
        let write = || -> Result<(), Error> {
            let txn = begin(&self.db, self.flush)?;
            {
                let mut entities = txn.open_table(ENTITIES)?;
                let (mut changes, mut rows) = (txn.open_table(CHANGES)?, txn.open_table(ROWS)?);
                let key = entity_key(entity);
                let mut state = entities.get(&key)?.map_or([0; 40], |state| *state.value());
                let next = u32::from_be_bytes([state[4], state[5], state[6], state[7]]);
                state[4..8].copy_from_slice(&(next + 1).to_be_bytes());
                changes.insert(&change_key(entity, next), bytes.change.as_slice())?;
                rows.insert(&key, bytes.row.as_slice())?;
                entities.insert(&key, &state)?;
                let mut outbox = txn.open_table(OUTBOX)?;
                let mut counter = outbox.get(&[0; 12])?.map_or([0; 24], |counter| *counter.value());
                let last = counter.first_chunk().map_or(0, |last| u64::from_be_bytes(*last)) + 1;
                counter[..8].copy_from_slice(&last.to_be_bytes());
                let mut place = [0; 12];
                place[..4].copy_from_slice(&NUMBER.to_be_bytes());
                place[4..].copy_from_slice(&last.to_be_bytes());
                outbox.insert(&place, &counter)?;
                outbox.insert(&[0; 12], &counter)?;
            }
            Ok(txn.commit()?)
        };
        write().or_exit("writing the bytes of an update");
    }

    /// Stores whole entities in one transaction.
    pub fn store(&self, entities: &[(EntityId, StoredEntity)]) {
        let write = || -> Result<(), Error> {
            let txn = begin(&self.db, self.flush)?;
            {
                let mut states = txn.open_table(ENTITIES)?;
                let (mut changes, mut rows) = (txn.open_table(CHANGES)?, txn.open_table(ROWS)?);
                for (entity, stored) in entities {
                    for (number, change) in (0..).zip(&stored.changes) {
                        changes.insert(&change_key(*entity, number), change.as_slice())?;
                    }
                    rows.insert(&entity_key(*entity), stored.row.as_slice())?;
                    states.insert(&entity_key(*entity), &stored.state)?;
                }
            }
            Ok(txn.commit()?)
        };
        write().or_exit("storing entities");
    }

    /// Everything that is stored of an entity.
    pub fn stored(&self, entity: EntityId) -> StoredEntity {
        let read = || -> Result<Option<StoredEntity>, Error> {
            let txn = self.db.begin_read()?;
            let key = entity_key(entity);
            let Some(row) = txn.open_table(ROWS)?.get(&key)?.map(|row| row.value().to_vec()) else {
                return Ok(None);
            };
            let Some(state) = txn.open_table(ENTITIES)?.get(&key)?.map(|state| *state.value()) else {
                return Ok(None);
            };
            let (first, last) = (change_key(entity, 0), change_key(entity, u32::MAX));
            let changes = txn.open_table(CHANGES)?;
            let changes =
                changes.range::<&[u8; 24]>(&first..=&last)?.map(|change| Ok(change?.1.value().to_vec()));
            Ok(Some(StoredEntity { state, changes: changes.collect::<Result<_, Error>>()?, row }))
        };
        read().or_exit("reading an entity").or_exit("finding an entity")
    }

    /// Reads a row as a replica does: in a transaction of its own, and copied.
    pub fn get(&self, entity: EntityId) -> Bytes {
        let read = || -> Result<Option<Bytes>, Error> {
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            Ok(rows.get(&entity_key(entity))?.map(|row| Bytes::copy_from_slice(row.value())))
        };
        read().or_exit("reading a row").or_exit("finding a row")
    }

    /// The rows, in a transaction that stays open.
    pub fn rows(&self) -> ReadOnlyTable<&'static [u8; 20], &'static [u8]> {
        let open = || -> Result<_, Error> { Ok(self.db.begin_read()?.open_table(ROWS)?) };
        open().or_exit("opening the rows")
    }
}

impl UpdateBytes {
    /// Keys, values and all, as one run of bytes of the same length.
    pub fn flat(&self) -> Vec<u8> {
        let keys_and_states = 24 + 20 + 40 + 20 + 12 + 24 + 24;
        vec![7; self.change.len() + self.row.len() + keys_and_states]
    }
}

/// A file with one table that rows are added to.
pub struct Log {
    db: Database,
    flush: Flush,
    last: AtomicU64,
}

impl Log {
    /// A new file.
    pub fn create(path: &Path, flush: Flush) -> Log {
        Log { db: Database::create(path).or_exit("creating a redb file"), flush, last: AtomicU64::new(0) }
    }

    /// Adds one row in one transaction.
    pub fn append(&self, row: &[u8]) {
        self.append_all([row]);
    }

    /// Adds rows in one transaction.
    pub fn append_all<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) {
        let write = || -> Result<(), Error> {
            let txn = begin(&self.db, self.flush)?;
            {
                let mut log = txn.open_table(LOG)?;
                for row in rows {
                    log.insert(self.last.fetch_add(1, Ordering::Relaxed) + 1, row)?;
                }
            }
            Ok(txn.commit()?)
        };
        write().or_exit("appending rows");
    }
}

/// The key of an entity's row and state.
pub fn entity_key(entity: EntityId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&NUMBER.to_be_bytes());
    key[4..].copy_from_slice(entity.as_bytes());
    key
}

fn change_key(entity: EntityId, number: u32) -> [u8; 24] {
    let mut key = [0; 24];
    key[..20].copy_from_slice(&entity_key(entity));
    key[20..].copy_from_slice(&number.to_be_bytes());
    key
}

fn begin(db: &Database, flush: Flush) -> Result<WriteTransaction, Error> {
    let mut txn = db.begin_write()?;
    if flush == Flush::QuickRepair {
        txn.set_two_phase_commit(true);
        txn.set_quick_repair(true);
    }
    txn.set_durability(Durability::Immediate)?;
    Ok(txn)
}
