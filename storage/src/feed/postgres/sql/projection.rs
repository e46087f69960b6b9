//! The rows that are made from the feed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Client;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{SqlError, hashes, seq, signed, text};
use crate::feed::ProjectedEntity;
use crate::id::{CollectionName, DeviceId, EntityId, SpaceId};
use crate::position::Seq;

/// Which part of the feed a batch was made from: what stands behind `since`, up to `done`.
///
/// For entities out of their turn, both are the head that the feed had when they were read: the progress then stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Everything up to here is in the projection already.
    pub since: Seq,
    /// With the batch, everything up to here is.
    pub done: Seq,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that were written. The others are there already, as they are or newer.
    pub written: u64,
    /// Rows that were removed.
    pub removed: u64,
    /// Rows that somebody is editing: [`due`] will give them again.
    pub deferred: u64,
    /// How far the projection has come now. `None` if it stands before the batch's beginning, because it was reset: go on from
    /// [`progress`].
    pub progress: Option<Seq>,
}

/// Writes `rows`, removes the rows of entities of which nothing is left, and moves the progress. All of it or nothing.
///
/// A row is written once for each seq: one that is there with the same seq, or a newer one, stays. So does one that has an edit
/// from SQL on it which this state of the entity does not contain yet.
///
/// JSON that Postgres does not take is put right, and noted in `conflicts`: NUL characters are left out (`/_replaced`), and a row that is
/// refused all the same has no data (`/_refused`). One entity does not stop the others.
///
/// # Errors
/// See [`SqlError`].
pub async fn write(
    client: &Client,
    space: SpaceId,
    rows: &[ProjectedEntity],
    removed: &[EntityId],
    span: Span,
) -> Result<Written, SqlError> {
    // An entity that comes twice would make the whole statement fail.
    let mut newest: BTreeMap<EntityId, &ProjectedEntity> = BTreeMap::new();
    for row in rows {
        let kept = newest.entry(row.entity).or_insert(row);
        if kept.seq < row.seq {
            *kept = row;
        }
    }
    let removed: BTreeSet<EntityId> =
        removed.iter().filter(|entity| !newest.contains_key(entity)).copied().collect();
    let removed = removed.into_iter().collect::<Vec<_>>();
    let columns = newest.values().map(|row| Accepted::new(row)).collect::<Vec<_>>();
    match send(client, space, &columns, &removed, span).await {
        Err(SqlError::Database(error)) if is_about_values(&error) => {}
        other => return other,
    }
    let mut written = Written::default();
    // Not from here on: the progress moves with the last statement only.
    let aside = Span { since: Seq::MAX, done: Seq::ZERO };
    for row in columns {
        let one = match send(client, space, std::slice::from_ref(&row), &[], aside).await {
            Err(SqlError::Database(error)) if is_about_values(&error) => {
                tracing::warn!(%space, entity = %row.row.entity, %error, "the database refuses an entity's data");
                send(client, space, &[row.without_data()], &[], aside).await?
            }
            other => other?,
        };
        written.written += one.written;
        written.deferred += one.deferred;
    }
    let last = send(client, space, &[], &removed, span).await?;
    Ok(Written {
        removed: last.removed,
        deferred: written.deferred + last.deferred,
        progress: last.progress,
        ..written
    })
}

/// Entities that have to be projected again, out of their turn: their row was passed over, or an edit laid over it came to nothing.
/// Those whose edits still wait for the relay are left out. They stay until they are written.
///
/// # Errors
/// See [`SqlError`].
pub async fn due(client: &Client, limit: u32) -> Result<Vec<(SpaceId, EntityId)>, SqlError> {
    let statement = client.prepare_cached(DUE).await?;
    let rows = client.query(&statement, &[&i64::from(limit)]).await?;
    rows.iter()
        .map(|row| {
            Ok((SpaceId::from_uuid(row.try_get("space")?), EntityId::from_uuid(row.try_get("entity")?)))
        })
        .collect()
}

/// How far the projection of a space has come.
///
/// # Errors
/// See [`SqlError`].
pub async fn progress(client: &Client, space: SpaceId) -> Result<Seq, SqlError> {
    let statement = client.prepare_cached(PROGRESS).await?;
    match client.query_opt(&statement, &[&space.as_uuid()]).await? {
        Some(row) => Ok(seq(row.try_get(0)?)),
        None => Ok(Seq::ZERO),
    }
}

