//! The tables of a feed's file, and the layouts of their keys and values.
//!
//! Spaces get short numbers, from 1 up, so that keys stay short. Collections stay names: a peer may send any number of
//! them, and a table of their numbers in memory would have no bound. All numbers are big-endian.

use bytes::Bytes;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use sha2::{Digest, Sha256};

use crate::change::{ChangeRecord, PayloadKind, Refusal};
use crate::error::StoreError;
use crate::feed::append::{EntityState, Links};
use crate::feed::{FeedRow, FeedSnapshot};
use crate::id::{ChangeHash, DeviceId, EntityId, FeedEpoch};
use crate::layout::{Fields, entity_key, ordered_key, put_name};
use crate::position::{ChainHash, Seq, Watermark};

// spaces_v1: the feeds.
//   key:   space 16
//   value: space number u32 | epoch 16 | head seq u64 | head chain 32
pub(super) const SPACES: TableDefinition<&[u8; 16], &[u8; 60]> = TableDefinition::new("spaces_v1");

// feed_v1: the changes of all feeds. The seqs of a space have no gaps.
//   key:   space number u32 | seq u64
//   value: chain 32 | previous u64 | block u64 | received u64 | origin 16 | entity 16 | hash 32 | kind u8
//          | name length u8, collection name | payload, to the end
// chain:    the chain hash up to and with this change
// previous: the seq of the change of the same entity before this one, 0 if this is its first
// block:    the seq of the last change of the same entity before this one whose number in the entity (from 0) is a multiple
//           of 256 (`BLOCK_LEN`), 0 if there is none: long entities are walked back block by block
// received: milliseconds since 1970
pub(super) const FEED: TableDefinition<&[u8; 12], &[u8]> = TableDefinition::new("feed_v1");

// known_v1: which changes are there.
//   key:   space number u32 | entity 16 | hash 32
//   value: seq u64
pub(super) const KNOWN: TableDefinition<&[u8; 52], &[u8; 8]> = TableDefinition::new("known_v1");

// entities_v1: the state of each entity.
//   key:   space number u32 | entity 16
//   value: last seq u64 | block u64, for its next change | number of changes u64 | name length u8, collection name
//          | heads, 32 each, ascending, to the end
pub(super) const ENTITIES: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("entities_v1");

// tails_v1: the entities in the order of their last changes. An entity that gets a change moves to the end.
//   key:   space number u32 | last seq u64
//   value: entity 16
pub(super) const TAILS: TableDefinition<&[u8; 12], &[u8; 16]> = TableDefinition::new("tails_v1");

// authors_v1: the number of each author's last change of an entity, for entities whose changes came with numbers.
//   key:   space number u32 | entity 16 | author, to the end
//   value: number u64
// The author of length 0 has the highest operation number of the entity instead.
pub(super) const AUTHORS: TableDefinition<&[u8], u64> = TableDefinition::new("authors_v1");

// probe_v1: at most one row, which is there while the store finds out whether the disk takes writes again.
//   key:   0
//   value: zeros
const PROBE: TableDefinition<u8, &[u8]> = TableDefinition::new("probe_v1");

// quarantine_v1: the changes that everybody leaves out. Their rows stay in feed_v1.
//   key:   space number u32 | entity 16 | hash 32
//   value: seq of the verdict u64 | when u64, milliseconds since 1970 | reason code u16 | reason text, to the end
pub(super) const QUARANTINE: TableDefinition<&[u8; 52], &[u8]> = TableDefinition::new("quarantine_v1");

// damaged_v1: rows of feed_v1 whose payloads are damaged. Readers leave them out.
//   key:   space number u32 | seq u64
//   value: space number u32 | entity 16 | hash 32, as in known_v1 | seq of the verdict that says so u64
// Once the change is known again, it has another row.
pub(super) const DAMAGED: TableDefinition<&[u8; 12], &[u8; 60]> = TableDefinition::new("damaged_v1");

// snapshots_v1: one payload for all changes of an entity up to a seq. Whatever is here can be made again from feed_v1.
//   key:   space number u32 | entity 16
//   value: covers seq u64 | how many changes it stands for u64 | bytes of their payloads u64 | hash 32
//          | SHA-256 of all else 32 | payload, to the end
pub(super) const SNAPSHOTS: TableDefinition<&[u8; 20], &[u8]> = TableDefinition::new("snapshots_v1");

// progress_v1: how far those have come who work behind the feed.
//   key:   space number u32 | their name, to the end
//   value: seq u64
pub(super) const PROGRESS: TableDefinition<&[u8], u64> = TableDefinition::new("progress_v1");

// In meta_v1: the last space number given out, u32.
pub(super) const LAST_SPACE: &str = "last_space";

/// Writes a row of this size that means nothing, or takes it out again where there are no bytes.
pub(super) fn probe(txn: &WriteTransaction, bytes: usize) -> Result<(), StoreError> {
    let mut table = txn.open_table(PROBE)?;
    match bytes {
        0 => drop(table.remove(0)?),
        bytes => drop(table.insert(0, vec![0; bytes].as_slice())?),
    }
    Ok(())
}

