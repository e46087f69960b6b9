//! Changes that the disk has damaged: found by walking the feeds, or by whoever builds an entity of them, and asked for again.

use std::collections::BTreeSet;

use headwater::ingest::is_whole;
use headwater_storage::{DamagedRow, EntityId, PageLimit, ReadError, Seq, SpaceId, StoreError};

use crate::inside::{RETRY_AFTER, Word, judge};
use crate::state::Relay;

/// Rows walked at once.
const ROWS_AT_ONCE: usize = 1_000;

/// What a walk through all feeds found.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) rows: u64,
    /// Rows whose payloads are damaged. Whoever has their changes is asked for them.
    pub(crate) damaged: Vec<(SpaceId, DamagedRow)>,
    /// Feeds that are not to be trusted at all, and why.
    pub(crate) broken: Vec<(SpaceId, String)>,
    /// Snapshots that were damaged, and are gone. Nothing is lost with them.
    pub(crate) snapshots_dropped: u64,
}

/// Walks all feeds. What is damaged is left out by readers from then on, and replicas are asked for whole copies.
pub(crate) async fn verify(relay: &Relay) -> Result<Verified, ReadError> {
    let mut verified = Verified::default();
    for space in relay.config.store.spaces().await? {
        let mut after = Seq::ZERO;
        loop {
            let walked = match relay.config.store.walk(space, after, ROWS_AT_ONCE, is_whole).await {
                Ok(walked) => walked,
                Err(ReadError::Store(StoreError::Corrupt(why))) => {
                    verified.broken.push((space, why));
                    break;
                }
                Err(error) => return Err(error),
            };
            verified.rows += walked.rows;
            verified.damaged.extend(walked.damaged.iter().map(|row| (space, *row)));
            let fresh: BTreeSet<EntityId> =
                walked.damaged.iter().filter(|row| !row.is_marked).map(|row| row.entity).collect();
            for entity in fresh {
                mark(relay, space, entity).await?;
            }
            match walked.next {
                Some(next) => after = next,
                None => break,
            }
        }
        verified.snapshots_dropped += relay.config.store.drop_damaged_snapshots(space).await?;
    }
    Ok(verified)
}

/// Says in the feed which rows of an entity are lost, if any are that it does not say so of already. Returns whether it did.
pub(crate) async fn mark(relay: &Relay, space: SpaceId, entity: EntityId) -> Result<bool, ReadError> {
    let store = &relay.config.store;
    loop {
        // The state first: the verdict is refused if there is more by the time that it comes.
        let Some((last, state)) = store.entity(space, entity).await? else { return Ok(false) };
        let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
        let rows = store.read_entity(space, entity, Seq::ZERO, limit).await?.rows;
        let damaged: Vec<DamagedRow> = rows
            .iter()
            .filter(|row| !is_whole(&row.record))
            .map(|row| DamagedRow { seq: row.seq, entity, hash: row.record.hash, is_marked: false })
            .collect();
        if damaged.is_empty() {
            return Ok(false);
        }
        tracing::warn!(%space, %entity, rows = damaged.len(), "damaged rows; replicas are asked for whole copies");
        if judge(&relay.hub, space, &state, last, Word::Lost(damaged)).await {
            return Ok(true);
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}
