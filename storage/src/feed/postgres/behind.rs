//! What the work behind the feed needs: what has changed, how far it has come, quarantine, and walking the whole feed.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::rows::{self, FEED_COLUMNS, from_i64, to_i64};
use super::{PostgresFeed, read};
use crate::change::{ChangeRecord, Refusal};
use crate::error::StoreError;
use crate::feed::{DamagedRow, EntityHeads, Quarantined, ReadError, Walked};
use crate::id::{ChangeHash, EntityId, SpaceId};
use crate::position::{ChainHash, Seq, Watermark};

const QUARANTINED: &str = "SELECT q.entity, q.hash, f.seq, q.verdict, q.at_ms, q.code, q.message FROM headwater.quarantine q
    LEFT JOIN headwater.feed f ON f.space = q.space AND f.entity = q.entity AND f.hash = q.hash AND f.lost_by IS NULL";

impl PostgresFeed {
    /// At most `limit` entities whose last change or verdict comes after `after`, in the order of those, with their seqs.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn changed_after(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, EntityId)>, ReadError> {
        let statement = "SELECT last_seq, entity FROM headwater.heads WHERE space = $1 AND last_seq > $2 ORDER BY last_seq LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(statement, &[&space.as_uuid(), &to_i64(after.get()), &limit]).await?;
        if rows.is_empty() {
            self.existing(space).await?;
        }
        let found =
            rows.iter().map(|row| Ok((Seq::new(from_i64(row.get(0))?), EntityId::from_uuid(row.get(1)))));
        Ok(found.collect::<Result<_, StoreError>>()?)
    }

    /// The last seq of an entity, and its heads without what is in quarantine. `None` if the feed does not know it.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn entity(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<(Seq, EntityHeads)>, ReadError> {
        let statement = "SELECT entity, collection, heads, last_seq FROM headwater.heads WHERE space = $1 AND entity = $2";
        match self.query_opt(statement, &[&space.as_uuid(), &entity.as_uuid()]).await? {
            Some(row) => Ok(Some((Seq::new(from_i64(row.get(3))?), read::entity_heads(&row)?))),
            None => self.existing(space).await.map(|_| None),
        }
    }

    /// At most `limit` changes in quarantine, in ascending order of entity and hash, from the one after `after`.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn quarantined(
        &self,
        space: SpaceId,
        after: Option<(EntityId, ChangeHash)>,
        limit: usize,
    ) -> Result<Vec<Quarantined>, ReadError> {
        let nothing = || (EntityId::from_bytes([0; 16]), ChangeHash::from_bytes([0; 32]));
        let is_first = after.is_none();
        let (entity, hash) = after.unwrap_or_else(nothing);
        let statement = format!(
            "{QUARANTINED} WHERE q.space = $1 AND ($2 OR (q.entity, q.hash) > ($3, $4)) ORDER BY q.entity, q.hash LIMIT $5"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let hash = hash.as_bytes().as_slice();
        let rows =
            self.query(&statement, &[&space.as_uuid(), &is_first, &entity.as_uuid(), &hash, &limit]).await?;
        if rows.is_empty() {
            self.existing(space).await?;
        }
        Ok(rows.iter().map(quarantined).collect::<Result<_, _>>()?)
    }

    /// The changes of one entity that are in quarantine.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn quarantined_of(
        &self,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Vec<Quarantined>, ReadError> {
        let statement = format!("{QUARANTINED} WHERE q.space = $1 AND q.entity = $2 ORDER BY q.hash");
        let rows = self.query(&statement, &[&space.as_uuid(), &entity.as_uuid()]).await?;
        if rows.is_empty() {
            self.existing(space).await?;
        }
        Ok(rows.iter().map(quarantined).collect::<Result<_, _>>()?)
    }

    /// How far `name` has come in its work behind the feed. Zero if it has never said.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn progress(&self, space: SpaceId, name: &str) -> Result<Seq, ReadError> {
        let statement = "SELECT seq FROM headwater.progress WHERE space = $1 AND name = $2";
        match self.query_opt(statement, &[&space.as_uuid(), &name]).await? {
            Some(row) => Ok(Seq::new(from_i64(row.get(0))?)),
            None => self.existing(space).await.map(|_| Seq::ZERO),
        }
    }

    /// Remembers how far `name` has come. It never goes back: of several relays the one that is ahead counts.
    ///
    /// # Errors
    /// When the space has no feed, or the database fails.
    pub async fn set_progress(&self, space: SpaceId, name: &str, seq: Seq) -> Result<(), ReadError> {
        let statement = "INSERT INTO headwater.progress (space, name, seq) SELECT s.space, $2, $3 FROM headwater.spaces s
            WHERE s.space = $1 ON CONFLICT (space, name) DO UPDATE SET seq = GREATEST(headwater.progress.seq, EXCLUDED.seq)";
        match self.execute(statement, &[&space.as_uuid(), &name, &to_i64(seq.get())]).await? {
            0 => Err(ReadError::NoSuchSpace { space }),
            _ => Ok(()),
        }
    }

    /// Walks at most `limit` rows after `after`: compares the chain, and asks `is_whole` about each payload. As
    /// [`RedbFeed::walk`](crate::RedbFeed::walk).
    ///
    /// # Errors
    /// When the space has no feed, the database fails, or the chain is broken.
    pub async fn walk(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
        is_whole: impl Fn(&ChangeRecord) -> bool,
    ) -> Result<Walked, ReadError> {
        let head = self.existing(space).await?;
        let mut walked = Walked::default();
        if after >= head.seq {
            return Ok(walked);
        }
        let statement = format!(
            "SELECT {FEED_COLUMNS}, lost_by IS NOT NULL, EXISTS (SELECT 1 FROM headwater.feed k
                WHERE k.space = f.space AND k.entity = f.entity AND k.hash = f.hash AND k.lost_by IS NULL)
            FROM headwater.feed f WHERE f.space = $1 AND f.seq >= $2 AND f.seq <= $3 ORDER BY f.seq LIMIT $4"
        );
        // From the row before on, for its chain.
        let limit =
            i64::try_from(limit.max(1)).unwrap_or(i64::MAX).saturating_add(i64::from(after > Seq::ZERO));
        let (from, to) = (to_i64(after.get()), to_i64(head.seq.get()));
        let rows = self.query(&statement, &[&space.as_uuid(), &from, &to, &limit]).await?;
        let mut at =
            Watermark { epoch: head.epoch, seq: Seq::ZERO, chain: ChainHash::start(space, head.epoch) };
        for row in &rows {
            let (found, chain) = rows::feed_row(row)?;
            if found.seq == after {
                at = Watermark { epoch: head.epoch, seq: after, chain };
                continue;
            }
            let (entity, hash) = (found.record.entity, found.record.hash);
            at = at.extended(entity, hash);
            if at.chain != chain || at.seq != found.seq {
                return Err(StoreError::Corrupt(format!("the chain breaks at seq {}", at.seq)).into());
            }
            walked.rows += 1;
            let (is_marked, is_back): (bool, bool) = (row.get(8), row.get(9));
            let is_damaged = if is_marked { !is_back } else { !is_whole(&found.record) };
            if is_damaged {
                walked.damaged.push(DamagedRow { seq: found.seq, entity, hash, is_marked });
            }
        }
        if walked.rows == 0 {
            return Err(StoreError::corrupt("headwater.feed ends before its head").into());
        }
        if at.seq < head.seq {
            walked.next = Some(at.seq);
        } else if at != head {
            return Err(StoreError::corrupt("the head of the chain").into());
        }
        Ok(walked)
    }

    /// Sets an entity's heads right, if its last change or verdict is still the one at `last`. Says whether it was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_heads(
        &self,
        space: SpaceId,
        entity: EntityId,
        last: Seq,
        mut heads: Vec<ChangeHash>,
    ) -> Result<bool, ReadError> {
        heads.sort_unstable();
        let statement =
            "UPDATE headwater.heads SET heads = $4 WHERE space = $1 AND entity = $2 AND last_seq = $3";
        let (heads, last) = (rows::heads_value(&heads), to_i64(last.get()));
        Ok(self.execute(statement, &[&space.as_uuid(), &entity.as_uuid(), &last, &heads]).await? > 0)
    }

    /// The spaces whose feeds have gone on since `name` has said how far it has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn behind(&self, name: &str) -> Result<Vec<SpaceId>, StoreError> {
        let statement = "SELECT s.space FROM headwater.spaces s
            LEFT JOIN headwater.progress p ON p.space = s.space AND p.name = $1
            WHERE s.head_seq > COALESCE(p.seq, 0) ORDER BY s.space";
        let rows = self.query(statement, &[&name]).await?;
        Ok(rows.iter().map(|row| SpaceId::from_uuid(row.get(0))).collect())
    }

    /// Who pushed the changes at `seqs`, where that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pushers(&self, space: SpaceId, seqs: &[Seq]) -> Result<BTreeMap<Seq, String>, StoreError> {
        let statement = "SELECT seq, pushed_by FROM headwater.feed WHERE space = $1 AND seq = ANY($2) AND pushed_by IS NOT NULL";
        let seqs: Vec<i64> = seqs.iter().map(|seq| to_i64(seq.get())).collect();
        let rows = self.query(statement, &[&space.as_uuid(), &seqs]).await?;
        rows.iter().map(|row| Ok((Seq::new(from_i64(row.get(0))?), row.get(1)))).collect()
    }

    /// Forgets who pushed what before `before_ms`, in milliseconds since 1970. Says how many pushes are forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_audit(&self, before_ms: u64) -> Result<u64, StoreError> {
        self.execute("DELETE FROM headwater.audit WHERE at_ms < $1", &[&to_i64(before_ms)]).await
    }
}

fn quarantined(row: &Row) -> Result<Quarantined, StoreError> {
    let seq = row.get::<_, Option<i64>>(2).map(from_i64).transpose()?;
    let code = u16::try_from(row.get::<_, i32>(5)).map_err(|_| StoreError::corrupt("a quarantine's code"))?;
    Ok(Quarantined {
        entity: EntityId::from_uuid(row.get(0)),
        hash: rows::hash_of(row.get(1))?,
        seq: seq.map(Seq::new),
        verdict: Seq::new(from_i64(row.get(3))?),
        at_ms: from_i64(row.get(4))?,
        reason: Refusal { code, message: row.get(6) },
    })
}
