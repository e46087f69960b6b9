//! Both stores against the simplest thing that could be right: lists and maps. Opening again is one of the steps.
//!
//! A further backend is one more line at the end. `PROPTEST_CASES` sets how many sequences each test runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod feed;
mod replica;

use headwater_storage::testing::SimulatedDisk;
use headwater_storage::{DeviceId, FeedStore, NewFeed, NewReplica, RedbFeed, ReplicaStore, WriterLimits};
use proptest::test_runner::Config;
use proptest_state_machine::prop_state_machine;

use self::feed::FeedModel;
use self::replica::ReplicaModel;

/// Where a store lives. Dropped with the test that it was made for.
pub(crate) trait Place<Store> {
    fn make() -> Self;
    /// Opens the store that is there; an empty one the first time.
    fn open(&self) -> Store;
}

/// A redb file on a disk in memory.
pub(crate) struct Redb(SimulatedDisk);

impl Place<ReplicaStore> for Redb {
    fn make() -> Self {
        Self(SimulatedDisk::new())
    }

    fn open(&self) -> ReplicaStore {
        let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 1 };
        ReplicaStore::open_backend(self.0.clone(), new).unwrap()
    }
}

impl Place<FeedStore> for Redb {
    fn make() -> Self {
        Self(SimulatedDisk::new())
    }

    fn open(&self) -> FeedStore {
        let feed = RedbFeed::open_backend(self.0.clone(), NewFeed { created_ms: 1 }).unwrap();
        FeedStore::redb(feed, WriterLimits::default()).unwrap()
    }
}

fn config() -> Config {
    // `Config::default` reads PROPTEST_CASES, and has 256 cases without it.
    Config { failure_persistence: None, ..Config::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    /// Would file a change, a row or an acknowledgement in a way that nobody thought of testing.
    #[test]
    fn a_replica_on_redb_behaves_like_maps(sequential 1..25 => ReplicaModel<Redb>);

    /// Would place, deduplicate or page changes in a way that nobody thought of testing.
    #[test]
    fn a_feed_on_redb_behaves_like_lists(sequential 1..25 => FeedModel<Redb>);
}