/// Reads rows in ascending order of their entities: of one collection, or of all; behind `after`, or from the first.
///
/// # Errors
/// See [`SqlError`].
pub async fn rows(
    client: &Client,
    space: SpaceId,
    collection: Option<&CollectionName>,
    after: Option<EntityId>,
    limit: u32,
) -> Result<Vec<ProjectedEntity>, SqlError> {
    let (from, or_same) = match after {
        Some(entity) => (entity.as_uuid(), false),
        None => (Uuid::nil(), true),
    };
    let limit = i64::from(limit);
    let rows = match collection {
        Some(collection) => {
            let statement = client.prepare_cached(&format!("{ROWS} AND collection = $5 {PAGE}")).await?;
            let collection = collection.as_str();
            client.query(&statement, &[&space.as_uuid(), &from, &or_same, &limit, &collection]).await?
        }
        None => {
            let statement = client.prepare_cached(&format!("{ROWS} {PAGE}")).await?;
            client.query(&statement, &[&space.as_uuid(), &from, &or_same, &limit]).await?
        }
    };
    rows.iter().map(read).collect()
}

/// Forgets the rows of a space and how far its projection had come, so that it is made again from the beginning. Rows with an edit
/// that waits for the relay stay. Returns how many went.
///
/// Waits for transactions that are writing the space. A batch that is on its way meanwhile does not move the progress.
///
/// # Errors
/// See [`SqlError`].
pub async fn reset(client: &Client, space: SpaceId) -> Result<u64, SqlError> {
    let statement = client.prepare_cached(RESET).await?;
    let row = client.query_one(&statement, &[&space.as_uuid()]).await?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}

/// A row in a form that Postgres takes.
struct Accepted<'a> {
    row: &'a ProjectedEntity,
    data: Cow<'a, str>,
    conflicts: Cow<'a, str>,
}

