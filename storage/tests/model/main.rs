//! Both stores against the simplest thing that could be right: lists and maps. Opening again is one of the steps.
//!
//! A further backend is one more test at the end. `PROPTEST_CASES` sets how many sequences each test runs; the one with a thread
//! of its own runs an eighth of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod feed;
mod replica;

use std::cell::Cell;

use headwater_storage::testing::{Postgres, SimulatedDisk};
use headwater_storage::{
    DeviceId, FeedStore, NewFeed, NewReplica, PostgresFeed, PostgresOptions, RedbFeed, ReplicaStore,
    WriterLimits,
};
use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

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
        Self(SimulatedDisk::unrecorded())
    }

    fn open(&self) -> ReplicaStore {
        let new = NewReplica { device: DeviceId::from_bytes([1; 16]), created_ms: 1 };
        ReplicaStore::open_backend(self.0.clone(), new).unwrap()
    }
}

impl Place<FeedStore> for Redb {
    fn make() -> Self {
        Self(SimulatedDisk::unrecorded())
    }

    fn open(&self) -> FeedStore {
        FeedStore::inline(open_feed(&self.0))
    }
}

/// The same with its writer thread.
pub(crate) struct RedbWithWriter(SimulatedDisk);

impl Place<FeedStore> for RedbWithWriter {
    fn make() -> Self {
        Self(SimulatedDisk::unrecorded())
    }

    fn open(&self) -> FeedStore {
        FeedStore::redb(open_feed(&self.0), WriterLimits::default()).unwrap()
    }
}

fn open_feed(disk: &SimulatedDisk) -> RedbFeed {
    RedbFeed::open_backend(disk.clone(), NewFeed { created_ms: 1 }).unwrap()
}

/// A database of its own on a server that all sequences share.
pub(crate) struct OnPostgres {
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Place<FeedStore> for OnPostgres {
    fn make() -> Self {
        // The store's own tasks run here, whichever runtime the test asks from.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, url: Postgres::shared().unwrap().database().unwrap() }
    }

    fn open(&self) -> FeedStore {
        let options = PostgresOptions::new(&self.url);
        let _guard = self.runtime.enter();
        FeedStore::postgres(
            self.runtime.block_on(PostgresFeed::open(options)).unwrap(),
            WriterLimits::default(),
        )
    }
}

/// Would file a change, a row or an acknowledgement in a way that nobody thought of testing.
#[test]
fn a_replica_on_redb_behaves_like_maps() {
    run::<ReplicaModel<Redb>>("a_replica_on_redb_behaves_like_maps", 1);
}

/// Would place, deduplicate or page changes in a way that nobody thought of testing.
#[test]
fn a_feed_on_redb_behaves_like_lists() {
    run::<FeedModel<Redb>>("a_feed_on_redb_behaves_like_lists", 1);
}

/// Would mix up the receipts of appends that share a transaction, or read before it is done.
#[test]
fn a_feed_with_its_writer_behaves_like_lists() {
    run::<FeedModel<RedbWithWriter>>("a_feed_with_its_writer_behaves_like_lists", 8);
}

/// Would let a database answer otherwise than a file.
#[test]
fn a_feed_on_postgres_behaves_like_lists() {
    run::<FeedModel<OnPostgres>>("a_feed_on_postgres_behaves_like_lists", 8);
}

/// Runs one of `share` of the sequences that are asked for.
fn run<Model: StateMachineTest>(test: &str, share: u32)
where
    <Model::Reference as ReferenceStateMachine>::State: 'static,
{
    // `Config::default` reads PROPTEST_CASES, and has 256 cases without it.
    let config = Config { failure_persistence: None, ..Config::default() };
    let config = Config { cases: config.cases.div_ceil(share), ..config };
    let mut runner = TestRunner::new(config.clone());
    let (sequences, steps) = (Cell::new(0_u64), Cell::new(0));
    let result = runner.run(&Model::Reference::sequential_strategy(1..25), |(initial, transitions, seen)| {
        sequences.set(sequences.get() + 1);
        steps.set(steps.get() + transitions.len() as u64);
        Model::test_sequential(config.clone(), initial, transitions, seen);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}\n{runner}");
    }
    println!("{test}: {} sequences, {} steps, 0 violations", sequences.get(), steps.get());
}
