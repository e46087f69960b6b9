//! What must hold when everybody has heard of everything.

use std::collections::BTreeMap;

use headwater::replica::{EntityPosition, MergeRequest};
use headwater::{EntityId, EntityMeta, Map, Replica, SpaceId};
use headwater_storage::{ChangeHash, PageLimit, Position, ReadError, Seq};

use crate::clash::is_clashing;
use crate::device::Device;
use crate::history::History;
use crate::relay::Relay;
use crate::violation::{Promise, Violation};
use crate::{Clock, Random, clash, words};

/// Times that a replica is built again from its changes, each time in another order.
const REBUILDS: usize = 3;

/// Everything that a reader can see of an entity.
#[derive(Debug, PartialEq)]
struct Seen {
    position: EntityPosition,
    meta: Option<EntityMeta>,
    /// `None` if it is deleted.
    fields: Option<Map>,
}

/// entity -> the hashes of its changes, in ascending order.
type Held = BTreeMap<EntityId, Vec<ChangeHash>>;

/// Whether a relay has all that a device has applied, entity by entity.
pub(crate) fn same_heads(spaces: &[SpaceId], device: &Device, relay: &Relay) -> Result<(), Violation> {
    for space in spaces.iter().filter(|space| device.spaces.contains(space)) {
        let held =
            device.replica.entity_positions(*space, None, usize::MAX).map_err(Violation::failed("list"))?;
        let applied = held.into_iter().filter(|position| !position.heads.is_empty());
        let held: Vec<_> = applied.map(|position| (position.entity, position.heads)).collect();
        let fed = match relay.feed.heads(*space, None, usize::MAX) {
            Ok(fed) => fed.into_iter().map(|entity| (entity.entity, entity.heads)).collect(),
            Err(ReadError::NoSuchSpace { .. }) => Vec::new(),
            Err(error) => return Err(Violation::failed("heads")(error)),
        };
        same(|| "a replica that strayed and the feed, in".to_owned(), "heads", &held, &fed)?;
    }
    Ok(())
}

/// Everybody has the same as this relay, stands where its feed ends, and has nothing left to push.
pub(crate) fn even_with(spaces: &[SpaceId], devices: &[Device], relay: &Relay) -> Result<(), Violation> {
    for space in spaces {
        let fed = fed(relay, *space)?;
        let head = relay.feed.head(*space).map_err(Violation::failed("head"))?;
        for (index, device) in members(devices, *space) {
            let who = || format!("replica {index} and the feed, in");
            let pending = device.replica.space(*space).pending().map_err(Violation::failed("pending"))?;
            same(who, "changes that wait", &pending, &0)?;
            let position = device.replica.position(*space).map_err(Violation::failed("position"))?;
            same(who, "position", &position, &Position { watermark: head, cursor: None })?;
            same_changes(who, &held(device, *space)?, &fed)?;
        }
    }
    Ok(())
}

/// All relays and all replicas have the same, readers see the same everywhere, and nothing that was written is missing.
pub(crate) fn all_even(
    spaces: &[SpaceId],
    devices: &[Device],
    relays: &[Relay],
    history: &History,
) -> Result<(), Violation> {
    for space in spaces {
        let mut first_fed: Option<Held> = None;
        for (index, relay) in relays.iter().enumerate() {
            let fed = fed(relay, *space)?;
            match &first_fed {
                Some(first) => same_changes(|| format!("relays 0 and {index}, in"), first, &fed)?,
                None => first_fed = Some(fed),
            }
        }
        let fed = first_fed.unwrap_or_default();
        let mut first: Option<BTreeMap<EntityId, Seen>> = None;
        for (index, device) in members(devices, *space) {
            let who = || format!("replica {index} and the others, in");
            same_changes(who, &held(device, *space)?, &fed)?;
            for (of, entity, hash) in &device.known.written {
                let is_there = of != space
                    || is_clashing(*entity)
                    || fed.get(entity).is_some_and(|held| held.contains(hash));
                Promise::WrittenIsKept
                    .hold(is_there, || format!("by replica {index}: {hash} of {entity}, everywhere"))?;
            }
            let seen = seen(&device.replica, *space)?;
            match &first {
                None => first = Some(seen),
                Some(first) => same_views(who, first, &seen)?,
            }
        }
        let intents = members(devices, *space).filter_map(|(_, device)| device.known.words.get(space));
        if let Some((_, device)) = members(devices, *space).next() {
            words::check(&device.replica, *space, intents, &history.tried_words)?;
        }
    }
    Ok(())
}

/// What was written under ids that are in two collections is there, once every app made again what gave way.
pub(crate) fn all_words(spaces: &[SpaceId], devices: &[Device]) -> Result<(), Violation> {
    for space in spaces {
        let words = members(devices, *space).filter_map(|(_, device)| device.known.clashes.get(space));
        if let Some((_, device)) = members(devices, *space).next() {
            clash::check(&device.replica, *space, words)?;
        }
    }
    Ok(())
}

