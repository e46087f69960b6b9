//! The feed against the simplest thing that could be right: a list.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use headwater_storage::{
    Append, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, FeedEntry, FeedEpoch,
    InMemoryBackend, NewFeed, PageLimit, PayloadKind, Placement, RedbFeed, Seq, SpaceId,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Entity, change, dependencies.
type Change = (u8, u8, Vec<u8>);

fn entry((entity, change, deps): &Change) -> FeedEntry {
    let record = ChangeRecord {
        entity: EntityId::from_bytes([*entity; 16]),
        collection: CollectionName::new("bags").unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes([*change; 32]),
        payload: Bytes::from(vec![*change; usize::from(*change)]),
    };
    FeedEntry { record, deps: deps.iter().map(|dep| ChangeHash::from_bytes([*dep; 32])).collect() }
}

fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
    vec(vec((0..3_u8, 0..12_u8, vec(0..12_u8, 0..2)), 0..6), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Would place, deduplicate or order changes in a way that nobody thought of testing.
    #[test]
    fn a_feed_behaves_like_a_list(batches in changes(), base in 0..20_u64, entries_max in 1..5_usize, bytes_max in 1..40_usize) {
        let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 }).unwrap();
        let space = SpaceId::from_name("model");
        let mut model: Vec<FeedEntry> = Vec::new();
        for batch in &batches {
            let entries: Vec<_> = batch.iter().map(entry).collect();
            let appended = feed.append_all(vec![Append {
                space,
                origin: DeviceId::from_bytes([1; 16]),
                received_ms: 0,
                epoch_if_new: FeedEpoch::from_bytes([1; 16]),
                entries: entries.clone(),
            }]).unwrap().remove(0);
            for (offered, placement) in entries.into_iter().zip(appended.placements()) {
                let at = |hash: ChangeHash| model.iter().position(|stored| {
                    stored.record.entity == offered.record.entity && stored.record.hash == hash
                });
                let missing: Vec<_> = offered.deps.iter().copied().filter(|dep| at(*dep).is_none()).collect();
                let expected = match at(offered.record.hash) {
                    Some(place) => Placement::Duplicate(Seq::new(place as u64 + 1)),
                    None if !missing.is_empty() => Placement::MissingDeps(missing),
                    None => {
                        model.push(offered);
                        Placement::Accepted(Seq::new(model.len() as u64))
                    }
                };
                prop_assert_eq!(placement, &expected);
            }
        }
        let limit = PageLimit { entries_max, bytes_max };

        let (mut after, mut read) = (Seq::ZERO, Vec::new());
        loop {
            let page = feed.read_by_seq(space, after, limit).unwrap();
            read.extend(page.rows.into_iter().map(|row| row.record));
            after = page.end.seq;
            if page.end == page.head {
                break;
            }
        }
        let expected: Vec<_> = model.iter().map(|stored| stored.record.clone()).collect();
        prop_assert_eq!(read, expected);

        let base = base.min(model.len() as u64);
        let (mut cursor, mut seen) = (None::<Bytes>, BTreeSet::new());
        loop {
            let page = feed.read_by_entity(space, Seq::new(base), cursor.as_deref(), limit).unwrap();
            for row in page.rows {
                prop_assert_eq!(&row.record, &model[row.seq.get() as usize - 1].record);
                prop_assert!(seen.insert(row.seq.get()), "given twice, though nothing changed");
            }
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        prop_assert!(seen.into_iter().eq(base + 1..=model.len() as u64));

        for known in feed.heads(space, None, 100).unwrap() {
            let of_entity: Vec<_> = model.iter().filter(|stored| stored.record.entity == known.entity).collect();
            let superseded: BTreeSet<_> = of_entity.iter().flat_map(|stored| &stored.deps).collect();
            let mut heads: Vec<_> = of_entity.iter().map(|stored| stored.record.hash).collect();
            heads.retain(|head| !superseded.contains(head));
            heads.sort_unstable();
            prop_assert_eq!(known.heads, heads);
        }
        prop_assert_eq!(feed.verify_chain(space, Seq::ZERO, 1000).unwrap(), None);
    }
}