/// Makes all tables, so that no reader has to deal with a missing one.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(SPACES)?;
    txn.open_table(FEED)?;
    txn.open_table(KNOWN)?;
    txn.open_table(ENTITIES)?;
    txn.open_table(TAILS)?;
    txn.open_table(AUTHORS)?;
    txn.open_table(QUARANTINE)?;
    txn.open_table(PROGRESS)?;
    txn.open_table(DAMAGED)?;
    txn.open_table(SNAPSHOTS)?;
    Ok(())
}

/// A feed: the number of its space, and its head.
#[derive(Clone, Copy)]
pub(super) struct SpaceState {
    pub(super) number: u32,
    pub(super) head: Watermark,
}

impl SpaceState {
    pub(super) fn value(&self) -> [u8; 60] {
        let mut value = [0; 60];
        value[..4].copy_from_slice(&self.number.to_be_bytes());
        value[4..20].copy_from_slice(self.head.epoch.as_bytes());
        value[20..28].copy_from_slice(&self.head.seq.get().to_be_bytes());
        value[28..].copy_from_slice(self.head.chain.as_bytes());
        value
    }

    pub(super) fn parse(value: &[u8; 60]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("spaces_v1", value);
        Ok(Self {
            number: fields.u32()?,
            head: Watermark {
                epoch: FeedEpoch::from_bytes(fields.array()?),
                seq: Seq::new(fields.u64()?),
                chain: ChainHash::from_bytes(fields.array()?),
            },
        })
    }
}

pub(super) fn feed_value(links: Links, received_ms: u64, origin: DeviceId, record: &ChangeRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(122 + record.collection.as_str().len() + record.payload.len());
    value.extend_from_slice(links.chain.as_bytes());
    value.extend_from_slice(&links.previous.to_be_bytes());
    value.extend_from_slice(&links.block.to_be_bytes());
    value.extend_from_slice(&received_ms.to_be_bytes());
    value.extend_from_slice(origin.as_bytes());
    value.extend_from_slice(record.entity.as_bytes());
    value.extend_from_slice(record.hash.as_bytes());
    value.push(record.kind.code());
    put_name(&mut value, &record.collection);
    value.extend_from_slice(&record.payload);
    value
}

pub(super) fn parse_links(value: &[u8]) -> Result<Links, StoreError> {
    let mut fields = Fields::new("feed_v1", value);
    links(&mut fields)
}

pub(super) fn parse_feed(seq: u64, value: &[u8]) -> Result<(Links, FeedRow), StoreError> {
    let mut fields = Fields::new("feed_v1", value);
    let links = links(&mut fields)?;
    let _received_ms = fields.u64()?;
    let origin = DeviceId::from_bytes(fields.array()?);
    let entity = EntityId::from_bytes(fields.array()?);
    let hash = ChangeHash::from_bytes(fields.array()?);
    let kind = PayloadKind::from_code(fields.u8()?).map_err(|_| fields.damaged())?;
    let collection = fields.name()?;
    let payload = Bytes::copy_from_slice(fields.rest());
    let record = ChangeRecord { entity, collection, kind, hash, payload };
    Ok((links, FeedRow { seq: Seq::new(seq), origin, record }))
}

fn links(fields: &mut Fields<'_>) -> Result<Links, StoreError> {
    Ok(Links { chain: ChainHash::from_bytes(fields.array()?), previous: fields.u64()?, block: fields.u64()? })
}

/// The links of one change, which has to be there.
pub(super) fn links_at(
    feed: &impl ReadableTable<&'static [u8; 12], &'static [u8]>,
    number: u32,
    seq: u64,
) -> Result<Links, StoreError> {
    let row = feed.get(&ordered_key(number, seq))?.ok_or_else(|| missing(seq))?;
    parse_links(row.value())
}

/// One change, which has to be there.
pub(super) fn row_at(
    feed: &impl ReadableTable<&'static [u8; 12], &'static [u8]>,
    number: u32,
    seq: u64,
) -> Result<(Links, FeedRow), StoreError> {
    let row = feed.get(&ordered_key(number, seq))?.ok_or_else(|| missing(seq))?;
    parse_feed(seq, row.value())
}

fn missing(seq: u64) -> StoreError {
    StoreError::Corrupt(format!("feed_v1 has no seq {seq}"))
}

pub(super) fn parse_change_key(key: &[u8; 52]) -> (EntityId, ChangeHash) {
    let (mut entity, mut hash) = ([0; 16], [0; 32]);
    entity.copy_from_slice(&key[4..20]);
    hash.copy_from_slice(&key[20..]);
    (EntityId::from_bytes(entity), ChangeHash::from_bytes(hash))
}

pub(super) fn damaged_value(change: &[u8; 52], verdict: Seq) -> [u8; 60] {
    let mut value = [0; 60];
    value[..52].copy_from_slice(change);
    value[52..].copy_from_slice(&verdict.get().to_be_bytes());
    value
}