/// Each entity, built again from its changes in random orders, is the same. How many changes there are.
pub(crate) fn rebuilds(
    device: &Device,
    space: SpaceId,
    clock: &Clock,
    random: &mut Random,
) -> Result<u64, Violation> {
    let expected = seen(&device.replica, space)?;
    let mut records = Vec::new();
    for entity in expected.keys() {
        records.extend(device.changes(space, *entity)?);
    }
    for _ in 0..REBUILDS {
        let rebuilt = Replica::in_memory(clock.clone()).map_err(Violation::failed("open"))?;
        let mut left = records.clone();
        random.shuffle(&mut left);
        while !left.is_empty() {
            let portion = left.split_off(left.len() - (1 + random.below(40)).min(left.len()));
            let merged = rebuilt.merge(space, MergeRequest { records: portion, position: None });
            let merged = merged.map_err(Violation::failed("merge"))?;
            Promise::NothingIsRefused
                .hold(merged.set_aside == 0, || format!("{} set aside", merged.set_aside))?;
        }
        same_views(|| "a rebuilt replica, in".to_owned(), &expected, &seen(&rebuilt, space)?)?;
    }
    Ok(records.len() as u64)
}

fn members(devices: &[Device], space: SpaceId) -> impl Iterator<Item = (usize, &Device)> {
    devices.iter().enumerate().filter(move |(_, device)| device.spaces.contains(&space))
}

fn seen(replica: &Replica, space: SpaceId) -> Result<BTreeMap<EntityId, Seen>, Violation> {
    let mut all = BTreeMap::new();
    let positions = replica.entity_positions(space, None, usize::MAX);
    for position in positions.map_err(Violation::failed("list"))? {
        let collection = replica.space(space).dynamic(position.collection.as_str());
        let collection = collection.map_err(Violation::failed("collection"))?;
        let meta = collection.meta(position.entity).map_err(Violation::failed("meta"))?;
        let record = collection.get(position.entity).map_err(Violation::failed("get"))?;
        let fields = record.map(|record| record.fields);
        all.insert(position.entity, Seen { position, meta, fields });
    }
    Ok(all)
}

fn held(device: &Device, space: SpaceId) -> Result<Held, Violation> {
    let positions = device.replica.entity_positions(space, None, usize::MAX);
    let mut all = Held::new();
    for position in positions.map_err(Violation::failed("list"))? {
        let changes = device.changes(space, position.entity)?;
        let mut hashes: Vec<_> = changes.into_iter().map(|record| record.hash).collect();
        hashes.sort_unstable();
        all.insert(position.entity, hashes);
    }
    Ok(all)
}

/// What the feed holds. Without a hole, and each change once: that was checked when the relay was opened.
fn fed(relay: &Relay, space: SpaceId) -> Result<Held, Violation> {
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let mut fed = Held::new();
    if relay.feed.head(space).map_err(Violation::failed("head"))?.is_none() {
        return Ok(fed);
    }
    let page = relay.feed.read_by_seq(space, Seq::ZERO, limit).map_err(Violation::failed("read feed"))?;
    for row in page.rows {
        fed.entry(row.record.entity).or_default().push(row.record.hash);
    }
    fed.values_mut().for_each(|hashes| hashes.sort_unstable());
    Ok(fed)
}

fn same_views(
    who: impl Fn() -> String,
    left: &BTreeMap<EntityId, Seen>,
    right: &BTreeMap<EntityId, Seen>,
) -> Result<(), Violation> {
    let [ours, theirs] = [left, right].map(|seen| seen.keys().collect::<Vec<_>>());
    same(&who, "entities", &ours, &theirs)?;
    for (ours, theirs) in left.values().zip(right.values()) {
        same(&who, "what a reader sees", ours, theirs)?;
    }
    Ok(())
}

fn same_changes(who: impl Fn() -> String, left: &Held, right: &Held) -> Result<(), Violation> {
    Promise::Converges.hold(left == right, || {
        let only = |one: &Held, other: &Held| -> Vec<(EntityId, ChangeHash)> {
            let all = one.iter().flat_map(|(entity, hashes)| hashes.iter().map(|hash| (*entity, *hash)));
            all.filter(|(entity, hash)| !other.get(entity).is_some_and(|held| held.contains(hash))).collect()
        };
        format!("{} changes: only left {:?}, only right {:?}", who(), only(left, right), only(right, left))
    })
}

fn same<T: PartialEq + std::fmt::Debug>(
    who: impl Fn() -> String,
    what: &'static str,
    left: &T,
    right: &T,
) -> Result<(), Violation> {
    Promise::Converges.hold(left == right, || format!("{} {what}: {left:?} and {right:?}", who()))
}
