//! Behind the append: builds each entity that has changed, and puts changes into quarantine with which it would not load any more.
//!
//! It follows the feeds like a reader and remembers in the store how far it has come, so that nothing is passed over by a restart.
//! An entity that changes often is examined once for many changes. What it finds goes into the feed as a verdict, so that all
//! replicas leave out the same changes. Heads that are too many it makes one. What it builds of a sound entity is kept as a snapshot for those who come later. What is
//! wrong and names no culprit is an alarm (`alarms.rs`): nobody leaves anything out for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater::document::{Examined, examine};
use headwater::ingest::Chunk;
use headwater_storage::{
    Bytes, ChangeHash, ChangeRecord, EntityId, FeedSnapshot, FeedStore, ReadError, SpaceId, StoreError,
    snapshot_is_due,
};

use crate::contents::Contents;
use crate::damage;
use crate::inside::{RETRY_AFTER, Word, judge, meet};
use crate::state::{Relay, until_draining};

/// Under which name the store remembers how far the examiner has come.
const NAME: &str = "examiner";
/// Entities looked up at once.
const ENTITIES_AT_ONCE: usize = 256;
/// Up to this size an entity is examined whenever it has changed; a larger one once it has grown by an eighth.
const ALWAYS_BYTES_MAX: usize = 256 << 10;
/// Sizes remembered of larger entities.
const SIZES_MAX: usize = 10_000;
/// The least time between two looks, while the feeds are quiet and while they grow. A hot entity is examined once for what was
/// pushed meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_BUSY: Duration = Duration::from_millis(500);
/// Feeds that have grown again by the end of a rest, or within this time of it, are growing.
const BUSY_WITHIN: Duration = Duration::from_secs(1);
/// How many times as long as it worked it rests. It takes at most half a core, and a tenth of one while the feeds grow.
const REST: u32 = 1;
const REST_BUSY: u32 = 9;
/// How long it works on end.
const WORK: Duration = Duration::from_millis(200);

/// What became of an attempt to release a change.
#[derive(Debug)]
pub(crate) enum Released {
    /// These changes are back: the one that was asked for, and those that waited for it alone.
    Changes(Vec<ChangeHash>),
    /// The entity still does not load with it.
    StillHarmful(String),
    /// It is not in quarantine.
    NotThere,
}

/// Examines what changes until the relay drains.
pub(crate) async fn run(relay: Arc<Relay>) {
    let mut draining = relay.draining.clone();
    let news = relay.hub.news();
    match relay.config.store.spaces().await {
        Ok(spaces) => spaces.into_iter().for_each(|space| news.of(space)),
        Err(error) => {
            tracing::error!(%error, "the spaces cannot be listed; each is examined when it changes")
        }
    }
    let mut sizes = HashMap::new();
    let mut growing = relay.hub.growing();
    let mut rested: Option<tokio::time::Instant> = None;
    let mut last = None;
    loop {
        let mut space = tokio::select! {
            () = until_draining(&mut draining) => return,
            space = news.next(last) => space,
        };
        // A sender that is gone means that the relay is gone.
        let has_grown = growing.has_changed().unwrap_or(false);
        growing.mark_unchanged();
        let is_busy = has_grown && rested.is_some_and(|rested| rested.elapsed() < BUSY_WITHIN);
        let began = tokio::time::Instant::now();
        // All spaces that wait share one rest: with many of them, none waits for as many rests.
        loop {
            let followed = tokio::select! {
                () = until_draining(&mut draining) => return,
                followed = follow(&relay, space, began, &mut sizes) => followed,
            };
            match followed {
                Ok(Followed::ToTheEnd) => {}
                Ok(Followed::InPart) => news.again(space),
                Err(error) => {
                    tracing::error!(%space, %error, "a space could not be examined; tried again when it changes");
                }
            }
            last = Some(space);
            if began.elapsed() >= WORK {
                break;
            }
            match news.take(last) {
                Some(next) => space = next,
                None => break,
            }
        }
        let worked = began.elapsed();
        let (pause, rest) = if is_busy { (PAUSE_BUSY, REST_BUSY) } else { (PAUSE, REST) };
        tokio::select! {
            () = until_draining(&mut draining) => return,
            () = tokio::time::sleep(pause.max(worked * rest)) => {}
        }
        rested = Some(tokio::time::Instant::now());
    }
}

/// How far it came in a space.
enum Followed {
    ToTheEnd,
    /// There is more to examine.
    InPart,
}

/// Examines what has changed in a space since the last time, as long as it may work on end since it `began`.
async fn follow(
    relay: &Relay,
    space: SpaceId,
    began: tokio::time::Instant,
    sizes: &mut HashMap<(SpaceId, EntityId), usize>,
) -> Result<Followed, ReadError> {
    let store = &relay.config.store;
    let mut done = store.progress(space, NAME).await?;
    loop {
        let changed = store.changed_after(space, done, ENTITIES_AT_ONCE).await?;
        if changed.is_empty() {
            return Ok(Followed::ToTheEnd);
        }
        for (seq, entity) in changed {
            let size = sizes.get(&(space, entity)).copied().unwrap_or(0);
            if let Some(size) = examine_entity(relay, space, entity, size).await? {
                if sizes.len() >= SIZES_MAX {
                    sizes.clear();
                }
                sizes.insert((space, entity), size);
            }
            done = seq;
            // After one at least, so that a slow store does not keep it where it is.
            if began.elapsed() >= WORK {
                store.set_progress(space, NAME, done).await?;
                return Ok(Followed::InPart);
            }
        }
        store.set_progress(space, NAME, done).await?;
    }
}

