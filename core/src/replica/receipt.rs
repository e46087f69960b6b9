use headwater_storage::{ChangeHash, Direction, EntityId, OutboxSeq, Refusal, SpaceId, StoreError};

use super::Replica;

/// A new entity, and the receipt for it.
#[derive(Clone, Debug)]
pub struct Written {
    /// The entity's id.
    pub id: EntityId,
    /// Proof that it is durable here, and a way to wait for the relay.
    pub receipt: Receipt,
}

/// Proof that a write is durable on this device, and a way to wait until it is durable on the relay too.
///
/// An update that changed nothing has a receipt that is done already.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let replica = headwater::Replica::open(directory.path().join("r")).unwrap();
/// let lists = replica.space("home").dynamic("lists").unwrap();
/// let written = lists.insert([("name".to_owned(), "camping".into())].into()).unwrap();
/// assert!(!written.receipt.is_on_relay().unwrap()); // never connected
/// ```
#[derive(Clone, Debug)]
pub struct Receipt {
    replica: Replica,
    space: SpaceId,
    changes: Vec<(OutboxSeq, EntityId, ChangeHash)>,
}

/// A change that will not become durable on the relay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The relay refused it, or has its entity in another collection. It stays on this device, and is listed
    /// with the space's set aside changes.
    #[error("the relay refused the change: {}", .0.message)]
    Refused(Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Receipt {
    pub(super) fn new(
        replica: Replica,
        space: SpaceId,
        changes: Vec<(OutboxSeq, EntityId, ChangeHash)>,
    ) -> Receipt {
        Receipt { replica, space, changes }
    }

    /// Whether the write changed anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The entities that it wrote to.
    ///
    /// ```
    /// # use headwater::{Map, Replica};
    /// # let directory = tempfile::tempdir()?;
    /// # let bags = Replica::open(directory.path().join("r"))?.space("home").dynamic("coffee_bags")?;
    /// let written = bags.insert(Map::from([("name".into(), "Guji".into())]))?;
    /// assert_eq!(written.receipt.entities().collect::<Vec<_>>(), [written.id]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn entities(&self) -> impl Iterator<Item = EntityId> + '_ {
        // The changes of an entity follow each other.
        let changes = self.changes.iter().enumerate();
        let first = changes.filter(|(at, (_, entity, _))| {
            at.checked_sub(1)
                .and_then(|before| self.changes.get(before))
                .is_none_or(|before| before.1 != *entity)
        });
        first.map(|(_, (_, entity, _))| *entity)
    }

    /// Whether the relay has acknowledged every change of this write.
    ///
    /// # Errors
    /// When the relay refused one, or the store failed.
    pub fn is_on_relay(&self) -> Result<bool, ReceiptError> {
        let store = self.replica.store();
        for (seq, _, _) in &self.changes {
            if store.outbox_contains(self.space, *seq)? {
                return Ok(false);
            }
        }
        if self.changes.is_empty() {
            return Ok(true);
        }
        let refused = store.set_aside(self.space)?.into_iter().find(|aside| {
            matches!(aside.direction, Direction::Refused | Direction::OtherCollection)
                && self
                    .changes
                    .iter()
                    .any(|(_, entity, hash)| aside.record.entity == *entity && aside.record.hash == *hash)
        });
        match refused {
            Some(aside) => Err(ReceiptError::Refused(aside.reason)),
            None => Ok(true),
        }
    }

    /// Waits until the relay has acknowledged every change of this write: it is durable there then. Waits for as long as there is
    /// no connection, so put a time limit around it where a person waits.
    ///
    /// # Errors
    /// As for [`Receipt::is_on_relay`].
    pub async fn on_relay(&self) -> Result<(), ReceiptError> {
        let mut moves = self.replica.outbox_moves();
        loop {
            // Marked as seen before looking, so that a move between the look and the wait is not missed.
            moves.borrow_and_update();
            if self.is_on_relay()? {
                return Ok(());
            }
            if moves.changed().await.is_err() {
                return Err(ReceiptError::Store(StoreError::Stopped));
            }
        }
    }
}
