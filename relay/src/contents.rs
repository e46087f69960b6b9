//! What the feed has of one entity, for the work behind it.

use std::collections::HashSet;

use headwater_storage::{
    Bytes, ChangeHash, ChangeRecord, EntityHeads, EntityId, FeedStore, PageLimit, PayloadKind, ReadError,
    Seq, SpaceId,
};

/// What the feed has of one entity.
pub(crate) struct Contents {
    /// Its last change or verdict.
    pub(crate) last: Seq,
    pub(crate) state: EntityHeads,
    /// The changes that are not in quarantine, in the order of the feed.
    pub(crate) sound: Vec<ChangeRecord>,
    /// The place of the last of them.
    pub(crate) last_sound: Seq,
    pub(crate) quarantined: Vec<ChangeRecord>,
}

impl Contents {
    pub(crate) async fn read(
        store: &FeedStore,
        space: SpaceId,
        entity: EntityId,
    ) -> Result<Option<Contents>, ReadError> {
        let Some((last, state)) = store.entity(space, entity).await? else { return Ok(None) };
        let out = store.quarantined_of(space, entity).await?;
        let out: HashSet<ChangeHash> = out.into_iter().map(|change| change.hash).collect();
        let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
        let rows = store.read_entity(space, entity, Seq::ZERO, limit).await?.rows;
        let (mut sound, mut quarantined, mut last_sound) = (Vec::new(), Vec::new(), Seq::ZERO);
        for row in rows {
            if row.seq > last || row.record.kind != PayloadKind::Change {
                continue;
            }
            if out.contains(&row.record.hash) {
                quarantined.push(row.record);
            } else {
                last_sound = row.seq;
                sound.push(row.record);
            }
        }
        Ok(Some(Contents { last, state, sound, last_sound, quarantined }))
    }

    /// The bytes of the sound changes.
    pub(crate) fn sound_bytes(&self) -> usize {
        self.sound.iter().map(|change| change.payload.len()).sum()
    }

    /// The sound changes, as documents are built from them.
    pub(crate) fn sound_changes(&self) -> Vec<(ChangeHash, Bytes)> {
        self.sound.iter().map(|change| (change.hash, change.payload.clone())).collect()
    }
}
