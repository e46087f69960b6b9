use headwater_storage::{CollectionName, EntityId, SpaceId};
use tokio::sync::broadcast;

use crate::document::View;
use crate::model::Value;

/// What one commit changed in one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patch {
    /// The space.
    pub space: SpaceId,
    /// The collection.
    pub collection: CollectionName,
    /// The entity.
    pub entity: EntityId,
    /// What happened to it.
    pub kind: PatchKind,
    /// The names of the top-level fields whose values changed, in order.
    pub fields: Vec<String>,
    /// Whether it was edited here.
    pub origin: Origin,
}

/// What happened to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchKind {
    /// It is new here.
    Created,
    /// Some of its fields changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was deleted and is back.
    Restored,
}

/// Where an edit came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this replica.
    Local,
    /// From the relay.
    Remote,
}

impl Patch {
    /// The difference between two views of an entity, if a reader can see one.
    pub(super) fn between(
        (space, collection, entity): (SpaceId, &CollectionName, EntityId),
        before: Option<&View>,
        after: &View,
        origin: Origin,
    ) -> Option<Patch> {
        let before = before.filter(|view| view.exists());
        if !after.exists() {
            return None;
        }
        let kind = match before {
            None if after.deleted.is_some() => return None,
            None => PatchKind::Created,
            Some(before) => match (before.deleted.is_some(), after.deleted.is_some()) {
                (false, true) => PatchKind::Deleted,
                (true, false) => PatchKind::Restored,
                (true, true) => return None,
                (false, false) => PatchKind::Updated,
            },
        };
        let empty = crate::model::Map::new();
        let old = before.map_or(&empty, |view| &view.fields);
        let gone = old.keys().filter(|key| !after.fields.contains_key(*key));
        let differs = |(key, value): &(&String, &Value)| old.get(*key).is_none_or(|old| old != *value);
        let mut fields: Vec<String> =
            gone.chain(after.fields.iter().filter(differs).map(|(key, _)| key)).cloned().collect();
        fields.sort_unstable();
        if kind == PatchKind::Updated && fields.is_empty() {
            return None;
        }
        Some(Patch { space, collection: collection.clone(), entity, kind, fields, origin })
    }
}

/// A stream of patches.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let replica = headwater::Replica::open(directory.path().join("r")).unwrap();
/// let mut patches = replica.patches();
/// let lists = replica.space("home").dynamic("lists").unwrap();
/// lists.insert([("name".to_owned(), "camping".into())].into()).unwrap();
/// let patch = patches.try_next().unwrap().unwrap();
/// assert_eq!(patch.fields, ["name"]);
/// ```
#[derive(Debug)]
#[must_use = "patches come only to a listener that is there when they are made: keep it, and call `next`"]
pub struct Patches {
    receiver: broadcast::Receiver<Patch>,
}

/// This listener was too slow and missed patches or notices: read what it shows again, then go on listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("missed events: {missed}; read again, then go on")]
pub struct Missed {
    /// How many.
    pub missed: u64,
}

impl Patches {
    pub(super) fn new(receiver: broadcast::Receiver<Patch>) -> Patches {
        Patches { receiver }
    }

    /// Waits for the next patch. `None` when the replica is gone.
    ///
    /// # Errors
    /// When patches were missed; the next call goes on after them.
    pub async fn next(&mut self) -> Option<Result<Patch, Missed>> {
        match self.receiver.recv().await {
            Ok(patch) => Some(Ok(patch)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(Missed { missed })),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next patch if there is one already.
    ///
    /// # Errors
    /// As for [`Patches::next`].
    pub fn try_next(&mut self) -> Option<Result<Patch, Missed>> {
        match self.receiver.try_recv() {
            Ok(patch) => Some(Ok(patch)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Err(Missed { missed })),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}
