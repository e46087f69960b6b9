//! What can be wrong with an entity: a cause names the changes at fault, an alarm names nobody.
//!
//! Only a cause takes a change away from anybody, and only once a second look has repeated it. A comparison
//! that fails is an alarm: the check may be what is wrong, and an honest change must not go for that.

use headwater_storage::ChangeHash;

use super::ViewError;
use crate::ingest::IngestError;

/// Why a change cannot stay in its entity. Nothing else becomes a verdict, or is set aside from what is
/// stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The merge engine refuses to parse, apply, load or read it.
    #[error("the merge engine refuses it")]
    Refused,
    /// The merge engine panics over it.
    #[error("the merge engine panics over it")]
    Panics,
    /// With it, lists and maps nest deeper than [`DEPTH_MAX`](crate::model::DEPTH_MAX).
    #[error("with it, lists and maps nest too deep")]
    TooDeep,
    /// Its operations are numbered at or below those that it builds on, or far beyond them.
    #[error("its operations are numbered out of order")]
    OutOfOrder,
    /// It builds on a change that has a cause of its own.
    #[error("it builds on {0}, which cannot stay")]
    BuildsOn(ChangeHash),
}

impl Cause {
    pub(super) fn of(error: &IngestError) -> Cause {
        match error {
            IngestError::EnginePanicked => Cause::Panics,
            IngestError::OutOfOrder { .. } | IngestError::FarAhead { .. } => Cause::OutOfOrder,
            _ => Cause::Refused,
        }
    }
}

/// A change that cannot stay in its entity. Only [`examine`](super::examine()) makes one, after two looks
/// that agree.
///
/// ```
/// use headwater::document::{Cause, examine};
/// use headwater::ChangeHash;
/// let hash = ChangeHash::from_bytes([1; 32]);
/// let examined = examine(vec![(hash, bytes::Bytes::from_static(b"no change"))]);
/// let [culprit] = &examined.culprits[..] else { panic!("{examined:?}") };
/// assert_eq!((culprit.hash(), culprit.cause()), (hash, Cause::Refused));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    hash: ChangeHash,
    cause: Cause,
    detail: String,
}

impl Culprit {
    pub(super) fn new(hash: ChangeHash, cause: Cause, detail: String) -> Culprit {
        Culprit { hash, cause, detail }
    }

    /// The change.
    pub fn hash(&self) -> ChangeHash {
        self.hash
    }

    /// Why it cannot stay.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The cause with its details, for people.
    pub fn reason(&self) -> String {
        match self.detail.as_str() {
            "" => self.cause.to_string(),
            detail => format!("{}: {detail}", self.cause),
        }
    }
}

/// Something that must not be, and for which no change can be blamed. The entity stays as it is and works on;
/// it gets no snapshot. Report it as a bug, with the file if that is possible.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Alarm {
    /// Loaded again from its snapshot, the entity has other heads.
    #[error("loaded again from its snapshot, the entity has other heads")]
    OtherHeads,
    /// Loaded again from its snapshot, the entity has another value in this field.
    #[error("loaded again from its snapshot, the entity has another value in the field `{field}`")]
    OtherValue {
        /// The first such field.
        field: String,
    },
    /// A look found changes at fault, and a second look did not find the same.
    #[error("two looks at the entity do not name the same changes")]
    LooksDiffer,
    /// The entity does not load, and yet no change is at fault.
    #[error("the entity does not load, and no change is at fault")]
    Unexplained,
}

/// Why there is no snapshot of an entity.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Named { cause: Cause, detail: String },
    Unnamed(Alarm),
}

impl Fault {
    pub(super) fn refused(detail: impl ToString) -> Fault {
        Fault::Named { cause: Cause::Refused, detail: detail.to_string() }
    }

    pub(super) fn panics() -> Fault {
        Fault::Named { cause: Cause::Panics, detail: String::new() }
    }
}

impl From<IngestError> for Fault {
    fn from(error: IngestError) -> Fault {
        Fault::Named { cause: Cause::of(&error), detail: error.to_string() }
    }
}

impl From<ViewError> for Fault {
    fn from(error: ViewError) -> Fault {
        match error {
            ViewError::TooDeep => Fault::Named { cause: Cause::TooDeep, detail: String::new() },
            error => Fault::refused(error),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Named { cause, detail } if detail.is_empty() => cause.fmt(f),
            Fault::Named { cause, detail } => write!(f, "{cause}: {detail}"),
            Fault::Unnamed(alarm) => alarm.fmt(f),
        }
    }
}
