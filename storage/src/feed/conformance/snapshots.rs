//! What a feed store does with the snapshots of its entities.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Checked, WIDE, append, catch_up, collection, entity, entry, hash, seqs, space};
use crate::change::{ChangeRecord, PayloadKind, Refusal};
use crate::feed::{
    Append, DamagedRow, FeedRow, FeedSnapshot, FeedStore, Judgement, PageLimit, Placement, ReadError,
};
use crate::id::{DeviceId, EntityId};
use crate::position::Seq;

pub(super) async fn run_all(make: impl AsyncFn() -> FeedStore) -> Checked {
    a_snapshot_gives_way_only_to_one_that_covers_more(&make().await).await?;
    a_verdict_removes_the_snapshot(&make().await).await?;
    what_lacks_a_lost_change_is_no_snapshot(&make().await).await?;
    a_snapshot_and_the_rows_after_it_are_everything(&make().await).await?;
    a_snapshot_waits_for_a_page_with_room(&make().await).await?;
    an_entity_that_moves_on_after_its_snapshot_is_begun_again(&make().await).await?;
    only_a_snapshot_that_saves_something_is_given(&make().await).await
}

/// Would give new replicas an older state than there is, or one that the feed cannot stand for.
async fn a_snapshot_gives_way_only_to_one_that_covers_more(store: &FeedStore) -> Checked {
    let unknown = store.put_snapshot(space(1), entity(1), snapshot(1, 1, 1)).await;
    assert!(matches!(unknown, Err(ReadError::NoSuchSpace { .. })));
    store.append(append(1, (1..=6).map(|n| entry(n % 2, n, &[])).collect())).await?;
    store.append(append(2, vec![entry(1, 1, &[])])).await?;
    assert!(!store.put_snapshot(space(1), entity(7), snapshot(1, 1, 1)).await?, "an unknown entity");
    // The last change of entity 1 is at 5, and of entity 0 at 6.
    assert!(!store.put_snapshot(space(1), entity(1), snapshot(6, 3, 1)).await?, "beyond the last");
    assert!(!store.put_snapshot(space(1), entity(1), snapshot(0, 0, 1)).await?, "of nothing");
    assert_eq!(store.snapshot(space(1), entity(1)).await?, None);
    for (covers, is_kept, now) in [(3, true, 3), (3, false, 3), (1, false, 3), (5, true, 5), (3, false, 5)] {
        // Another payload each time, so that it shows which one is there.
        let put = FeedSnapshot {
            payload: Bytes::copy_from_slice(&[covers as u8; 5]),
            ..snapshot(covers, covers.div_ceil(2), 5)
        };
        assert_eq!(
            store.put_snapshot(space(1), entity(1), put.clone()).await?,
            is_kept,
            "{covers}, now {now}"
        );
        let found = store.snapshot(space(1), entity(1)).await?.ok_or("there is one")?;
        assert_eq!(found.covers, Seq::new(now));
        assert!(!is_kept || found == put);
    }
    assert_eq!(store.snapshot(space(1), entity(0)).await?, None, "of another entity");
    assert_eq!(store.snapshot(space(2), entity(1)).await?, None, "of another space");
    assert_eq!(store.drop_damaged_snapshots(space(1)).await?, 0);
    assert!(store.snapshot(space(1), entity(1)).await?.is_some(), "it is whole");
    Ok(())
}

/// Would give new replicas a change that everybody else leaves out, or keep from them one that was released.
async fn a_verdict_removes_the_snapshot(store: &FeedStore) -> Checked {
    store.append(append(1, vec![entry(1, 1, &[]), entry(1, 2, &[1]), entry(2, 3, &[])])).await?;
    for of in [1, 2] {
        assert!(store.put_snapshot(space(1), entity(of), snapshot(1, 1, 1)).await?);
    }
    let stale = store.append(verdict(100, 1, &[2], &[], Vec::new())).await?;
    assert_eq!(stale.placements(), [Placement::Stale]);
    assert!(store.snapshot(space(1), entity(1)).await?.is_some(), "nothing was judged");
    store.append(verdict(100, 2, &[2], &[], Vec::new())).await?;
    assert_eq!(store.snapshot(space(1), entity(1)).await?, None);
    assert!(store.snapshot(space(1), entity(2)).await?.is_some(), "nothing was said about it");
    for covers in [1, 4] {
        let put = store.put_snapshot(space(1), entity(1), snapshot(covers, 1, 1)).await?;
        assert!(!put, "up to {covers}, with something in quarantine");
    }
    assert!(store.put_snapshot(space(1), entity(2), snapshot(3, 1, 1)).await?, "another entity's quarantine");
    store.append(verdict(101, 4, &[], &[2], Vec::new())).await?;
    assert!(store.put_snapshot(space(1), entity(1), snapshot(5, 2, 1)).await?, "it is released");
    Ok(())
}