/// What the damaged change is known by, and the seq of the verdict.
pub(super) fn parse_damaged(value: &[u8; 60]) -> ([u8; 52], u64) {
    let (mut change, mut seq) = ([0; 52], [0; 8]);
    change.copy_from_slice(&value[..52]);
    seq.copy_from_slice(&value[52..]);
    (change, u64::from_be_bytes(seq))
}

pub(super) fn snapshot_value(snapshot: &FeedSnapshot) -> Vec<u8> {
    let mut value = Vec::with_capacity(88 + snapshot.payload.len());
    value.extend_from_slice(&snapshot.covers.get().to_be_bytes());
    value.extend_from_slice(&snapshot.changes.to_be_bytes());
    value.extend_from_slice(&snapshot.changes_bytes.to_be_bytes());
    value.extend_from_slice(snapshot.hash.as_bytes());
    let digest = Sha256::new_with_prefix(&value).chain_update(&snapshot.payload).finalize();
    value.extend_from_slice(&digest);
    value.extend_from_slice(&snapshot.payload);
    value
}

/// What comes before the digest.
const SNAPSHOT_HEAD_BYTES: usize = 8 + 8 + 8 + 32;

/// A row of `snapshots_v1`, of which nothing was copied or compared yet.
pub(super) struct StoredSnapshot<'a> {
    pub(super) covers: Seq,
    pub(super) changes: u64,
    pub(super) changes_bytes: u64,
    pub(super) hash: ChangeHash,
    head: &'a [u8],
    digest: [u8; 32],
    pub(super) payload: &'a [u8],
}

impl<'a> StoredSnapshot<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("snapshots_v1", value);
        Ok(Self {
            covers: Seq::new(fields.u64()?),
            changes: fields.u64()?,
            changes_bytes: fields.u64()?,
            hash: ChangeHash::from_bytes(fields.array()?),
            digest: fields.array()?,
            payload: fields.rest(),
            head: value.get(..SNAPSHOT_HEAD_BYTES).unwrap_or_default(),
        })
    }

    /// Whether it is what was stored. Takes as long as hashing it.
    pub(super) fn is_whole(&self) -> bool {
        let digest = Sha256::new_with_prefix(self.head).chain_update(self.payload).finalize();
        <[u8; 32]>::from(digest) == self.digest
    }

    pub(super) fn snapshot(&self) -> FeedSnapshot {
        let Self { covers, changes, changes_bytes, hash, .. } = *self;
        FeedSnapshot { covers, changes, changes_bytes, hash, payload: Bytes::copy_from_slice(self.payload) }
    }
}

pub(super) fn seq_of(key: &[u8; 12]) -> u64 {
    let mut seq = [0; 8];
    seq.copy_from_slice(&key[4..]);
    u64::from_be_bytes(seq)
}

pub(super) fn author_key(number: u32, entity: EntityId, author: &[u8]) -> Vec<u8> {
    let mut key = entity_key(number, entity).to_vec();
    key.extend_from_slice(author);
    key
}

pub(super) fn progress_key(number: u32, name: &str) -> Vec<u8> {
    let mut key = number.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

pub(super) fn quarantine_value(verdict: Seq, at_ms: u64, reason: &Refusal) -> Vec<u8> {
    let mut value = Vec::with_capacity(18 + reason.message.len());
    value.extend_from_slice(&verdict.get().to_be_bytes());
    value.extend_from_slice(&at_ms.to_be_bytes());
    value.extend_from_slice(&reason.code.to_be_bytes());
    value.extend_from_slice(reason.message.as_bytes());
    value
}

/// The seq of the verdict, when it was made, and why.
pub(super) fn parse_quarantine(value: &[u8]) -> Result<(Seq, u64, Refusal), StoreError> {
    let mut fields = Fields::new("quarantine_v1", value);
    let (seq, at_ms, code) = (Seq::new(fields.u64()?), fields.u64()?, fields.u16()?);
    let message = String::from_utf8_lossy(fields.rest()).into_owned();
    Ok((seq, at_ms, Refusal { code, message }))
}

pub(super) fn entity_value(state: &EntityState) -> Vec<u8> {
    let mut value = Vec::with_capacity(25 + state.collection.as_str().len() + 32 * state.heads.len());
    value.extend_from_slice(&state.last.to_be_bytes());
    value.extend_from_slice(&state.block.to_be_bytes());
    value.extend_from_slice(&state.count.to_be_bytes());
    put_name(&mut value, &state.collection);
    for head in &state.heads {
        value.extend_from_slice(head.as_bytes());
    }
    value
}

pub(super) fn parse_entity(value: &[u8]) -> Result<EntityState, StoreError> {
    let mut fields = Fields::new("entities_v1", value);
    let (last, block, count) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let collection = fields.name()?;
    let damaged = fields.damaged();
    let (heads, []) = fields.rest().as_chunks::<32>() else { return Err(damaged) };
    let heads = heads.iter().copied().map(ChangeHash::from_bytes).collect();
    Ok(EntityState { last, block, count, collection, heads })
}
