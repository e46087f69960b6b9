//! The edits that people made with SQL, on their way into the feed.

use deadpool_postgres::Client;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{SqlError, hashes, signed, text};
use crate::id::{ChangeHash, CollectionName, EntityId, SpaceId};
use crate::position::Seq;

/// An edit that waits for its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// Its id. Part of what the change is made from, so that every relay makes the same one.
    pub id: Uuid,
    /// The space.
    pub space: SpaceId,
    /// The collection.
    pub collection: CollectionName,
    /// The entity.
    pub entity: EntityId,
    /// What to do.
    pub kind: InboxKind,
    /// The heads that the editor saw, in the feed's state of the entity. Empty if it had none.
    pub base: Vec<ChangeHash>,
    /// An edit of the same entity, earlier in the inbox, that this one builds on and that is not settled yet.
    pub follows: Option<Uuid>,
    /// The change that this edit builds on beside `base`: that of an edit that is settled already.
    pub follows_change: Option<ChangeHash>,
    /// The SQL role that made it.
    pub role: String,
    /// When, in milliseconds since 1970, on the database's clock.
    pub at_ms: i64,
}

/// What an edit does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxKind {
    /// Creates the entity with these fields: the text of a JSON object.
    Put {
        /// The fields.
        after: String,
    },
    /// Makes what differs between two JSON objects. Fields that do not differ are not part of the edit.
    Patch {
        /// The fields as the editor saw them.
        before: String,
        /// The fields as the editor wants them.
        after: String,
    },
    /// Deletes the entity.
    Delete,
    /// Takes its deletion back.
    Restore,
}

/// What became of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// This change is in the feed, at this position, whether it came there now or before.
    Change(ChangeHash, Seq),
    /// The entity is as the edit wants it without a change.
    Nothing,
    /// No change could be made of it, or the feed did not take it, for this reason. Its author finds it in `headwater.inbox`.
    Failed(String),
}