/// Would hide a change that was lost here and came back, from everybody who begins with the snapshot.
async fn what_lacks_a_lost_change_is_no_snapshot(store: &FeedStore) -> Checked {
    fn is_whole(record: &ChangeRecord) -> bool {
        record.hash != hash(2)
    }
    let entries = vec![entry(1, 1, &[]), entry(1, 2, &[1]), entry(1, 3, &[2]), entry(2, 4, &[])];
    store.append(append(1, entries)).await?;
    assert!(store.put_snapshot(space(1), entity(1), snapshot(3, 3, 1)).await?);
    let lost = store.walk(space(1), Seq::ZERO, 10, is_whole).await?.damaged;
    store.append(verdict(100, 3, &[], &[], lost)).await?;
    assert_eq!(store.snapshot(space(1), entity(1)).await?, None);
    assert!(!store.put_snapshot(space(1), entity(1), snapshot(5, 2, 1)).await?, "a change is lost");
    assert!(store.put_snapshot(space(1), entity(2), snapshot(4, 1, 1)).await?, "another entity's change is");
    let back = store.append(append(1, vec![entry(1, 2, &[1])])).await?;
    assert_eq!(back.placements(), [Placement::Accepted(Seq::new(6))]);
    // What was made before it was back does not have it, nor what builds on it.
    assert!(!store.put_snapshot(space(1), entity(1), snapshot(5, 2, 1)).await?);
    assert!(store.put_snapshot(space(1), entity(1), snapshot(6, 3, 1)).await?);
    let page = store.read_by_entity(space(1), Seq::ZERO, None, WIDE).await?;
    assert_eq!(seqs(&page.rows), [4, 6]);
    Ok(())
}

/// Would leave a new replica without some change, or make it read all of them in spite of the snapshot.
async fn a_snapshot_and_the_rows_after_it_are_everything(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=40).map(|n| entry(n % 5, n, &[])).collect())).await?;
    let (rows, _) = catch_up(store, Seq::ZERO, WIDE, async |_| Ok(())).await?;
    // Entity 0 has 5, 10, .. 40; each of the others one less in every place.
    let covers = BTreeMap::from([(0, 40), (1, 1), (2, 22), (3, 33)]);
    for (of, covers) in &covers {
        let put = snapshot(*covers, covers.div_ceil(5), 3);
        assert!(store.put_snapshot(space(1), entity(*of), put).await?, "entity {of}");
    }
    for entries_max in 1..=41 {
        let limit = PageLimit { entries_max, bytes_max: 1 << 20 };
        let (given, end) = catch_up(store, Seq::ZERO, limit, async |_| Ok(())).await?;
        assert_eq!(end.seq, Seq::new(40));
        for (of, covers) in &covers {
            let of_entity: Vec<_> = given.iter().filter(|row| row.record.entity == entity(*of)).collect();
            let first = of_entity[0];
            assert_eq!((first.seq, first.record.kind), (Seq::new(*covers), PayloadKind::Snapshot));
            assert_eq!((first.origin, first.record.hash), (DeviceId::from_bytes([0; 16]), hash(900)));
            assert_eq!(first.record.collection, collection());
            assert_eq!(first.record.payload, Bytes::copy_from_slice(&[0x55; 3]));
            assert!(of_entity[1..].iter().all(|row| row.record.kind == PayloadKind::Change));
        }
        let covered = |of: EntityId| covers.iter().find(|(number, _)| entity(**number) == of);
        let expected: Vec<&FeedRow> = rows
            .iter()
            .filter(|row| covered(row.record.entity).is_none_or(|(_, covers)| row.seq.get() > *covers))
            .collect();
        let tail: Vec<&FeedRow> =
            given.iter().filter(|row| row.record.kind != PayloadKind::Snapshot).collect();
        assert_eq!(tail, expected, "pages of {entries_max}");
        assert_eq!(given.len(), expected.len() + covers.len(), "pages of {entries_max}");
    }
    let page = store.read_by_entity(space(1), Seq::ZERO, None, WIDE).await?;
    assert_eq!(page.stands_for, 40, "for the progress of who reads it");
    assert!(page.rows.len() < 40);
    Ok(())
}

/// Would give an entity's rows out of turn, or a page that is larger than it may be.
async fn a_snapshot_waits_for_a_page_with_room(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=3).map(|n| entry(1, n, &[])).collect())).await?;
    store.append(append(1, (4..=9).map(|n| entry(2, n, &[])).collect())).await?;
    assert!(store.put_snapshot(space(1), entity(2), snapshot(8, 5, 10)).await?);
    let limit = PageLimit { entries_max: 100, bytes_max: 18 };
    let first = store.read_by_entity(space(1), Seq::ZERO, None, limit).await?;
    assert_eq!((seqs(&first.rows), first.stands_for, first.entities_done), (vec![1, 2, 3], 3, 1));
    let second = store.read_by_entity(space(1), Seq::ZERO, first.cursor.as_deref(), limit).await?;
    assert_eq!((seqs(&second.rows), second.stands_for, second.cursor), (vec![8, 9], 6, None));
    // With as much room as it takes, it does not wait.
    let limit = PageLimit { bytes_max: 22, ..limit };
    let page = store.read_by_entity(space(1), Seq::ZERO, None, limit).await?;
    assert_eq!(seqs(&page.rows), [1, 2, 3, 8]);
    let rest = store.read_by_entity(space(1), Seq::ZERO, page.cursor.as_deref(), limit).await?;
    assert_eq!((seqs(&rest.rows), rest.cursor), (vec![9], None));
    Ok(())
}

