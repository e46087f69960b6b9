//! What a session wants to read of the store.

use std::fmt::Display;

use headwater::sync::relay::{Input, Output, ReadPlan, StoreTask};
use headwater::wire::{HeadsEntry, MorePages};
use headwater_storage::{
    ChangeRecord, CursorError, EntityHeads, EntityId, FeedStore, PageLimit, PayloadKind, ReadError, Seq,
    SpaceId,
};

/// Reads what `output` asks for and gives the session's next input. `None` if it asks for nothing of the store.
///
/// Whoever opens a space live subscribes before it is opened here, so that nothing falls between the two.
///
/// ```
/// use headwater::sync::relay::{Input, Output};
/// use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, RedbFeed, SpaceId, WriterLimits};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
/// let store = FeedStore::redb(feed, WriterLimits::default())?;
/// let space = SpaceId::from_name("home");
/// let input = headwater_relay::read(&store, Output::ReadHead { space, nonce: 1 }).await;
/// assert!(matches!(input, Some(Input::HeadIs { watermark: None, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn read(store: &FeedStore, output: Output) -> Option<Input<'static>> {
    Some(match output {
        Output::Open { space, position, .. } => {
            let opened = async {
                let standing = store.check_position(space, &position).await?;
                Ok::<_, headwater_storage::StoreError>((standing, store.head(space).await?))
            };
            match opened.await {
                Ok((standing, head)) => Input::Opened { space, standing, head },
                Err(error) => failed(space, StoreTask::Open, &error),
            }
        }
        Output::ReadPage { space, ticket, plan, entries_max, bytes_max } => {
            let limit =
                PageLimit { entries_max, bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) };
            let page = match plan {
                ReadPlan::BySeq { after } => store.read_by_seq(space, after, limit).await.map(Into::into),
                ReadPlan::ByEntity { base, cursor } => {
                    store.read_by_entity(space, base, cursor.as_deref(), limit).await.map(Into::into)
                }
            };
            match page {
                Ok(page) => Input::Page { space, ticket, page },
                // It was of this feed when the space was opened.
                Err(ReadError::Cursor(CursorError::OtherFeed)) => Input::Rewound,
                Err(ReadError::Cursor(_)) => Input::StoreFailed { space, what: StoreTask::Cursor(ticket) },
                Err(ReadError::NoSuchSpace { .. }) => Input::NoFeed { space, ticket },
                Err(error) => failed(space, StoreTask::Page(ticket), &error),
            }
        }
        Output::ListHeads { space, ticket, after, entities_max } => {
            match store.heads(space, after, entities_max).await {
                Ok(entities) => {
                    let more = if entities.len() < entities_max { MorePages::No } else { MorePages::Yes };
                    let entities = entities.into_iter().map(heads_entry).collect();
                    Input::EntityHeads { space, ticket, entities, more }
                }
                Err(ReadError::NoSuchSpace { .. }) => {
                    Input::EntityHeads { space, ticket, entities: Vec::new(), more: MorePages::No }
                }
                Err(error) => failed(space, StoreTask::Heads(ticket), &error),
            }
        }
        Output::LoadEntity { space, entity, ticket } => match load_entity(store, space, entity).await {
            Ok(changes) => Input::EntityLoaded { space, entity, ticket, changes },
            Err(ReadError::NoSuchSpace { .. }) => {
                Input::EntityLoaded { space, entity, ticket, changes: Vec::new() }
            }
            Err(error) => failed(space, StoreTask::Entity(ticket), &error),
        },
        Output::ReadHead { space, nonce } => match store.head(space).await {
            Ok(watermark) => Input::HeadIs { space, nonce, watermark },
            Err(error) => failed(space, StoreTask::Head { nonce }, &error),
        },
        _ => return None,
    })
}

/// The changes of an entity, without those in quarantine and the verdicts on them: who compares heads leaves them out anyway.
async fn load_entity(
    store: &FeedStore,
    space: SpaceId,
    entity: EntityId,
) -> Result<Vec<ChangeRecord>, ReadError> {
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let page = store.read_entity(space, entity, Seq::ZERO, limit).await?;
    let out = store.quarantined_of(space, entity).await?;
    let sound = page.rows.into_iter().map(|row| row.record).filter(|record| {
        record.kind == PayloadKind::Change && out.iter().all(|quarantined| quarantined.hash != record.hash)
    });
    Ok(sound.collect())
}

fn heads_entry(heads: EntityHeads) -> HeadsEntry {
    HeadsEntry { entity: heads.entity, collection: heads.collection, heads: heads.heads }
}

fn failed(space: SpaceId, what: StoreTask, error: &dyn Display) -> Input<'static> {
    tracing::error!(%space, ?what, %error, "a read failed");
    Input::StoreFailed { space, what }
}
