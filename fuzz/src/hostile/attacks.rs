//! One function for each measured attack.

use std::num::NonZeroU64;

use automerge::legacy::{ElementId, Key, ObjectId, OpId};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Change, ExpandedChange, ObjType, ROOT, ReadDoc};
use bytes::Bytes;
use headwater::ChangeHash;

use super::ChangeWriter;

/// An attack on one entity: its name, and the changes to push one after the other.
#[derive(Clone, Debug)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// The changes.
    pub changes: Vec<Bytes>,
}

impl Attack {
    /// Every attack by changes, on an entity that has a field `name`, a list `tags` and these changes.
    ///
    /// # Errors
    /// When the merge engine cannot make one of them; the message says why.
    pub fn all(genuine: &[Bytes]) -> Result<Vec<Attack>, automerge::AutomergeError> {
        let one = |name, change| Attack { name, changes: vec![change] };
        let mut attacks = vec![
            one("ten million operations in 113 bytes", run_length_bomb(10_000_000)),
            one("64 MB in 62 KB", deflate_bomb(64 << 20)),
            one("2,000 maps in each other", deep_nesting(2_000)?),
            one("the highest operation number", highest_operation()),
            one("a number that is taken", stolen_number(genuine)),
            one("an unknown object", unknown_object(genuine)?),
            one("an unknown element", unknown_element(genuine)?),
            one("an unknown actor", unknown_actor()),
            one("an unknown predecessor", dangling_predecessor(genuine)?),
            one("operations numbered too low", low_operation(genuine)?),
            one("operations numbered far ahead", far_ahead(genuine)?),
            one("a name inside a list", key_in_list(genuine)?),
        ];
        attacks.push(Attack { name: "changes whose dependencies never come", changes: orphans(4_000) });
        Ok(attacks)
    }
}

/// A sync message whose Bloom filter has no bits: answering it divides by zero.
pub fn bloom_without_bits() -> Bytes {
    Bytes::from_static(&[0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0])
}

/// A sync message whose Bloom filter asks for 2^32 - 1 probes: answering it allocates 16 GiB.
pub fn bloom_with_huge_probes() -> Bytes {
    Bytes::from_static(&[0x42, 0, 0, 1, 0, 9, 1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0])
}

/// Columns of a few bytes that unfold to so many operations.
pub fn run_length_bomb(operations: u64) -> Bytes {
    ChangeWriter::new().with_nulls(operations).bytes()
}

/// A deflated string of so many bytes.
pub fn deflate_bomb(bytes: usize) -> Bytes {
    ChangeWriter { deflated: true, ..ChangeWriter::new() }.with_string(1, bytes).bytes()
}

/// Maps nested so deep.
///
/// # Errors
/// When the merge engine cannot make it.
pub fn deep_nesting(depth: usize) -> Result<Bytes, automerge::AutomergeError> {
    let mut document = document(&[]);
    let mut object = ROOT;
    for _ in 0..depth {
        object = document.put_object(&object, "k", ObjType::Map)?;
    }
    Ok(last(&mut document))
}

/// An operation after which there are no numbers left for anybody's next one.
pub fn highest_operation() -> Bytes {
    ChangeWriter { start_op: u64::from(u32::MAX), ..ChangeWriter::new() }.with_nulls(2).bytes()
}

/// Another change with the number of the last genuine one.
pub fn stolen_number(genuine: &[Bytes]) -> Bytes {
    let Some(Ok(last)) = genuine.last().map(|last| Change::from_bytes(last.to_vec())) else {
        return Bytes::new();
    };
    let mut stolen = last.decode();
    stolen.time += 1;
    bytes(stolen)
}

/// Changes of an unknown object, element, actor, or with an unknown predecessor: the engine panics, or takes them silently.
///
/// # Errors
/// When the merge engine cannot make it.
pub fn unknown_object(genuine: &[Bytes]) -> Result<Bytes, automerge::AutomergeError> {
    altered(genuine, |change| {
        let nobody = OpId::new(7_777, &change.actor_id);
        change.operations.iter_mut().for_each(|operation| operation.obj = ObjectId::Id(nobody.clone()));
    })
}

/// See [`unknown_object`].
///
/// # Errors
/// When the merge engine cannot make it.
pub fn unknown_element(genuine: &[Bytes]) -> Result<Bytes, automerge::AutomergeError> {
    let mut document = document(genuine);
    let list = match document.get(ROOT, "tags")? {
        Some((_, list)) => list,
        None => document.put_object(ROOT, "tags", ObjType::List)?,
    };
    document.insert(&list, 0, "tag")?;
    let mut change = decoded(&mut document);
    let nobody = OpId::new(7_777, &change.actor_id);
    for operation in change.operations.iter_mut().filter(|operation| operation.insert) {
        operation.key = Key::Seq(ElementId::Id(nobody.clone()));
    }
    Ok(bytes(change))
}