impl<'a> Accepted<'a> {
    fn new(row: &'a ProjectedEntity) -> Self {
        let (data, in_data) = text::without_nul(&row.data);
        let (conflicts, in_conflicts) = text::without_nul(&row.conflicts);
        let conflicts = match in_data + in_conflicts {
            0 => conflicts,
            times => {
                let note = format!(r#"[{{"value":"U+0000","times":{times}}}]"#);
                Cow::Owned(text::with_entry(&conflicts, "/_replaced", &note))
            }
        };
        Self { row, data, conflicts }
    }

    fn without_data(self) -> Self {
        let conflicts =
            Cow::Borrowed(r#"{"/_refused":[{"value":"the database does not take this entity's data"}]}"#);
        Self { data: Cow::Borrowed("{}"), conflicts, ..self }
    }
}

async fn send(
    client: &Client,
    space: SpaceId,
    rows: &[Accepted<'_>],
    removed: &[EntityId],
    span: Span,
) -> Result<Written, SqlError> {
    let statement = client.prepare_cached(WRITE).await?;
    let column = |value: fn(&ProjectedEntity) -> Option<i64>| -> Vec<Option<i64>> {
        rows.iter().map(|row| value(row.row)).collect()
    };
    let entities: Vec<Uuid> = rows.iter().map(|row| row.row.entity.as_uuid()).collect();
    let collections: Vec<&str> = rows.iter().map(|row| row.row.collection.as_str()).collect();
    let data: Vec<&str> = rows.iter().map(|row| &*row.data).collect();
    let conflicts: Vec<&str> = rows.iter().map(|row| &*row.conflicts).collect();
    let heads: Vec<String> = rows
        .iter()
        .map(|row| row.row.heads.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        .collect();
    let versions = column(|row| Some(signed(row.version)));
    let seqs = column(|row| Some(signed(row.seq.get())));
    let created = column(|row| row.created_ms.map(text::in_range));
    let updated = column(|row| row.updated_ms.map(text::in_range));
    let deleted = column(|row| row.deleted_ms.map(text::in_range));
    let updated_by: Vec<Option<String>> =
        rows.iter().map(|row| row.row.updated_by.as_ref().map(|name| name.replace('\0', ""))).collect();
    let devices: Vec<Option<Uuid>> =
        rows.iter().map(|row| row.row.updated_device.map(|device| device.as_uuid())).collect();
    let removed: Vec<Uuid> = removed.iter().map(EntityId::as_uuid).collect();
    let row = client
        .query_one(
            &statement,
            &[
                &space.as_uuid(),
                &entities,
                &collections,
                &data,
                &conflicts,
                &heads,
                &versions,
                &seqs,
                &created,
                &updated,
                &deleted,
                &updated_by,
                &devices,
                &removed,
                &signed(span.since.get()),
                &signed(span.done.get()),
            ],
        )
        .await?;
    let count = |column| Ok::<_, SqlError>(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0));
    Ok(Written {
        written: count("written")?,
        removed: count("removed")?,
        deferred: count("deferred")?,
        progress: row.try_get::<_, Option<i64>>("progress")?.map(seq),
    })
}

/// Whether the database refused what it was given, and would again.
fn is_about_values(error: &tokio_postgres::Error) -> bool {
    // Data exceptions, and limits of the program such as the size of a JSON object.
    error.code().is_some_and(|state| state.code().starts_with("22") || state.code().starts_with("54"))
}

fn read(row: &Row) -> Result<ProjectedEntity, SqlError> {
    let entity = EntityId::from_uuid(row.try_get("id")?);
    let collection = CollectionName::new(row.try_get("collection")?).map_err(|error| {
        SqlError::Unreadable { table: "projection", what: format!("entity {entity}: {error}") }
    })?;
    Ok(ProjectedEntity {
        entity,
        collection,
        data: row.try_get("data")?,
        conflicts: row.try_get("conflicts")?,
        heads: hashes(&row.try_get::<_, Vec<String>>("heads")?, "projection")?,
        version: u64::try_from(row.try_get::<_, i64>("version")?).unwrap_or(0),
        seq: seq(row.try_get("seq")?),
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
        deleted_ms: row.try_get("deleted_ms")?,
        updated_by: row.try_get("updated_by")?,
        updated_device: row.try_get::<_, Option<Uuid>>("updated_device")?.map(DeviceId::from_uuid),
    })
}

/// `there` is what this statement sees, and `free` what nobody else is writing at the moment. A row is written only if it is both, and
/// its `pending` is still the one that was seen: an edit that was committed in between is not overwritten.
const WRITE: &str = "
WITH given AS (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::uuid[])
    AS g (id, collection, data, conflicts, heads, version, seq, created_ms, updated_ms, deleted_ms, updated_by, device)
), gone AS (
    SELECT unnest($14::uuid[]) AS id
), there AS MATERIALIZED (
    SELECT p.id, p.seq, p.pending, i.id IS NULL OR i.done_at IS NOT NULL AS is_settled, COALESCE(i.seq, 0) AS awaited
    FROM headwater.projection AS p LEFT JOIN headwater.inbox AS i ON i.id = p.pending
    WHERE p.space = $1 AND p.id = ANY ($2::uuid[] || $14::uuid[])
), free AS MATERIALIZED (
    SELECT p.id FROM headwater.projection AS p
    WHERE p.space = $1 AND p.id = ANY ($2::uuid[] || $14::uuid[])
    ORDER BY p.id FOR UPDATE SKIP LOCKED
), written AS (
    INSERT INTO headwater.projection AS p (space, collection, id, data, conflicts, heads, version, seq, created_at, updated_at,
        deleted_at, updated_by, updated_device, pending)
    SELECT $1, g.collection, g.id, g.data::jsonb, g.conflicts::jsonb, string_to_array(g.heads, ','), g.version, g.seq,
        timestamptz 'epoch' + g.created_ms * interval '1 millisecond',
        timestamptz 'epoch' + g.updated_ms * interval '1 millisecond',
        timestamptz 'epoch' + g.deleted_ms * interval '1 millisecond', g.updated_by, g.device, t.pending
    FROM given AS g LEFT JOIN there AS t ON t.id = g.id LEFT JOIN free AS f ON f.id = g.id
    WHERE t.id IS NULL OR f.id IS NOT NULL AND t.is_settled AND g.seq >= t.awaited
        AND (g.seq > t.seq OR g.seq = t.seq AND t.pending IS NOT NULL)
    ORDER BY g.id
    ON CONFLICT (space, id) DO UPDATE SET collection = excluded.collection, data = excluded.data,
        conflicts = excluded.conflicts, heads = excluded.heads, version = excluded.version, seq = excluded.seq,
        created_at = excluded.created_at, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at,
        updated_by = excluded.updated_by, updated_device = excluded.updated_device, pending = NULL
    WHERE p.pending IS NOT DISTINCT FROM excluded.pending
        AND (p.seq < excluded.seq OR p.seq = excluded.seq AND excluded.pending IS NOT NULL)
    RETURNING p.id
), deleted AS (
    DELETE FROM headwater.projection AS p USING gone AS o, there AS t, free AS f
    WHERE p.space = $1 AND p.id = o.id AND t.id = o.id AND f.id = o.id AND t.is_settled AND t.awaited <= $16::bigint
        AND p.seq <= $16::bigint AND p.pending IS NOT DISTINCT FROM t.pending
    RETURNING p.id
), late AS (
    SELECT g.id, g.seq FROM given AS g LEFT JOIN there AS t ON t.id = g.id
    WHERE (t.id IS NULL OR t.seq < g.seq OR t.pending IS NOT NULL)
        AND NOT EXISTS (SELECT FROM written AS w WHERE w.id = g.id)
    UNION ALL
    SELECT o.id, $16::bigint FROM gone AS o JOIN there AS t ON t.id = o.id
    WHERE t.seq <= $16::bigint AND NOT EXISTS (SELECT FROM deleted AS d WHERE d.id = o.id)
), deferred AS (
    INSERT INTO headwater.due AS d (space, entity, seq) SELECT $1, l.id, l.seq FROM late AS l
    ON CONFLICT (space, entity) DO UPDATE SET seq = GREATEST(d.seq, excluded.seq)
    RETURNING d.entity
), settled AS (
    DELETE FROM headwater.due AS d
    USING (SELECT g.id, g.seq FROM given AS g UNION ALL SELECT o.id, $16::bigint FROM gone AS o) AS s
    WHERE d.space = $1 AND d.entity = s.id AND d.seq <= s.seq AND NOT EXISTS (SELECT FROM late AS l WHERE l.id = s.id)
), moved AS (
    INSERT INTO headwater.progress AS p (space, name, seq)
    SELECT $1, 'projection', $16::bigint
    WHERE $15::bigint = 0 OR EXISTS (SELECT FROM headwater.progress AS q WHERE q.space = $1 AND q.name = 'projection')
    ON CONFLICT (space, name) DO UPDATE SET seq = GREATEST(p.seq, excluded.seq) WHERE p.seq >= $15::bigint
    RETURNING p.seq
)
SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM deleted) AS removed,
    (SELECT count(*) FROM deferred) AS deferred, (SELECT m.seq FROM moved AS m) AS progress";

const DUE: &str = "
SELECT d.space, d.entity FROM headwater.due AS d
LEFT JOIN headwater.projection AS p ON p.space = d.space AND p.id = d.entity
LEFT JOIN headwater.inbox AS i ON i.id = p.pending
WHERE i.id IS NULL OR i.done_at IS NOT NULL
ORDER BY d.space, d.entity LIMIT $1";

const PROGRESS: &str = "SELECT seq FROM headwater.progress WHERE space = $1 AND name = 'projection'";

const ROWS: &str = "
SELECT id, collection, data::text AS data, conflicts::text AS conflicts, heads, version, seq, updated_by, updated_device,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
    (extract(epoch FROM updated_at) * 1000)::bigint AS updated_ms,
    (extract(epoch FROM deleted_at) * 1000)::bigint AS deleted_ms
FROM headwater.projection WHERE space = $1 AND id >= $2 AND ($3 OR id > $2)";

const PAGE: &str = "ORDER BY id LIMIT $4";

/// The progress is set back and not removed: a batch on its way would find none, and begin it again where that batch ends.
const RESET: &str = "
WITH there AS MATERIALIZED (
    SELECT p.id, p.pending FROM headwater.projection AS p LEFT JOIN headwater.inbox AS i ON i.id = p.pending
    WHERE p.space = $1 AND (i.id IS NULL OR i.done_at IS NOT NULL)
), forgotten AS (
    DELETE FROM headwater.projection AS p USING there AS t
    WHERE p.space = $1 AND p.id = t.id AND p.pending IS NOT DISTINCT FROM t.pending
    RETURNING p.id
), back AS (
    UPDATE headwater.progress SET seq = 0 WHERE space = $1 AND name = 'projection'
)
SELECT count(*) FROM forgotten";
