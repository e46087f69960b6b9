//! The names of a replica in memory: few, read on every call, and therefore not fetched from the file each time.

use std::collections::HashMap;

use redb::{ReadTransaction, ReadableTable};

use super::tables;
use super::write::Staged;
use crate::error::StoreError;
use crate::id::{CollectionName, SpaceId};
use crate::layout::{Fields, ordered_key};

#[derive(Clone, Copy)]
pub(super) struct SpaceEntry {
    pub(super) number: u32,
    pub(super) outbox_len: u64,
}

/// Which number stands for which space and collection, and how much waits in each outbox.
#[derive(Default)]
pub(super) struct Names {
    /// space -> its number, and the length of its outbox.
    spaces: HashMap<SpaceId, SpaceEntry>,
    /// space number -> name -> collection number.
    numbers: HashMap<u32, HashMap<CollectionName, u32>>,
    /// collection number -> name.
    names: HashMap<u32, CollectionName>,
    last_space: u32,
    last_collection: u32,
}

impl Names {
    pub(super) fn load(txn: &ReadTransaction) -> Result<Self, StoreError> {
        let mut names = Self::default();
        let outbox = txn.open_table(tables::OUTBOX)?;
        for row in txn.open_table(tables::SPACES)?.iter()? {
            let (key, value) = row?;
            let (number, _) = tables::parse_space(value.value())?;
            let waiting = outbox.get(&ordered_key(number, 0))?;
            let outbox_len = waiting.map_or(Ok(0), |value| tables::parse_counter(value.value()))?;
            names.spaces.insert(SpaceId::from_bytes(*key.value()), SpaceEntry { number, outbox_len });
            names.last_space = names.last_space.max(number);
        }
        for row in txn.open_table(tables::COLLECTIONS)?.iter()? {
            let (key, value) = row?;
            let (space, name) = tables::parse_collection_key(key.value())?;
            let number = Fields::new("collections_v1", value.value()).u32()?;
            names.add_collection(space, name, number);
        }
        Ok(names)
    }

    pub(super) fn spaces(&self) -> Vec<SpaceId> {
        let mut spaces: Vec<_> = self.spaces.keys().copied().collect();
        spaces.sort_unstable();
        spaces
    }

    pub(super) fn space(&self, space: SpaceId) -> Option<SpaceEntry> {
        self.spaces.get(&space).copied()
    }

    pub(super) fn collections(&self, space: SpaceId) -> Vec<CollectionName> {
        let numbers = self.space(space).and_then(|entry| self.numbers.get(&entry.number));
        let mut names: Vec<_> = numbers.into_iter().flat_map(HashMap::keys).cloned().collect();
        names.sort_unstable();
        names
    }

    pub(super) fn collection(&self, space: u32, name: &CollectionName) -> Option<u32> {
        self.numbers.get(&space)?.get(name).copied()
    }

    pub(super) fn collection_of(&self, space: SpaceId, name: &CollectionName) -> Option<u32> {
        self.collection(self.space(space)?.number, name)
    }

    pub(super) fn collection_name(&self, number: u32) -> Option<CollectionName> {
        self.names.get(&number).cloned()
    }

    pub(super) fn next_space(&self) -> Option<u32> {
        self.last_space.checked_add(1)
    }

    /// The number for a new collection, when `staged` others are about to be added before it.
    pub(super) fn next_collection(&self, staged: usize) -> Option<u32> {
        self.last_collection.checked_add(u32::try_from(staged).ok()?)?.checked_add(1)
    }

    pub(super) fn learn(&mut self, staged: &Staged) {
        let (space, number) = staged.space;
        let entry = self.spaces.entry(space).or_insert(SpaceEntry { number, outbox_len: 0 });
        entry.outbox_len = staged.waiting_after(entry.outbox_len);
        self.last_space = self.last_space.max(number);
        for (name, collection) in &staged.collections {
            self.add_collection(number, name.clone(), *collection);
        }
    }

    fn add_collection(&mut self, space: u32, name: CollectionName, number: u32) {
        self.numbers.entry(space).or_default().insert(name.clone(), number);
        self.names.insert(number, name);
        self.last_collection = self.last_collection.max(number);
    }
}
