//! Columns of the database as the words of the feed, and back.

use bytes::Bytes;
use tokio_postgres::Row;

use crate::change::{ChangeRecord, PayloadKind};
use crate::error::StoreError;
use crate::feed::FeedRow;
use crate::id::{ChangeHash, CollectionName, DeviceId, EntityId, FeedEpoch};
use crate::position::{ChainHash, Seq, Watermark};

/// The columns that [`feed_row`] reads, in its order.
pub(super) const FEED_COLUMNS: &str = "seq, entity, hash, kind, collection, origin, payload, chain";

pub(super) fn feed_row(row: &Row) -> Result<(FeedRow, ChainHash), StoreError> {
    let kind = u8::try_from(row.get::<_, i16>(3)).ok().and_then(|code| PayloadKind::from_code(code).ok());
    let record = ChangeRecord {
        entity: EntityId::from_uuid(row.get(1)),
        collection: collection(row.get(4))?,
        kind: kind.ok_or_else(|| StoreError::corrupt("headwater.feed.kind"))?,
        hash: hash_of(row.get(2))?,
        payload: Bytes::copy_from_slice(row.get(6)),
    };
    let origin = DeviceId::from_uuid(row.get(5));
    Ok((FeedRow { seq: Seq::new(from_i64(row.get(0))?), origin, record }, chain(row.get(7))?))
}

/// An epoch, a seq and a chain, from column `at` on.
pub(super) fn watermark(row: &Row, at: usize) -> Result<Watermark, StoreError> {
    let epoch = FeedEpoch::from_uuid(row.get(at));
    Ok(Watermark { epoch, seq: Seq::new(from_i64(row.get(at + 1))?), chain: chain(row.get(at + 2))? })
}

pub(super) fn chain(bytes: &[u8]) -> Result<ChainHash, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("a chain hash"))?;
    Ok(ChainHash::from_bytes(bytes))
}

pub(super) fn hash_of(bytes: &[u8]) -> Result<ChangeHash, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("a change hash"))?;
    Ok(ChangeHash::from_bytes(bytes))
}

pub(super) fn collection(name: &str) -> Result<CollectionName, StoreError> {
    CollectionName::new(name).map_err(|_| StoreError::corrupt("a collection's name"))
}

pub(super) fn heads(bytes: &[u8]) -> Result<Vec<ChangeHash>, StoreError> {
    let (heads, []) = bytes.as_chunks::<32>() else {
        return Err(StoreError::corrupt("headwater.heads.heads"));
    };
    Ok(heads.iter().copied().map(ChangeHash::from_bytes).collect())
}

pub(super) fn heads_value(heads: &[ChangeHash]) -> Vec<u8> {
    heads.iter().flat_map(|head| *head.as_bytes()).collect()
}

/// The engine's integers end at half of ours, which no feed reaches.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn from_i64(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::corrupt("a number below zero"))
}
