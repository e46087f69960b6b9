//! What an app or its user should hear of beside patches: changes that are taken away or come back, and
//! alarms.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, Commit, CommitError, Committed, Direction, EntityId, OutboxSeq,
    SetAside, SpaceId, Step, StoreError,
};
use tokio::sync::broadcast;

use super::{Missed, Replica};
use crate::document::{Alarm, Content, author, is_nobodys};

/// Notices that a slow listener may fall behind before it has to look at what is set aside by itself.
const NOTICES_BUFFERED_MAX: usize = 256;
/// Changes of one commit whose content is read for their notices: each takes as long as loading the entity
/// twice, and whoever makes harmful changes says how many there are.
const CONTENTS_READ_MAX: usize = 32;
/// Entities whose alarms are remembered.
const ALARMS_MAX: usize = 10_000;

/// Something that an app should tell its user, or its maker.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The relay's verdict takes a change from everybody. [`Space::reapply`](super::Space::reapply) makes
    /// what it wrote a new edit.
    Quarantined(Withdrawn),
    /// This replica set a change aside: its bytes are damaged, its entity does not load with it, or the space
    /// has an entity with its id in another collection.
    SetAside(Withdrawn),
    /// The relay refused a change of this replica, which stays on this device alone.
    Refused(Withdrawn),
    /// A change that was taken away is used again.
    Released {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
        /// The change.
        hash: ChangeHash,
    },
    /// Something is wrong with an entity, and no change is at fault. It stays as it is, without a snapshot.
    /// Report it as a bug.
    Alarm {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
        /// What is wrong.
        alarm: Alarm,
    },
}

/// A change that was taken away, and what it had written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Withdrawn {
    /// The space.
    pub space: SpaceId,
    /// The collection.
    pub collection: CollectionName,
    /// The entity.
    pub entity: EntityId,
    /// The change.
    pub hash: ChangeHash,
    /// Why.
    pub reason: String,
    /// Whether it was made on this device.
    pub is_own: bool,
    /// What it had written, of the first 32 that one commit takes away.
    /// [`Space::content`](super::Space::content) tells it later, too.
    pub content: Content,
}

/// A stream of notices.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let replica = headwater::Replica::open(directory.path().join("r")).unwrap();
/// let mut notices = replica.notices();
/// assert!(notices.try_next().is_none(), "nothing is wrong");
/// ```
#[derive(Debug)]
#[must_use = "notices come only to a listener that is there when they are made: keep it, and call `next`"]
pub struct Notices {
    receiver: broadcast::Receiver<Notice>,
}

