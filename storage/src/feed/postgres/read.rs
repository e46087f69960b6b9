//! Pages by seq and of one entity, and the heads of entities.

use std::collections::BTreeSet;

use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresFeed;
use super::rows::{self, FEED_COLUMNS, from_i64, to_i64};
use crate::error::StoreError;
use crate::feed::filling::Filling;
use crate::feed::{EntityHeads, Page, PageLimit, ReadError};
use crate::id::{EntityId, SpaceId};
use crate::position::{Seq, Watermark};

impl PostgresFeed {
    /// A page of the changes after `after`, in the order of their seqs.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn read_by_seq(&self, space: SpaceId, after: Seq, limit: PageLimit) -> Result<Page, ReadError> {
        // The head first: whatever the rows are read after it has at least these.
        let head = self.existing(space).await?;
        if after >= head.seq {
            return Ok(Page { rows: Vec::new(), end: head, head, is_dense: true });
        }
        // The window bounds the bytes that are sent; the page is filled exactly below.
        let statement = format!(
            "SELECT {FEED_COLUMNS}, lost_by IS NOT NULL FROM (
                SELECT *, (sum(CASE WHEN lost_by IS NULL THEN bytes ELSE 0 END) OVER (ORDER BY seq))::bigint - bytes AS before
                FROM (SELECT {FEED_COLUMNS}, bytes, lost_by FROM headwater.feed
                    WHERE space = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4) AS near
            ) AS page WHERE before < $5 ORDER BY seq"
        );
        let (from, to) = (to_i64(after.get()), to_i64(head.seq.get()));
        let (rows_max, bytes_max) = at_most(limit);
        let found = self.query(&statement, &[&space.as_uuid(), &from, &to, &rows_max, &bytes_max]).await?;
        let lost = found
            .iter()
            .filter(|row| row.get(8))
            .map(|row| from_i64(row.get(0)))
            .collect::<Result<BTreeSet<_>, _>>()?;
        let mut filling = Filling::new(limit, lost);
        let mut end = None;
        for row in &found {
            let (row, chain) = rows::feed_row(row)?;
            let seq = row.seq;
            if filling.is_full() || !filling.push(row) {
                break;
            }
            end = Some(Watermark { epoch: head.epoch, seq, chain });
        }
        let end = end.ok_or_else(|| StoreError::corrupt("headwater.feed ends before its head"))?;
        Ok(Page { rows: filling.rows, end, head, is_dense: filling.is_dense })
    }

    /// A page of the changes of one entity after `after`. None if the feed does not know the entity.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn read_entity(
        &self,
        space: SpaceId,
        entity: EntityId,
        after: Seq,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let head = self.existing(space).await?;
        let statement = format!(
            "SELECT {FEED_COLUMNS}, last FROM (
                SELECT *, (sum(bytes) OVER (ORDER BY seq))::bigint - bytes AS before, max(seq) OVER () AS last
                FROM (SELECT {FEED_COLUMNS}, bytes FROM headwater.feed
                    WHERE space = $1 AND entity = $2 AND seq > $3 AND lost_by IS NULL ORDER BY seq LIMIT $4) AS near
            ) AS page WHERE before < $5 ORDER BY seq"
        );
        let (rows_max, bytes_max) = at_most(limit);
        // One more than asked for: whether there are more is seen by it.
        let asked = rows_max.saturating_add(1);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&space.as_uuid(), &entity.as_uuid(), &to_i64(after.get()), &asked, &bytes_max];
        let found = self.query(&statement, &parameters).await?;
        let last = found.first().map(|row| from_i64(row.get(8))).transpose()?;
        let mut filling = Filling::new(limit, BTreeSet::new());
        let mut end = head;
        for row in &found {
            let (row, chain) = rows::feed_row(row)?;
            let seq = row.seq;
            if filling.is_full() || !filling.push(row) {
                break;
            }
            let is_last = last.is_none_or(|last| seq.get() >= last);
            end = if is_last { head } else { Watermark { epoch: head.epoch, seq, chain } };
        }
        Ok(Page { rows: filling.rows, end, head, is_dense: filling.is_dense })
    }

    /// The heads of at most `limit` entities, in ascending order of their ids, from the one after `after`.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn heads(
        &self,
        space: SpaceId,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityHeads>, ReadError> {
        let after: Option<Uuid> = after.map(|entity| entity.as_uuid());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = match after {
            Some(after) => {
                let statement = "SELECT entity, collection, heads FROM headwater.heads
                    WHERE space = $1 AND entity > $2 ORDER BY entity LIMIT $3";
                self.query(statement, &[&space.as_uuid(), &after, &limit]).await?
            }
            None => {
                let statement = "SELECT entity, collection, heads FROM headwater.heads WHERE space = $1 ORDER BY entity LIMIT $2";
                self.query(statement, &[&space.as_uuid(), &limit]).await?
            }
        };
        if rows.is_empty() {
            self.existing(space).await?;
        }
        Ok(rows.iter().map(entity_heads).collect::<Result<_, _>>()?)
    }
}

pub(super) fn entity_heads(row: &Row) -> Result<EntityHeads, StoreError> {
    Ok(EntityHeads {
        entity: EntityId::from_uuid(row.get(0)),
        collection: rows::collection(row.get(1))?,
        heads: rows::heads(row.get(2))?,
    })
}

/// The most rows and bytes of a page, as the database takes them.
fn at_most(limit: PageLimit) -> (i64, i64) {
    let number = |limit: usize| i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
    (number(limit.entries_max), number(limit.bytes_max))
}
