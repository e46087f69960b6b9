//! What a replica is to a session, without documents.

use std::collections::{BTreeMap, BTreeSet};

use headwater::sync::client::ClientConfig;
use headwater::wire::HeadsEntry;
use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, EntityId, OutboxEntry, OutboxSeq, Position, Refusal,
};

use crate::records::{deps, device, space};

/// What a replica is to the session: changes, an outbox and a position.
#[derive(Default)]
pub(crate) struct FakeReplica {
    pub(crate) changes: Vec<ChangeRecord>,
    pub(crate) known: BTreeSet<(EntityId, ChangeHash)>,
    pub(crate) outbox: Vec<OutboxEntry>,
    pub(crate) refused: Vec<(OutboxSeq, Refusal)>,
    pub(crate) position: Position,
    pub(crate) merges: usize,
    next: u64,
}

impl FakeReplica {
    /// A local write: the change and its outbox entry.
    pub(crate) fn write(&mut self, record: ChangeRecord) -> OutboxSeq {
        self.next += 1;
        let seq = OutboxSeq::new(self.next);
        self.known.insert((record.entity, record.hash));
        self.changes.push(record.clone());
        self.outbox.push(OutboxEntry { seq, record });
        seq
    }

    pub(crate) fn merge(&mut self, entries: Vec<ChangeRecord>, position: Option<Position>) -> u64 {
        let mut pulled = 0;
        for record in entries {
            if self.known.insert((record.entity, record.hash)) {
                self.changes.push(record);
                pulled += 1;
            }
        }
        self.moved(position);
        self.merges += 1;
        pulled
    }

    pub(crate) fn moved(&mut self, position: Option<Position>) {
        if let Some(position) = position {
            self.position = position;
        }
    }

    pub(crate) fn heads(&self) -> Vec<HeadsEntry> {
        let mut entities: BTreeMap<EntityId, (CollectionName, BTreeSet<ChangeHash>, BTreeSet<ChangeHash>)> =
            BTreeMap::new();
        for record in &self.changes {
            let entity = entities
                .entry(record.entity)
                .or_insert_with(|| (record.collection.clone(), BTreeSet::new(), BTreeSet::new()));
            entity.1.insert(record.hash);
            entity.2.extend(deps(record));
        }
        let heads = entities.into_iter().map(|(entity, (collection, hashes, deps))| HeadsEntry {
            entity,
            collection,
            heads: hashes.difference(&deps).copied().collect(),
        });
        heads.collect()
    }
}

pub(crate) fn client_config(replica: &FakeReplica) -> ClientConfig {
    ClientConfig::new(device(), vec![(space(), replica.position.clone())])
}
