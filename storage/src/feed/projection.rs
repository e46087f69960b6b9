//! What a SQL database shows of an entity.

use crate::id::{ChangeHash, CollectionName, DeviceId, EntityId};
use crate::position::Seq;

/// One entity as a row, made from its changes up to one position of the feed.
///
/// ```
/// use headwater_storage::{ChangeHash, CollectionName, EntityId, ProjectedEntity, Seq};
/// let row = ProjectedEntity {
///     entity: EntityId::from_bytes([1; 16]),
///     collection: CollectionName::new("coffee_bags")?,
///     data: r#"{"name": "Guji"}"#.to_owned(),
///     conflicts: "{}".to_owned(),
///     heads: vec![ChangeHash::from_bytes([2; 32])],
///     version: 1,
///     seq: Seq::new(1),
///     created_ms: Some(1_700_000_000_000),
///     updated_ms: Some(1_700_000_000_000),
///     deleted_ms: None,
///     updated_by: None,
///     updated_device: None,
/// };
/// # let _ = row;
/// # Ok::<(), headwater_storage::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectedEntity {
    /// The entity.
    pub entity: EntityId,
    /// Its collection.
    pub collection: CollectionName,
    /// Its fields: the text of a JSON object.
    pub data: String,
    /// The values that compete, by the path of their field: the text of a JSON object.
    pub conflicts: String,
    /// Its newest changes, in ascending order.
    pub heads: Vec<ChangeHash>,
    /// How many changes it has.
    pub version: u64,
    /// The last change or verdict that the row was made from.
    pub seq: Seq,
    /// When it was created, in milliseconds since 1970, as its author's clock had it.
    pub created_ms: Option<i64>,
    /// When it was last changed.
    pub updated_ms: Option<i64>,
    /// When it was deleted, if it is.
    pub deleted_ms: Option<i64>,
    /// Who changed it last, if that is known: a user, or a SQL role.
    pub updated_by: Option<String>,
    /// The device that changed it last.
    pub updated_device: Option<DeviceId>,
}