/// A column that names an actor beyond the end of the change's list of actors.
pub fn unknown_actor() -> Bytes {
    let mut change = ChangeWriter::new().with_nulls(1);
    // The object's actor and counter.
    change.columns.insert(0, (1, vec![0x7f, 5]));
    change.columns.insert(1, (2, vec![0x7f, 1]));
    change.bytes()
}

/// See [`unknown_object`].
///
/// # Errors
/// When the merge engine cannot make it.
pub fn dangling_predecessor(genuine: &[Bytes]) -> Result<Bytes, automerge::AutomergeError> {
    altered(genuine, |change| {
        let nobody = OpId::new(1, &ActorId::from(&[7; 16][..]));
        change.operations.iter_mut().for_each(|operation| operation.pred = vec![nobody.clone()].into());
    })
}

/// Operations that are numbered as if nothing had been there before.
///
/// # Errors
/// When the merge engine cannot make it.
pub fn low_operation(genuine: &[Bytes]) -> Result<Bytes, automerge::AutomergeError> {
    altered(genuine, |change| change.start_op = NonZeroU64::MIN)
}

/// Operations that are numbered far beyond what the entity has, so that few numbers are left.
///
/// # Errors
/// When the merge engine cannot make it.
pub fn far_ahead(genuine: &[Bytes]) -> Result<Bytes, automerge::AutomergeError> {
    altered(genuine, |change| change.start_op = NonZeroU64::MIN.saturating_add(1 << 30))
}

/// A field with a name, set inside a list.
///
/// # Errors
/// When the merge engine cannot make it.
pub fn key_in_list(genuine: &[Bytes]) -> Result<Bytes, automerge::AutomergeError> {
    let mut document = document(genuine);
    let list = document.put_object(ROOT, "list", ObjType::List)?;
    document.insert(&list, 0, "tag")?;
    let mut change = decoded(&mut document);
    for operation in change.operations.iter_mut().filter(|operation| operation.insert) {
        (operation.key, operation.insert) = (Key::Map("name".into()), false);
    }
    Ok(bytes(change))
}

/// So many changes that all wait for others.
pub fn orphans(count: u64) -> Vec<Bytes> {
    let nowhere = |number: u64| {
        let mut hash = [7; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        ChangeHash::from_bytes(hash)
    };
    let orphan = |number| {
        let (deps, actor) = (vec![nowhere(number)], number.to_be_bytes().to_vec());
        ChangeWriter { deps, actor, ..ChangeWriter::new() }.with_nulls(2).bytes()
    };
    (0..count).map(orphan).collect()
}

/// A genuine edit of the field `name`, changed by `alter`.
fn altered(
    genuine: &[Bytes],
    alter: impl FnOnce(&mut ExpandedChange),
) -> Result<Bytes, automerge::AutomergeError> {
    let mut document = document(genuine);
    document.put(ROOT, "name", "changed")?;
    let mut change = decoded(&mut document);
    alter(&mut change);
    Ok(bytes(change))
}

/// The entity as somebody has it who wants to harm it.
fn document(genuine: &[Bytes]) -> AutoCommit {
    let mut document = AutoCommit::new().with_actor(ActorId::from(&[9; 16][..]));
    let changes = genuine.iter().filter_map(|change| Change::from_bytes(change.to_vec()).ok());
    // What does not apply is not there, which makes for another attack.
    let _incomplete = document.apply_changes(changes).is_err();
    document
}

fn decoded(document: &mut AutoCommit) -> ExpandedChange {
    let nothing = || Change::from_bytes(ChangeWriter::new().bytes().to_vec()).ok();
    document.get_last_local_change().or_else(nothing).map_or_else(empty, |change| change.decode())
}

fn last(document: &mut AutoCommit) -> Bytes {
    document
        .get_last_local_change()
        .map_or_else(Bytes::new, |change| Bytes::copy_from_slice(change.raw_bytes()))
}

fn bytes(mut change: ExpandedChange) -> Bytes {
    change.hash = None;
    Bytes::copy_from_slice(Change::from(change).raw_bytes())
}

fn empty() -> ExpandedChange {
    ExpandedChange {
        operations: Vec::new(),
        actor_id: ActorId::from(&[9; 16][..]),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::MIN,
        time: 0,
        message: None,
        deps: Vec::new(),
        extra_bytes: Vec::new(),
        author: None,
    }
}