/// Would go on in the middle of an entity whose snapshot was replaced or removed meanwhile.
async fn an_entity_that_moves_on_after_its_snapshot_is_begun_again(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=6).map(|n| entry(1, n, &[])).collect())).await?;
    assert!(store.put_snapshot(space(1), entity(1), snapshot(4, 4, 1)).await?);
    let limit = PageLimit { entries_max: 1, bytes_max: 1 << 20 };
    let first = store.read_by_entity(space(1), Seq::ZERO, None, limit).await?;
    assert_eq!(seqs(&first.rows), [4]);
    let cursor = first.cursor.as_deref();
    // A newer snapshot changes nothing for who has begun with the older one.
    assert!(store.put_snapshot(space(1), entity(1), snapshot(6, 6, 1)).await?);
    let second = store.read_by_entity(space(1), Seq::ZERO, cursor, WIDE).await?;
    assert_eq!(seqs(&second.rows), [5, 6]);
    store.append(append(1, vec![entry(1, 7, &[])])).await?;
    let again = store.read_by_entity(space(1), Seq::ZERO, cursor, WIDE).await?;
    assert_eq!((seqs(&again.rows), again.stands_for), (vec![6, 7], 7));
    store.append(verdict(100, 7, &[7], &[], Vec::new())).await?;
    let again = store.read_by_entity(space(1), Seq::ZERO, cursor, WIDE).await?;
    assert_eq!((seqs(&again.rows), again.stands_for), ((1..=8).collect(), 8));
    Ok(())
}

/// Would make a catch-up longer than without snapshots, or bring back to somebody what it has.
async fn only_a_snapshot_that_saves_something_is_given(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=4).map(|n| entry(1, n, &[])).collect())).await?;
    let kinds = async |store: &FeedStore, base: u64, limit: PageLimit| {
        let (rows, _) = catch_up(store, Seq::new(base), limit, async |_| Ok(())).await?;
        let kinds: BTreeSet<PayloadKind> = rows.iter().map(|row| row.record.kind).collect();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((seqs(&rows), kinds))
    };
    let of_rows = |from: u64| ((from..=4).collect::<Vec<u64>>(), BTreeSet::from([PayloadKind::Change]));
    // Three changes have twelve bytes.
    for bytes in [13, 12] {
        assert!(store.put_snapshot(space(1), entity(1), snapshot(15 - bytes, 3, bytes as usize)).await?);
        assert_eq!(kinds(store, 0, WIDE).await?, of_rows(1), "{bytes} bytes");
    }
    assert!(store.put_snapshot(space(1), entity(1), snapshot(4, 4, 11)).await?);
    let of_snapshot = (vec![4], BTreeSet::from([PayloadKind::Snapshot]));
    for (bytes_max, expected) in [(10, of_rows(1)), (11, of_snapshot)] {
        let limit = PageLimit { entries_max: 100, bytes_max };
        assert_eq!(kinds(store, 0, limit).await?, expected, "at most {bytes_max} bytes");
    }
    for base in 1..4 {
        assert_eq!(kinds(store, base, WIDE).await?, of_rows(base + 1), "from {base}");
    }
    let page = store.read_by_seq(space(1), Seq::ZERO, WIDE).await?;
    assert_eq!((seqs(&page.rows), page.is_dense), ((1..=4).collect(), true));
    let page = store.read_entity(space(1), entity(1), Seq::ZERO, WIDE).await?;
    assert_eq!(seqs(&page.rows), [1, 2, 3, 4]);
    Ok(())
}

/// A snapshot of `changes` changes as [`entry`] makes them, whose payload has so many bytes.
fn snapshot(covers: u64, changes: u64, bytes: usize) -> FeedSnapshot {
    let payload = Bytes::from(vec![0x55; bytes]);
    FeedSnapshot { covers: Seq::new(covers), changes, changes_bytes: 4 * changes, hash: hash(900), payload }
}

/// A verdict on entity 1.
fn verdict(number: u32, last: u64, out: &[u32], back: &[u32], damaged: Vec<DamagedRow>) -> Append {
    let reason = Refusal { code: 31, message: "it does not load".to_owned() };
    let judgement = Judgement {
        last: Seq::new(last),
        quarantined: out.iter().map(|change| (hash(*change), reason.clone())).collect(),
        released: back.iter().copied().map(hash).collect(),
        heads: Vec::new(),
        damaged,
    };
    let mut entry = entry(1, number, &[]);
    entry.record.kind = PayloadKind::Verdict;
    entry.judgement = Some(judgement);
    append(1, vec![entry])
}