impl Notices {
    /// Waits for the next notice. `None` when the replica is gone.
    ///
    /// # Errors
    /// When notices were missed: [`Space::set_aside`](super::Space::set_aside) lists what they were about.
    /// The next call goes on after them.
    pub async fn next(&mut self) -> Option<Result<Notice, Missed>> {
        match self.receiver.recv().await {
            Ok(notice) => Some(Ok(notice)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(Missed { missed })),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next notice if there is one already.
    ///
    /// # Errors
    /// As for [`Notices::next`].
    pub fn try_next(&mut self) -> Option<Result<Notice, Missed>> {
        match self.receiver.try_recv() {
            Ok(notice) => Some(Ok(notice)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Err(Missed { missed })),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

/// Where notices are put up.
pub(super) struct Board {
    sender: broadcast::Sender<Notice>,
    /// Those that were raised since the replica was opened.
    alarms: Mutex<BTreeMap<(SpaceId, EntityId), Alarm>>,
}

impl Default for Board {
    fn default() -> Board {
        Board { sender: broadcast::Sender::new(NOTICES_BUFFERED_MAX), alarms: Mutex::default() }
    }
}

impl Replica {
    /// Everything from now on that an app should tell its user, or its maker: changes that are taken away or
    /// come back, and alarms.
    ///
    /// ```
    /// use headwater::replica::Notice;
    /// # let directory = tempfile::tempdir()?;
    /// # let replica = headwater::Replica::open(directory.path().join("r"))?;
    /// let mut notices = replica.notices();
    /// while let Some(Ok(notice)) = notices.try_next() {
    ///     match notice {
    ///         Notice::Quarantined(change) if change.is_own => println!("lost, and why: {}", change.reason),
    ///         Notice::Alarm { entity, alarm, .. } => println!("please report this: {entity}: {alarm}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn notices(&self) -> Notices {
        Notices { receiver: self.inner.board.sender.subscribe() }
    }

    /// The entities about which an alarm was raised since the replica was opened.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let replica = headwater::Replica::open(directory.path().join("r"))?;
    /// assert!(replica.alarms().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alarms(&self) -> Vec<(SpaceId, EntityId, Alarm)> {
        let alarms = self.inner.board.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.iter().map(|((space, entity), alarm)| (*space, *entity, alarm.clone())).collect()
    }

    /// Raises an alarm about an entity, once for each kind.
    pub(super) fn alarm(&self, space: SpaceId, entity: EntityId, alarm: Alarm) {
        let mut alarms = self.inner.board.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.get(&(space, entity)) == Some(&alarm) {
            return;
        }
        tracing::error!(%space, %entity, %alarm, "alarm: the entity stays as it is, without a snapshot");
        if alarms.len() < ALARMS_MAX || alarms.contains_key(&(space, entity)) {
            alarms.insert((space, entity), alarm.clone());
        }
        drop(alarms);
        self.put_up(Notice::Alarm { space, entity, alarm });
    }

    /// Takes an alarm back: the entity was looked at again, and is well.
    pub(super) fn all_clear(&self, space: SpaceId, entity: EntityId) {
        let mut alarms = self.inner.board.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.remove(&(space, entity));
    }

    /// Stores a commit by which changes may be taken away or come back, and says so.
    pub(super) fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if self.inner.board.sender.receiver_count() == 0 {
            return self.store().commit(commit);
        }
        let (space, entities) = (commit.space, self.entities_apart(&commit)?);
        let before = self.apart(space, &entities)?;
        let committed = self.store().commit(commit)?;
        if entities.is_empty() {
            return Ok(committed);
        }
        // It is done, whether or not it can be told.
        let Ok(after) = self.apart(space, &entities) else { return Ok(committed) };
        let keys = |asides: &[SetAside]| -> HashSet<(EntityId, ChangeHash, u8)> {
            asides
                .iter()
                .map(|aside| (aside.record.entity, aside.record.hash, aside.direction as u8))
                .collect()
        };
        let (had, has) = (keys(&before), keys(&after));
        let is_new = |aside: &SetAside| {
            !had.contains(&(aside.record.entity, aside.record.hash, aside.direction as u8))
        };
        let new = after.into_iter().filter(is_new).enumerate();
        for (index, SetAside { record, direction, reason, .. }) in new {
            let content = match index {
                0..CONTENTS_READ_MAX => self.content(space, record.entity, record.hash),
                _ => Ok(Content::NotRead),
            };
            let withdrawn = Withdrawn {
                space,
                is_own: self.is_own(&record, direction),
                content: content.unwrap_or(Content::Lost),
                collection: record.collection,
                entity: record.entity,
                hash: record.hash,
                reason: reason.message,
            };
            self.put_up(match direction {
                Direction::Quarantined => Notice::Quarantined(withdrawn),
                Direction::Refused => Notice::Refused(withdrawn),
                Direction::FromRelay | Direction::Damaged | Direction::OtherCollection => {
                    Notice::SetAside(withdrawn)
                }
            });
        }
        let is_gone = |record: &ChangeRecord| {
            !has.iter().any(|(entity, hash, _)| (*entity, *hash) == (record.entity, record.hash))
        };
        for SetAside { record, .. } in before.into_iter().filter(|aside| is_gone(&aside.record)) {
            let (collection, entity, hash) = (record.collection, record.entity, record.hash);
            self.put_up(Notice::Released { space, collection, entity, hash });
        }
        Ok(committed)
    }

    /// Whether a change is of this device. What nobody made is, where it leaves this device and no other.
    fn is_own(&self, record: &ChangeRecord, direction: Direction) -> bool {
        let is_here_alone = match direction {
            Direction::Refused => true,
            Direction::OtherCollection => is_nobodys(&record.payload),
            Direction::FromRelay | Direction::Quarantined | Direction::Damaged => false,
        };
        is_here_alone || author(&record.payload) == Some(self.device_id())
    }

    /// The entities whose changes a commit may take away or give back.
    fn entities_apart(&self, commit: &Commit) -> Result<BTreeSet<EntityId>, StoreError> {
        let mut entities = BTreeSet::new();
        for step in &commit.steps {
            match step {
                Step::SetAside(aside) => entities.extend([aside.record.entity]),
                Step::Judge(judged) => entities.extend([judged.entity]),
                Step::Recover(entity, _) => entities.extend([*entity]),
                Step::Refuse(seq, _) => {
                    let before = OutboxSeq::new(seq.get().saturating_sub(1));
                    let waiting = self.store().outbox(commit.space, before, 1, usize::MAX)?;
                    entities.extend(waiting.iter().map(|waiting| waiting.record.entity));
                }
                _ => {}
            }
        }
        Ok(entities)
    }

    fn apart(&self, space: SpaceId, entities: &BTreeSet<EntityId>) -> Result<Vec<SetAside>, StoreError> {
        let mut apart = Vec::new();
        for entity in entities {
            apart.extend(self.store().set_aside_of(space, *entity)?);
        }
        Ok(apart)
    }

    fn put_up(&self, notice: Notice) {
        // Nobody listening is no error.
        let _listeners = self.inner.board.sender.send(notice).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl crate::Environment for Fixed {
        fn now_ms(&self) -> u64 {
            1_700_000_000_000
        }

        fn random(&self) -> u128 {
            4
        }
    }

    #[test]
    fn an_alarm_is_told_once_and_counted_until_the_entity_is_found_well() {
        // Would bury an app in one alarm, or drop it before anybody looked.
        let replica = Replica::in_memory(Fixed).unwrap();
        let id = replica.space("home").dynamic("bags").unwrap().insert(crate::Map::new()).unwrap().id;
        let (space, mut notices) = (SpaceId::from_name("home"), replica.notices());
        for _ in 0..2 {
            replica.alarm(space, id, Alarm::OtherHeads);
        }
        let told = Notice::Alarm { space, entity: id, alarm: Alarm::OtherHeads };
        assert_eq!((notices.try_next(), notices.try_next()), (Some(Ok(told)), None));
        assert_eq!(replica.alarms(), [(space, id, Alarm::OtherHeads)]);
        assert!(replica.verify().unwrap().alarms.is_empty());
        assert!(replica.alarms().is_empty());
    }
}
