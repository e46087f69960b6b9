//! The deterministic first changes of an entity: one per container field, the same bytes on every device.
//!
//! If two devices each created the list `tags` while offline, Automerge would keep one list and hide the other with everything
//! in it. So a container is created by a change whose actor, time and dependencies follow from the collection, the field's path
//! and its kind alone: both devices make the same change, and share the object. One change per field rather than one per schema
//! version, so that any two versions of an app agree on the fields they share.

use automerge::legacy::OpType;
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use bytes::Bytes;
use headwater_storage::{ChangeHash, CollectionName};
use sha2::{Digest, Sha256};

use super::{Document, WriteError};
use crate::ingest::guarded;
use crate::model::{Container, ContainerKind, Map, Shape, Value};

/// How long the actor of a first change is. Devices have longer ones.
const ACTOR_BYTES: usize = 16;

/// The first changes for every container of a collection's type, parents before children.
#[derive(Clone)]
pub(crate) struct Genesis {
    steps: Vec<GenesisStep>,
}

#[derive(Clone)]
struct GenesisStep {
    container: Container,
    change: Change,
}

impl Genesis {
    pub(crate) fn new(collection: &CollectionName, shape: &Shape) -> Result<Genesis, WriteError> {
        let mut steps: Vec<GenesisStep> = Vec::with_capacity(shape.containers.len());
        for container in &shape.containers {
            let parents = steps
                .iter()
                .filter(|step| is_ancestor(&step.container, container))
                .map(|step| step.change.clone());
            let change = first_change(collection, container, parents.collect())?;
            steps.push(GenesisStep { container: container.clone(), change });
        }
        Ok(Genesis { steps })
    }

    /// Creates in `document` the containers that the edit writes into and that the entity lacks. Returns what was added.
    pub(crate) fn create_missing(
        &self,
        document: &mut Document,
        current: &Map,
        before: &Map,
        after: &Map,
    ) -> Result<Vec<(ChangeHash, Bytes)>, WriteError> {
        let mut added = Vec::new();
        for GenesisStep { container, change } in &self.steps {
            let written = value_at(after, &container.path);
            let needed = written.is_some_and(|value| value.container_kind() == Some(container.kind))
                && value_at(current, &container.path).is_none()
                && !matches!((written, value_at(before, &container.path)), (Some(a), Some(b)) if a.same(b));
            // A parent map that somebody made by hand is another object than ours: the edit then creates the child inside it.
            let parent_is_ours =
                change.deps().iter().all(|dep| document.contains(&ChangeHash::from_bytes(dep.0)));
            let hash = ChangeHash::from_bytes(change.hash().0);
            if needed && parent_is_ours && !document.contains(&hash) {
                document.know(hash, change.max_op());
                document.automerge_mut().apply_changes([change.clone()])?;
                document.size_bytes += change.raw_bytes().len();
                added.push((hash, Bytes::copy_from_slice(change.raw_bytes())));
            }
        }
        Ok(added)
    }
}

/// Whether a change has the form of a deterministic first change: time 0, the first of an actor of 16 bytes, and one operation,
/// which makes a container. Nobody made it at any time, so it says nothing of whether its entity exists, or since when.
pub(super) fn is_first_change(change: &Change) -> bool {
    let may_be = change.timestamp() == 0
        && change.seq() == 1
        && change.len() == 1
        && change.actor_id().to_bytes().len() == ACTOR_BYTES;
    // The engine panics where it decodes an operation of a kind that it does not know.
    let makes_a_container = || match change.decode().operations.first().map(|operation| &operation.action) {
        Some(OpType::Make(_)) => true,
        Some(OpType::Put(value)) => *value == ScalarValue::counter(0),
        _ => false,
    };
    may_be && guarded(makes_a_container).unwrap_or(false)
}

fn is_ancestor(parent: &Container, child: &Container) -> bool {
    parent.kind == ContainerKind::Map
        && parent.path.len() < child.path.len()
        && child.path.starts_with(&parent.path)
}

fn first_change(
    collection: &CollectionName,
    container: &Container,
    parents: Vec<Change>,
) -> Result<Change, WriteError> {
    let mut hasher = Sha256::new();
    for part in
        ["headwater genesis v1", collection.as_str(), kind_name(container.kind)].iter().chain(&container.path)
    {
        // The length in front keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut document = Automerge::new().with_actor(ActorId::from(&hasher.finalize()[..ACTOR_BYTES]));
    document.apply_changes(parents)?;
    let Some((name, parents)) = container.path.split_last() else {
        return Err(WriteError::Engine("a container has a path".into()));
    };
    let mut object: ObjId = ROOT;
    for step in parents {
        object = match document.get(&object, *step)? {
            Some((value, id)) if value.is_object() => id,
            _ => return Err(WriteError::Engine("a container's parent is created before it".into())),
        };
    }
    let mut tx = document.transaction();
    match container.kind {
        ContainerKind::Text => drop(tx.put_object(&object, *name, ObjType::Text)?),
        ContainerKind::List => drop(tx.put_object(&object, *name, ObjType::List)?),
        ContainerKind::Map => drop(tx.put_object(&object, *name, ObjType::Map)?),
        ContainerKind::Counter => tx.put(&object, *name, ScalarValue::counter(0))?,
    }
    tx.commit_with(CommitOptions::default().with_time(0));
    document.get_last_local_change().ok_or_else(|| WriteError::Engine("the first change is missing".into()))
}

fn kind_name(kind: ContainerKind) -> &'static str {
    match kind {
        ContainerKind::Text => "text",
        ContainerKind::List => "list",
        ContainerKind::Map => "map",
        ContainerKind::Counter => "counter",
    }
}

fn value_at<'a>(fields: &'a Map, path: &[&'static str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(fields.get(*first)?, |value, step| value.as_map()?.get(*step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(path: &[&'static str], kind: ContainerKind) -> Container {
        Container { path: path.to_vec(), kind, is_struct: kind == ContainerKind::Map }
    }

    #[test]
    fn the_first_changes_never_change() {
        // Would split every existing entity's texts and lists in two if an upgrade of Automerge or of this module changed a byte.
        let shape = Shape {
            containers: vec![
                container(&["notes"], ContainerKind::Text),
                container(&["water"], ContainerKind::Map),
                container(&["water", "minerals"], ContainerKind::List),
                container(&["brews"], ContainerKind::Counter),
            ],
        };
        let genesis = Genesis::new(&CollectionName::new("coffee_bags").unwrap(), &shape).unwrap();
        let hashes: Vec<String> = genesis.steps.iter().map(|step| hex(&step.change.hash().0[..8])).collect();
        assert_eq!(hashes.join(" "), "fc7ec7bf55e67685 a74a8792ab34ccd4 96b83660da3f32ec 929132adcb7bc39b");
        assert_eq!(genesis.steps[2].change.deps(), [genesis.steps[1].change.hash()]);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
