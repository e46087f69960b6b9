//! Snapshots of entities, beside the rows.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::rows::{self, from_i64, to_i64};
use super::{PostgresFeed, connect};
use crate::error::StoreError;
use crate::feed::{FeedSnapshot, ReadError};
use crate::id::{EntityId, SpaceId};
use crate::position::Seq;

/// Snapshots looked through at once.
const AT_ONCE: i64 = 20;

/// Under the space's lock, so that no verdict comes between what it checks and what it writes.
const PUT: &str = "INSERT INTO headwater.snapshots (space, entity, covers, changes, changes_bytes, hash, bytes, digest, payload)
    SELECT h.space, h.entity, $3::bigint, $4::bigint, $5::bigint, $6::bytea, $7::bigint, $8::bytea, $9::bytea
    FROM headwater.heads h WHERE h.space = $1 AND h.entity = $2 AND $3 > 0 AND $3 <= h.last_seq
    AND NOT EXISTS (SELECT 1 FROM headwater.quarantine q WHERE q.space = h.space AND q.entity = h.entity)
    AND NOT EXISTS (SELECT 1 FROM headwater.feed l WHERE l.space = h.space AND l.entity = h.entity AND l.lost_by IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM headwater.feed k WHERE k.space = l.space AND k.entity = l.entity AND k.hash = l.hash
            AND k.lost_by IS NULL AND k.seq <= $3))
    ON CONFLICT (space, entity) DO UPDATE SET covers = EXCLUDED.covers, changes = EXCLUDED.changes,
    changes_bytes = EXCLUDED.changes_bytes, hash = EXCLUDED.hash, bytes = EXCLUDED.bytes, digest = EXCLUDED.digest,
    payload = EXCLUDED.payload WHERE headwater.snapshots.covers < EXCLUDED.covers";

impl PostgresFeed {
    /// Keeps a snapshot of an entity, in place of an older one. Says whether it did; as
    /// [`RedbFeed::put_snapshot`](crate::RedbFeed::put_snapshot).
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn put_snapshot(
        &self,
        space: SpaceId,
        entity: EntityId,
        snapshot: FeedSnapshot,
    ) -> Result<bool, ReadError> {
        self.existing(space).await?;
        let (pool, answer_max) = (self.pool.clone(), self.options.answer_max());
        // Several statements: not to be dropped half way.
        let put = tokio::spawn(async move {
            let mut client = connect::client(&pool).await?;
            let put = async {
                let transaction = client.transaction().await?;
                transaction
                    .query("SELECT 1 FROM headwater.spaces WHERE space = $1 FOR UPDATE", &[&space.as_uuid()])
                    .await?;
                let digest = Sha256::digest(&snapshot.payload).to_vec();
                let (covers, changes) = (to_i64(snapshot.covers.get()), to_i64(snapshot.changes));
                let (bytes, changes_bytes) =
                    (to_i64(snapshot.payload.len() as u64), to_i64(snapshot.changes_bytes));
                let (hash, payload) = (snapshot.hash.as_bytes().as_slice(), snapshot.payload.as_ref());
                let statement = transaction.prepare_cached(PUT).await?;
                let put = transaction
                    .execute(
                        &statement,
                        &[
                            &space.as_uuid(),
                            &entity.as_uuid(),
                            &covers,
                            &changes,
                            &changes_bytes,
                            &hash,
                            &bytes,
                            &digest,
                            &payload,
                        ],
                    )
                    .await?;
                transaction.commit().await?;
                Ok::<_, StoreError>(put > 0)
            };
            match timeout(answer_max, put).await {
                Ok(put) => put,
                Err(_) => Err(connect::silent(client)),
            }
        });
        Ok(put.await.map_err(|_| StoreError::Stopped)??)
    }

    /// The snapshot of an entity. `None` if there is none, or if it is damaged.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn snapshot(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<FeedSnapshot>, ReadError> {
        let statement =
            "SELECT covers, changes, changes_bytes, hash, digest, payload FROM headwater.snapshots
            WHERE space = $1 AND entity = $2";
        let Some(row) = self.query_opt(statement, &[&space.as_uuid(), &entity.as_uuid()]).await? else {
            return self.existing(space).await.map(|_| None);
        };
        let (digest, payload): (&[u8], &[u8]) = (row.get(4), row.get(5));
        if Sha256::digest(payload).as_slice() != digest {
            return Ok(None);
        }
        Ok(Some(FeedSnapshot {
            covers: Seq::new(from_i64(row.get(0))?),
            changes: from_i64(row.get(1))?,
            changes_bytes: from_i64(row.get(2))?,
            hash: rows::hash_of(row.get(3))?,
            payload: Bytes::copy_from_slice(payload),
        }))
    }

    /// Removes the snapshots of a space whose payloads are damaged. Says how many there were.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn drop_damaged_snapshots(&self, space: SpaceId) -> Result<u64, ReadError> {
        self.existing(space).await?;
        let page = "SELECT entity, digest, payload FROM headwater.snapshots WHERE space = $1 AND entity > $2 ORDER BY entity LIMIT $3";
        let drop = "DELETE FROM headwater.snapshots WHERE space = $1 AND entity = $2 AND digest = $3";
        let (mut after, mut dropped) = (EntityId::from_bytes([0; 16]), 0);
        loop {
            let rows = self.query(page, &[&space.as_uuid(), &after.as_uuid(), &AT_ONCE]).await?;
            let Some(last) = rows.last() else { return Ok(dropped) };
            after = EntityId::from_uuid(last.get(0));
            for row in &rows {
                let (digest, payload): (&[u8], &[u8]) = (row.get(1), row.get(2));
                if Sha256::digest(payload).as_slice() != digest {
                    let entity = EntityId::from_uuid(row.get(0));
                    dropped += self.execute(drop, &[&space.as_uuid(), &entity.as_uuid(), &digest]).await?;
                }
            }
        }
    }
}
