use headwater_storage::{ChangeHash, CollectionName, EntityId, NameError, SetAside, SpaceId, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, DynamicCollection, EditError, Replica, TakeBackError};

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
}
