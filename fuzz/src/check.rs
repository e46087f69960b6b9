//! What must hold when everybody has heard of everything.

use std::collections::BTreeMap;

use headwater::replica::{EntityPosition, MergeRequest};
use headwater::{EntityId, EntityMeta, Map, Replica};
use headwater_storage::{ChangeHash, PageLimit, Position, Seq, SetAside};

use crate::device::{Device, SPACE, space};
use crate::relay::Relay;
use crate::{Clock, Random};

/// A world in which something happened that must not. Run its seed again to see how.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A call failed that must not.
    #[error("{call} failed: {error}")]
    Failed {
        /// Which.
        call: &'static str,
        /// How.
        error: String,
    },
    /// A replica could not use a change that another one made.
    #[error("a replica set changes aside: {changes:?}")]
    SetAside {
        /// All that it has set aside.
        changes: Vec<SetAside>,
    },
    /// The relay refused a change that a replica made.
    #[error("the relay refused a change for good: {message} ({code})")]
    Refused {
        /// The code of the protocol.
        code: u16,
        /// Why.
        message: String,
    },
    /// A session closed the connection over what the other side sent, or reported an error.
    #[error("a session gave up: {reason}")]
    GaveUp {
        /// What it said.
        reason: String,
    },
    /// The sessions never came to rest.
    #[error("the sessions do not come to rest after {events} events")]
    Restless {
        /// How long they were watched.
        events: u64,
    },
    /// Two replicas, or a replica and the feed, hold different things.
    #[error("{who} differs in {what}: {left} and {right}")]
    Differs {
        /// Who.
        who: String,
        /// In what.
        what: &'static str,
        /// The one side.
        left: String,
        /// The other side.
        right: String,
    },
}

impl Violation {
    pub(crate) fn failed<E: std::fmt::Display>(call: &'static str) -> impl FnOnce(E) -> Violation {
        move |error| Violation::Failed { call, error: error.to_string() }
    }
}

/// Everything that a reader can see of an entity.
#[derive(Debug, PartialEq)]
struct Seen {
    position: EntityPosition,
    meta: Option<EntityMeta>,
    /// `None` if it is deleted.
    fields: Option<Map>,
}

/// Everybody has the same as the relay, and nothing waits.
pub(crate) fn all_even(devices: &[Device], relay: &Relay) -> Result<(), Violation> {
    let fed = fed(relay)?;
    let mut first: Option<BTreeMap<EntityId, Seen>> = None;
    for (index, device) in devices.iter().enumerate() {
        let who = format!("replica {index}");
        let pending = device.replica.space(SPACE).pending().map_err(Violation::failed("pending"))?;
        same(&who, "changes that wait", &pending, &0)?;
        let position = device.replica.position(space()).map_err(Violation::failed("position"))?;
        let head = relay.feed.head(space()).map_err(Violation::failed("head"))?;
        same(&who, "position", &position, &Position { watermark: head, cursor: None })?;
        let seen = seen(&device.replica)?;
        same(&who, "entities", &seen.keys().collect::<Vec<_>>(), &fed.keys().collect::<Vec<_>>())?;
        for (entity, hashes) in &fed {
            let mut held: Vec<ChangeHash> =
                device.changes(*entity)?.into_iter().map(|record| record.hash).collect();
            held.sort_unstable();
            same(&who, "changes against the feed", &held, hashes)?;
        }
        match &first {
            None => first = Some(seen),
            Some(first) => {
                for (theirs, ours) in first.values().zip(seen.values()) {
                    same(&who, "what a reader sees", theirs, ours)?;
                }
            }
        }
    }
    Ok(())
}

/// Each entity, built again from its changes in random orders, is the same.
pub(crate) fn rebuilds(device: &Device, clock: &Clock, random: &mut Random) -> Result<u64, Violation> {
    let expected = seen(&device.replica)?;
    let rebuilt = Replica::in_memory(clock.clone()).map_err(Violation::failed("open"))?;
    let mut records = Vec::new();
    for entity in expected.keys() {
        records.extend(device.changes(*entity)?);
    }
    let count = records.len() as u64;
    random.shuffle(&mut records);
    while !records.is_empty() {
        let portion = records.split_off(records.len() - (1 + random.below(9)).min(records.len()));
        let merged = rebuilt.merge(space(), MergeRequest { records: portion, position: None });
        let merged = merged.map_err(Violation::failed("merge"))?;
        if merged.set_aside > 0 {
            let changes = rebuilt.space(SPACE).set_aside().map_err(Violation::failed("set aside"))?;
            return Err(Violation::SetAside { changes });
        }
    }
    for (ours, rebuilt) in expected.values().zip(seen(&rebuilt)?.values()) {
        same("a rebuilt replica", "what a reader sees", ours, rebuilt)?;
    }
    Ok(count)
}

fn seen(replica: &Replica) -> Result<BTreeMap<EntityId, Seen>, Violation> {
    let mut all = BTreeMap::new();
    let positions = replica.entity_positions(space(), None, usize::MAX);
    for position in positions.map_err(Violation::failed("list"))? {
        let collection = replica.space(SPACE).dynamic(position.collection.as_str());
        let collection = collection.map_err(Violation::failed("collection"))?;
        let meta = collection.meta(position.entity).map_err(Violation::failed("meta"))?;
        let record = collection.get(position.entity).map_err(Violation::failed("get"))?;
        let fields = record.map(|record| record.fields);
        all.insert(position.entity, Seen { position, meta, fields });
    }
    Ok(all)
}

/// entity -> the hashes of its changes in the feed, which holds each of them once and without a hole.
fn fed(relay: &Relay) -> Result<BTreeMap<EntityId, Vec<ChangeHash>>, Violation> {
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let mut fed: BTreeMap<EntityId, Vec<ChangeHash>> = BTreeMap::new();
    if relay.feed.head(space()).map_err(Violation::failed("head"))?.is_none() {
        return Ok(fed);
    }
    let page = relay.feed.read_by_seq(space(), Seq::ZERO, limit).map_err(Violation::failed("read feed"))?;
    for (row, seq) in page.rows.into_iter().zip(1..) {
        same("the feed", "seq", &row.seq.get(), &seq)?;
        fed.entry(row.record.entity).or_default().push(row.record.hash);
    }
    for hashes in fed.values_mut() {
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        same("the feed", "changes without repeats", &count, &hashes.len())?;
    }
    Ok(fed)
}

fn same<T: PartialEq + std::fmt::Debug>(
    who: &str,
    what: &'static str,
    left: &T,
    right: &T,
) -> Result<(), Violation> {
    if left == right {
        return Ok(());
    }
    Err(Violation::Differs {
        who: who.to_owned(),
        what,
        left: format!("{left:?}"),
        right: format!("{right:?}"),
    })
}
