use headwater_storage::{ChangeHash, CollectionName, EntityId, NameError, SetAside, SpaceId, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, DynamicCollection, EditError, ReapplyError, Receipt, Replica, TakeBackError};
use crate::document::Content;

/// A space of a replica: the unit of sharing and of sync.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let replica = headwater::Replica::open(directory.path().join("r"))?;
/// let space = replica.space("home");
/// assert_eq!(space.pending()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Space {
    replica: Replica,
    id: SpaceId,
}

impl Space {
    pub(super) fn new(replica: Replica, id: SpaceId) -> Space {
        Space { replica, id }
    }

    /// The space's id.
    #[must_use]
    pub fn id(&self) -> SpaceId {
        self.id
    }

    /// A collection whose entities are read and written as `T`: any struct that serde can write and read. It need not exist yet.
    ///
    /// # Errors
    /// When the name is not one, see [`NameError`].
    pub fn collection<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Collection<T>, EditError> {
        let name = CollectionName::new(name)?;
        Collection::new(self.replica.clone(), self.id, name)
    }

    /// A collection whose entities are read and written as fields by name.
    ///
    /// # Errors
    /// When the name is not one, see [`NameError`].
    pub fn dynamic(&self, name: &str) -> Result<DynamicCollection, NameError> {
        Ok(DynamicCollection::new(self.replica.clone(), self.id, CollectionName::new(name)?))
    }

    /// The names of the collections that hold, or held, anything.
    #[must_use]
    pub fn collections(&self) -> Vec<CollectionName> {
        self.replica.store().collections(self.id)
    }

    /// How many local changes the relay has not acknowledged yet.
    ///
    /// # Errors
    /// When the store fails.
    pub fn pending(&self) -> Result<u64, StoreError> {
        Ok(self.replica.store().outbox_len(self.id))
    }

    /// The changes that are kept apart with the reason: refused by the relay, or unusable here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.replica.store().set_aside(self.id)
    }

    /// Tries to use a change after all that is kept apart, such as one that an earlier version could not read.
    ///
    /// ```
    /// # use headwater::{ChangeHash, EntityId, Replica};
    /// # let directory = tempfile::tempdir()?;
    /// let space = Replica::open(directory.path().join("r"))?.space("home");
    /// let (entity, hash) = (EntityId::from_bytes([1; 16]), ChangeHash::from_bytes([2; 32]));
    /// assert!(space.take_back(entity, hash).is_err(), "nothing is kept apart");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When it still cannot be used, or the relay decided so. It stays apart then.
    pub fn take_back(&self, entity: EntityId, hash: ChangeHash) -> Result<(), TakeBackError> {
        self.replica.take_back(self.id, entity, hash)
    }

    /// What a change that is kept apart had written. Takes as long as loading the entity twice.
    ///
    /// ```
    /// use headwater::document::Content;
    /// # use headwater::{ChangeHash, EntityId, Replica};
    /// # let directory = tempfile::tempdir()?;
    /// let space = Replica::open(directory.path().join("r"))?.space("home");
    /// let (entity, hash) = (EntityId::from_bytes([1; 16]), ChangeHash::from_bytes([2; 32]));
    /// assert_eq!(space.content(entity, hash)?, Content::Lost, "nothing is kept apart");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub fn content(&self, entity: EntityId, hash: ChangeHash) -> Result<Content, StoreError> {
        self.replica.content(self.id, entity, hash)
    }

    /// Makes what a change that is kept apart had written a new edit of this device, on what is there now. An entity that went with
    /// the change is created again. The change stays apart. It is written again once, so that what it counted does not count twice;
    /// only two devices that do so before they hear of each other both do it.
    ///
    /// A change that is kept apart because its id is in another collection is made again with all that its
    /// entity was, as a new entity in the collection that it named. [`Receipt::entities`] says under which
    /// id; a second call changes nothing. All devices use the same id: where another one has made it again
    /// already, the fields that it has stay, and those that it lacks are added.
    ///
    /// ```
    /// # use headwater::{ChangeHash, EntityId, Replica};
    /// # let directory = tempfile::tempdir()?;
    /// let space = Replica::open(directory.path().join("r"))?.space("home");
    /// let (entity, hash) = (EntityId::from_bytes([1; 16]), ChangeHash::from_bytes([2; 32]));
    /// assert!(space.reapply(entity, hash).is_err(), "nothing is kept apart");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ReapplyError`].
    pub fn reapply(&self, entity: EntityId, hash: ChangeHash) -> Result<Receipt, ReapplyError> {
        self.replica.reapply(self.id, entity, hash)
    }
}
