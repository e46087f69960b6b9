//! The verbs that change one entity: `init`, `put`, `set`, `rm`, `restore`.

use headwater::model::JsonError;
use headwater::{DynamicCollection, EntityId};
use serde_json::json;

use crate::args::{Entity, Options, Put, Set};
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::Output;
use crate::record::{ID_FIELD, Incoming, IncomingError};

pub(crate) fn init(options: &Options, output: &mut Output) -> Result<(), Failure> {
    let path = options.replica_path()?;
    let was_there = path.exists();
    let device = options.open(Missing::Create)?.device_id();
    let human = || {
        let what = if was_there { "There is a replica already" } else { "Created a replica" };
        format!("{what} at {}, device {device}", path.display())
    };
    let replica = path.to_string_lossy();
    output.result(human, &json!({ "replica": replica, "device": device.to_string(), "created": !was_there }))
}

pub(crate) fn put(
    options: &Options,
    Put { collection, record }: Put,
    output: &mut Output,
) -> Result<(), Failure> {
    let Incoming { id, fields, .. } = Incoming::parse(record.as_bytes()).map_err(|error| match error {
        IncomingError::Json(error @ JsonError::NotJson(_)) => Failure::BadRecord(error),
        IncomingError::Json(error) => Failure::BadFields(error),
        IncomingError::TwoIds => Failure::TwoIds(error.to_string()),
    })?;
    let entities = options.open_collection(Missing::Create, &collection)?;
    let id = match id {
        Some(id) => {
            entities.upsert_all(vec![(id, fields)])?;
            id
        }
        None => entities.insert(fields)?.id,
    };
    output.result(|| id.to_string(), &done(&entities, id))
}

pub(crate) fn set(
    options: &Options,
    Set { entity, assignments }: Set,
    output: &mut Output,
) -> Result<(), Failure> {
    if assignments.iter().any(|assignment| assignment.field == ID_FIELD) {
        return Err(Failure::SetsId);
    }
    let entities = options.open_collection(Missing::Refuse, &entity.collection)?;
    let fields = assignments.into_iter().map(|assignment| (assignment.field, assignment.value)).collect();
    match entities.set(entity.id, fields) {
        Ok(receipt) => {
            let changed = !receipt.is_empty();
            let human = || {
                if changed { format!("set {}", entity.id) } else { format!("{} is so already", entity.id) }
            };
            output.result(human, &json!({ "id": entity.id.to_string(), "collection": entities.name().as_str(), "changed": changed }))
        }
        Err(error) => Err(why_missing(&entities, entity.id, error.into())),
    }
}

pub(crate) fn remove(options: &Options, entity: &Entity, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_collection(Missing::Refuse, &entity.collection)?;
    match entities.delete(entity.id) {
        Ok(_) => output.result(|| format!("deleted {}", entity.id), &done(&entities, entity.id)),
        Err(error) => Err(why_missing(&entities, entity.id, error.into())),
    }
}

pub(crate) fn restore(options: &Options, entity: &Entity, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_collection(Missing::Refuse, &entity.collection)?;
    entities.restore(entity.id)?;
    output.result(|| format!("restored {}", entity.id), &done(&entities, entity.id))
}

/// Tells an entity that is deleted from one that never was, when an operation did not find it.
pub(crate) fn why_missing(entities: &DynamicCollection, id: EntityId, failure: Failure) -> Failure {
    let is_deleted = || matches!(entities.meta(id), Ok(Some(meta)) if meta.deleted.is_some());
    match failure {
        Failure::NotFound(id) if is_deleted() => Failure::Deleted(id),
        failure => failure,
    }
}

fn done(entities: &DynamicCollection, id: EntityId) -> serde_json::Value {
    json!({ "id": id.to_string(), "collection": entities.name().as_str() })
}