/// Examines an entity, and judges what is wrong with it. Returns its size if it is a large one that was examined.
async fn examine_entity(
    relay: &Relay,
    space: SpaceId,
    entity: EntityId,
    examined_bytes: usize,
) -> Result<Option<usize>, ReadError> {
    loop {
        let Some(contents) = Contents::read(&relay.config.store, space, entity).await? else {
            return Ok(None);
        };
        let bytes = contents.sound_bytes();
        let large = (bytes > ALWAYS_BYTES_MAX).then_some(bytes);
        // Without heads it lost a change, and needs new ones.
        let is_due = bytes >= examined_bytes + examined_bytes / 8 || contents.state.heads.is_empty();
        if large.is_some() && !is_due {
            meet(&relay.hub, space, &contents).await;
            return Ok(None);
        }
        let Examined { heads, snapshot, culprits, alarm } = contents.examine_with(&[]).await?;
        relay.alarms.note(space, entity, alarm.as_ref());
        if culprits.is_empty() {
            if heads == contents.state.heads
                || relay.config.store.set_heads(space, entity, contents.last, heads).await?
            {
                contents.keep(&relay.config.store, space, snapshot).await?;
                meet(&relay.hub, space, &contents).await;
                return Ok(large);
            }
            continue;
        }
        // A change that the disk has damaged is lost, not harmful: whoever holds it is asked for it.
        if damage::mark(relay, space, entity).await? {
            continue;
        }
        tracing::warn!(%space, %entity, changes = culprits.len(), reason = %culprits[0].reason(), "quarantine");
        let word = Word::Quarantine { culprits, heads };
        if judge(&relay.hub, space, &contents.state, contents.last, word).await {
            return Ok(large);
        }
        // The entity has changed since, or the store is failing.
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Takes a change out of quarantine, if its entity loads with it by now.
pub(crate) async fn release(
    relay: &Relay,
    space: SpaceId,
    entity: EntityId,
    hash: ChangeHash,
) -> Result<Released, ReadError> {
    loop {
        let Some(contents) = Contents::read(&relay.config.store, space, entity).await? else {
            return Ok(Released::NotThere);
        };
        let Some(wanted) = contents.quarantined.iter().find(|change| change.hash == hash) else {
            return Ok(Released::NotThere);
        };
        let Examined { heads, culprits, alarm, .. } =
            contents.examine_with(std::slice::from_ref(wanted)).await?;
        if let Some(culprit) = culprits.iter().find(|culprit| culprit.hash() == hash) {
            return Ok(Released::StillHarmful(culprit.reason()));
        }
        if let Some(alarm) = alarm {
            return Ok(Released::StillHarmful(alarm.to_string()));
        }
        let word = Word::Release { hash, heads };
        if judge(&relay.hub, space, &contents.state, contents.last, word).await {
            return Ok(Released::Changes(vec![hash]));
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

impl Contents {
    /// Keeps what was built of the sound changes, if they are all that there is, and have grown enough since the last time.
    async fn keep(
        &self,
        store: &FeedStore,
        space: SpaceId,
        snapshot: Option<Bytes>,
    ) -> Result<(), ReadError> {
        let Some(payload) = snapshot.filter(|_| self.quarantined.is_empty()) else { return Ok(()) };
        let (entity, changes_bytes) = (self.state.entity, self.sound_bytes() as u64);
        let before = store.snapshot(space, entity).await?;
        let changes = self.sound.len() as u64;
        let (kept, written, stood_for) = before
            .map_or((0, 0, 0), |before| (before.changes_bytes, before.payload.len() as u64, before.changes));
        let (more, more_bytes) = (changes.saturating_sub(stood_for), changes_bytes.saturating_sub(kept));
        if !snapshot_is_due(more, more_bytes, written) {
            return Ok(());
        }
        let hash = match Chunk::single(&payload) {
            Ok(chunk) => chunk.hash(),
            Err(error) => {
                tracing::warn!(%space, %entity, %error, "no snapshot");
                return Ok(());
            }
        };
        let snapshot = FeedSnapshot { covers: self.last, changes, changes_bytes, hash, payload };
        if !store.put_snapshot(space, entity, snapshot).await? {
            tracing::debug!(%space, %entity, "no snapshot: something of it is lost or in quarantine");
        }
        Ok(())
    }

    /// Examines the sound changes, and these.
    async fn examine_with(&self, further: &[ChangeRecord]) -> Result<Examined, ReadError> {
        let changes: Vec<_> =
            self.sound.iter().chain(further).map(|change| (change.hash, change.payload.clone())).collect();
        let examined = tokio::task::spawn_blocking(move || examine(changes)).await;
        examined.map_err(|_| ReadError::Store(StoreError::Stopped))
    }
}
