//! The projection: a row for each entity, kept behind the feed.

use headwater::document::{Projection, project};
use headwater_storage::sql::projection::{self, Span};
use headwater_storage::{
    CollectionName, EntityId, FeedStore, PostgresFeed, ProjectedEntity, ReadError, Seq, SpaceId,
};

use super::{Failed, LOOK_EVERY, Lease};
use crate::config::Config;
use crate::contents::Contents;
use crate::state::Relay;

/// Under which name the store remembers how far the projection has come.
const NAME: &str = "projection";
/// Entities in one batch. Each batch is one transaction.
const ENTITIES_AT_ONCE: usize = 256;

/// Brings the rows of all spaces up to where their feeds are.
pub(super) async fn run(relay: &Relay, database: &PostgresFeed, lease: &mut Lease) -> Result<(), Failed> {
    for space in database.behind(NAME).await? {
        if let Err(error) = follow(relay, database, space, lease).await {
            tracing::warn!(%space, %error, "a space's rows are behind; tried again");
        }
    }
    let due = projection::due(&database.client().await?, ENTITIES_AT_ONCE as u32).await?;
    for (space, entity) in due {
        let Some(head) = database.head(space).await? else { continue };
        let span = Span { since: head.seq, done: head.seq };
        write(relay, database, space, &[entity], span).await?;
    }
    Ok(())
}

async fn follow(
    relay: &Relay,
    database: &PostgresFeed,
    space: SpaceId,
    lease: &mut Lease,
) -> Result<(), Failed> {
    loop {
        let since = projection::progress(&database.client().await?, space).await?;
        let changed = database.changed_after(space, since, ENTITIES_AT_ONCE).await?;
        let Some((done, _)) = changed.last().copied() else { return Ok(()) };
        let entities: Vec<EntityId> = changed.into_iter().map(|(_, entity)| entity).collect();
        write(relay, database, space, &entities, Span { since, done }).await?;
        if !lease.hold(database).await? {
            return Ok(());
        }
    }
}

/// Writes the rows of these entities.
async fn write(
    relay: &Relay,
    database: &PostgresFeed,
    space: SpaceId,
    entities: &[EntityId],
    span: Span,
) -> Result<(), Failed> {
    let (mut rows, mut removed, mut places) = (Vec::with_capacity(entities.len()), Vec::new(), Vec::new());
    for entity in entities {
        match row(&relay.config.store, space, *entity).await? {
            Some((row, place)) => {
                rows.push(row);
                places.push(place);
            }
            None => removed.push(*entity),
        }
    }
    let pushers = database.pushers(space, &places).await?;
    for (row, place) in rows.iter_mut().zip(&places) {
        row.updated_by = pushers.get(place).cloned();
    }
    let client = database.client().await?;
    let written = projection::write(&client, space, &rows, &removed, span).await?;
    tracing::debug!(%space, ?written, "projected");
    Ok(())
}

/// The row of an entity, and the place of its last change in the feed. `None` if there is nothing to show of it.
async fn row(
    store: &FeedStore,
    space: SpaceId,
    entity: EntityId,
) -> Result<Option<(ProjectedEntity, Seq)>, ReadError> {
    let Some(contents) = Contents::read(store, space, entity).await? else { return Ok(None) };
    let changes = contents.sound_changes();
    let version = changes.len() as u64;
    let projected = tokio::task::spawn_blocking(move || project(changes)).await;
    let projected = projected.map_err(|_| headwater_storage::StoreError::Stopped)?;
    let Contents { last, state, last_sound, .. } = contents;
    let row = match projected {
        Ok(None) => return Ok(None),
        Ok(Some(Projection { data, conflicts, meta, .. })) => ProjectedEntity {
            entity,
            collection: state.collection,
            data: data.to_string(),
            conflicts: conflicts.to_string(),
            heads: meta.heads,
            version,
            seq: last,
            created_ms: meta.created.map(|at| at.0),
            updated_ms: meta.updated.map(|at| at.0),
            deleted_ms: meta.deleted.map(|at| at.0),
            updated_by: None,
            updated_device: meta.updated_by,
        },
        // The examiner finds the culprit; until then the row says so, and others go on.
        Err(error) => {
            tracing::warn!(%space, %entity, %error, "an entity cannot be shown");
            let note = serde_json::json!({ "/_unreadable": [{ "value": error.to_string() }] });
            ProjectedEntity {
                entity,
                collection: state.collection,
                data: "{}".to_owned(),
                conflicts: note.to_string(),
                heads: state.heads,
                version,
                seq: last,
                created_ms: None,
                updated_ms: None,
                deleted_ms: None,
                updated_by: None,
                updated_device: None,
            }
        }
    };
    Ok(Some((row, last_sound)))
}

/// Makes all rows again from the feed. Works beside running relays.
///
/// # Errors
/// When the store has no SQL, or the database fails.
///
/// ```no_run
/// # async fn rebuild(config: headwater_relay::Config) -> Result<(), Box<dyn std::error::Error>> {
/// let rows = headwater_relay::sql::rebuild(config).await?;
/// println!("{rows} rows made again");
/// # Ok(())
/// # }
/// ```
pub async fn rebuild(config: Config) -> Result<u64, Failed> {
    let relay = Relay::offline(config);
    let database =
        relay.config.store.database().filter(|database| database.has_sql()).ok_or(Failed::NoSql)?.clone();
    let (mut rows, mut lease) = (0, Lease::default());
    for space in database.spaces().await? {
        rows += projection::reset(&database.client().await?, space).await?;
    }
    loop {
        run(&relay, &database, &mut lease).await?;
        if database.behind(NAME).await?.is_empty() {
            return Ok(rows);
        }
        // A running relay makes them.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reads entities as the projection shows them, from any store: those of one collection or of all, by ascending id after `after`, at
/// most `limit` looked at. Returns where to go on, if there are more.
///
/// # Errors
/// When the feed cannot be read.
///
/// ```
/// use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, RedbFeed, SpaceId, WriterLimits};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
/// let store = FeedStore::redb(feed, WriterLimits::default())?;
/// assert!(headwater_relay::sql::entities(&store, SpaceId::from_name("home"), None, None, 100).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn entities(
    store: &FeedStore,
    space: SpaceId,
    collection: Option<&CollectionName>,
    after: Option<EntityId>,
    limit: usize,
) -> Result<(Vec<ProjectedEntity>, Option<EntityId>), ReadError> {
    let page = store.heads(space, after, limit.max(1)).await?;
    let next = (page.len() == limit.max(1)).then(|| page.last().map(|last| last.entity)).flatten();
    let mut rows = Vec::new();
    for heads in page {
        if collection.is_none_or(|name| *name == heads.collection)
            && let Some((row, _)) = row(store, space, heads.entity).await?
        {
            rows.push(row);
        }
    }
    Ok((rows, next))
}