/// The edits that are not settled, oldest first: an edit comes after the one that it follows.
///
/// An entry that somebody made unreadable by hand is settled as failed, and left out.
///
/// # Errors
/// See [`SqlError`].
pub async fn inbox(client: &Client, limit: u32) -> Result<Vec<InboxEntry>, SqlError> {
    let statement = client.prepare_cached(OPEN).await?;
    let rows = client.query(&statement, &[&i64::from(limit)]).await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        match read(row) {
            Ok(entry) => entries.push(entry),
            Err(SqlError::Unreadable { what, .. }) => {
                let id = row.try_get("id")?;
                let _again = settle(client, id, &Settled::Failed(format!("not readable: {what}"))).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// Notes what became of an edit. The first word holds: for one that is settled nothing happens.
///
/// Edits of one entity are settled in the order in which [`inbox`] gives them, so that each knows the changes that it builds on.
///
/// Gives the entity if it has to be projected again, because the row shows something that will not come through the feed, or the
/// feed's state was passed over while the edit waited. [`due`](super::projection::due) gives the same entities, also after a crash.
///
/// # Errors
/// See [`SqlError`].
pub async fn settle(
    client: &Client,
    id: Uuid,
    settled: &Settled,
) -> Result<Option<(SpaceId, EntityId)>, SqlError> {
    let statement = client.prepare_cached(SETTLE).await?;
    let (change, seq, failed) = match settled {
        Settled::Change(hash, seq) => (Some(hash.to_string()), Some(signed(seq.get())), None),
        Settled::Nothing => (None, None, None),
        // The reason may quote the edit.
        Settled::Failed(reason) => (None, None, Some(reason.replace('\0', ""))),
    };
    match client.query_opt(&statement, &[&id, &change, &failed, &seq]).await? {
        Some(row) => {
            Ok(Some((SpaceId::from_uuid(row.try_get("space")?), EntityId::from_uuid(row.try_get("entity")?))))
        }
        None => Ok(None),
    }
}

/// Removes edits that were settled before a time, in milliseconds since 1970 on the database's clock, except those that others still
/// build on or that have not come back through the feed. Returns how many went.
///
/// # Errors
/// See [`SqlError`].
pub async fn forget_settled(client: &Client, before_ms: i64) -> Result<u64, SqlError> {
    let statement = client.prepare_cached(FORGET).await?;
    Ok(client.execute(&statement, &[&text::in_range(before_ms)]).await?)
}

fn read(row: &Row) -> Result<InboxEntry, SqlError> {
    let unreadable = |what: String| SqlError::Unreadable { table: "inbox", what };
    let json = |column: &'static str| {
        row.try_get::<_, Option<String>>(column)?.ok_or_else(|| unreadable(format!("it has no {column}")))
    };
    let kind = match row.try_get::<_, &str>("kind")? {
        "put" => InboxKind::Put { after: json("after")? },
        "patch" => InboxKind::Patch { before: json("before")?, after: json("after")? },
        "delete" => InboxKind::Delete,
        "restore" => InboxKind::Restore,
        other => return Err(unreadable(format!("its kind is {other:?}"))),
    };
    let collection =
        CollectionName::new(row.try_get("collection")?).map_err(|error| unreadable(error.to_string()))?;
    let follows_change = row.try_get::<_, Option<String>>("follows_change")?;
    Ok(InboxEntry {
        id: row.try_get("id")?,
        space: SpaceId::from_uuid(row.try_get("space")?),
        collection,
        entity: EntityId::from_uuid(row.try_get("entity")?),
        kind,
        base: hashes(&row.try_get::<_, Vec<String>>("base")?, "inbox")?,
        follows: row.try_get("follows")?,
        follows_change: hashes(follows_change.as_slice(), "inbox")?.pop(),
        role: row.try_get("role")?,
        at_ms: row.try_get("at_ms")?,
    })
}

const OPEN: &str = "
SELECT i.id, i.space, i.collection, i.entity, i.kind, i.before::text AS before, i.after::text AS after, i.base, i.role,
    (extract(epoch FROM i.at) * 1000)::bigint AS at_ms,
    CASE WHEN f.done_at IS NULL THEN f.id END AS follows, CASE WHEN f.done_at IS NOT NULL THEN f.tip END AS follows_change
FROM headwater.inbox AS i
LEFT JOIN headwater.inbox AS f ON f.id = i.follows AND f.space = i.space AND f.entity = i.entity
WHERE i.done_at IS NULL ORDER BY i.n LIMIT $1";

/// An edit without a change of its own passes on the one that it follows.
const SETTLE: &str = "
WITH settled AS (
    UPDATE headwater.inbox AS i SET change = $2, failed = $3, done_at = clock_timestamp(),
        tip = COALESCE($2, (SELECT f.tip FROM headwater.inbox AS f
            WHERE f.id = i.follows AND f.space = i.space AND f.entity = i.entity)),
        seq = COALESCE($4, (SELECT f.seq FROM headwater.inbox AS f
            WHERE f.id = i.follows AND f.space = i.space AND f.entity = i.entity))
    WHERE i.id = $1 AND i.done_at IS NULL
    RETURNING i.space, i.entity
), due AS (
    INSERT INTO headwater.due (space, entity, seq) SELECT s.space, s.entity, 0 FROM settled AS s WHERE $2 IS NULL
    ON CONFLICT DO NOTHING
)
SELECT s.space, s.entity FROM settled AS s
WHERE $2 IS NULL OR EXISTS (SELECT FROM headwater.due AS d WHERE d.space = s.space AND d.entity = s.entity)";

const FORGET: &str = "
DELETE FROM headwater.inbox AS i
WHERE i.done_at < timestamptz 'epoch' + $1::bigint * interval '1 millisecond'
    AND NOT EXISTS (SELECT FROM headwater.inbox AS f WHERE f.follows = i.id AND f.done_at IS NULL)
    AND NOT EXISTS (SELECT FROM headwater.projection AS p WHERE p.space = i.space AND p.id = i.entity AND p.pending = i.id)";
