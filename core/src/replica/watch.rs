use headwater_storage::{CollectionName, EntityId, SpaceId};
use tokio::sync::broadcast;

/// What one commit changed in one entity. Whoever heard of every patch knows what reads answer: `kind` says
/// what there is of the entity now, and `fields` which of its fields to read again.
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
    /// The names of the top-level fields that are otherwise than before, in order: all that it has where it
    /// was not there to be read, and none where it is not any more.
    pub fields: Vec<String>,
    /// Whether it was edited here.
    pub origin: Origin,
}

/// What happened to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchKind {
    /// It is new here, or it was withdrawn and is back.
    Created,
    /// Some of its fields changed.
    Updated,
    /// It was deleted. It can be restored.
    Deleted,
    /// It was deleted and is back.
    Restored,
    /// There is no such entity in this collection any more, and never was as far as reads can tell: the
    /// relay's verdict or damage took away what it was made of, or the space has its id in another
    /// collection. A [`Notice`](super::Notice) says which changes went, and why.
    Withdrawn,
}

/// Where an edit came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An edit of this replica.
    Local,
    /// From elsewhere: the relay, or a look at what is damaged here.
    Remote,
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
