use std::fmt;
use std::ops::Deref;

use headwater_storage::EntityId;

use super::ReadError;

/// The entities of a collection: those that can be read as `T`, and what became of the others. Reads as the slice of the first.
///
/// ```
/// use headwater::{Map, Replica, Value};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Bag { name: String, brews: Vec<Brew> }
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Brew { grams: u32 }
///
/// # let directory = tempfile::tempdir()?;
/// # let replica = Replica::open(directory.path().join("r"))?;
/// let bags = replica.space("home").collection::<Bag>("coffee_bags")?;
/// bags.insert(&Bag { name: "Guji".into(), brews: vec![] })?;
/// // Another version of the app writes grams as a text.
/// let brews = Value::List(vec![Value::Map(Map::from([("grams".into(), "15 g".into())]))]);
/// bags.as_dynamic().insert(Map::from([("name".into(), "Kochere".into()), ("brews".into(), brews)]))?;
///
/// let listed = bags.list()?;
/// assert_eq!(listed.len(), 1);
/// for misfit in &listed.misfits {
///     assert_eq!(misfit.path(), Some("brews[0].grams"));
/// }
/// for (id, bag) in listed {
///     println!("{id}: {}", bag.name);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a list says in `misfits` which entities are missing from it"]
#[non_exhaustive]
pub struct Listed<T> {
    /// The entities that could be read, in ascending order of their ids.
    pub entities: Vec<(EntityId, T)>,
    /// The others, in the same order. They are not lost: they can be read as fields, or by a type that fits.
    pub misfits: Vec<Misfit>,
}

/// An entity that could not be read as the type of its collection.
///
/// Its text names the entity and, if one field is to blame, that field; see [`Listed`] for an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct Misfit {
    /// Which entity.
    pub id: EntityId,
    /// Why: [`ReadError::Decode`] or [`ReadError::Damaged`].
    pub error: ReadError,
}

impl Misfit {
    /// The field that does not fit, from the entity's root: `brews[3].grams`. `None` if it is no single field.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.error {
            ReadError::Decode { error, .. } if !error.path.is_empty() => Some(&error.path),
            _ => None,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl TryFrom<ReadError> for Misfit {
    type Error = ReadError;

    /// An error of the store is not about one entity, and comes back.
    fn try_from(error: ReadError) -> Result<Misfit, ReadError> {
        match error {
            ReadError::Decode { entity: id, .. } | ReadError::Damaged { entity: id, .. } => {
                Ok(Misfit { id, error })
            }
            ReadError::Store(_) => Err(error),
        }
    }
}

impl<T> Deref for Listed<T> {
    type Target = [(EntityId, T)];

    fn deref(&self) -> &[(EntityId, T)] {
        &self.entities
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = (EntityId, T);
    type IntoIter = std::vec::IntoIter<(EntityId, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entities.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listed<T> {
    type Item = &'a (EntityId, T);
    type IntoIter = std::slice::Iter<'a, (EntityId, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entities.iter()
    }
}
