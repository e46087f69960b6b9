//! The checks that every feed backend has to pass. A backend's tests call [`run_all`] with a way to make an empty store.

mod snapshots;

use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;

use super::{
    Append, FeedEntry, FeedRow, FeedStore, Judgement, Numbers, PageLimit, Placement, Pusher, ReadError,
    Standing,
};
use crate::change::{ChangeRecord, PayloadKind, Refusal};
use crate::id::{ChangeHash, CollectionName, DeviceId, EntityId, FeedEpoch, SpaceId};
use crate::position::{Seq, Watermark};

/// What a check answers: an error of the store, or nothing. A wrong answer of the store fails an assertion.
pub type Checked = Result<(), Box<dyn Error + Send + Sync>>;

const WIDE: PageLimit = PageLimit { entries_max: 10_000, bytes_max: 1 << 24 };

/// Runs every check, each on a store of its own.
///
/// # Panics
/// When the store answers wrongly: this is a test.
pub async fn run_all(make: impl AsyncFn() -> FeedStore) -> Checked {
    seqs_are_dense_and_chained(&make().await).await?;
    pushing_again_changes_nothing(&make().await).await?;
    an_entity_stays_in_the_collection_that_was_named_first(&make().await).await?;
    missing_dependencies_are_named(&make().await).await?;
    heads_follow_the_dependencies(&make().await).await?;
    an_authors_numbers_have_no_gaps_and_no_repeats(&make().await).await?;
    a_verdict_leaves_changes_out_and_takes_them_in_again(&make().await).await?;
    what_works_behind_the_feed_misses_nothing(&make().await).await?;
    a_lost_change_is_left_out_and_taken_again(&make().await).await?;
    spaces_are_apart(&make().await).await?;
    watermarks_are_checked(&make().await).await?;
    pages_are_bounded_and_continue(&make().await).await?;
    catch_up_gives_everything_at_every_page_size(&make().await).await?;
    a_long_entity_is_caught_up_in_order(&make().await).await?;
    catch_up_survives_appends_between_pages(&make().await).await?;
    an_entity_that_moves_on_half_way_leaves_its_progress_behind(&make().await).await?;
    bad_cursors_are_refused(&make().await).await?;
    snapshots::run_all(make).await
}

/// Would let a reader skip a change, or trust a feed with another history.
async fn seqs_are_dense_and_chained(store: &FeedStore) -> Checked {
    let mut expected = Watermark::start(space(1), epoch());
    for n in 1..=20 {
        let appended = store.append(append(1, vec![entry(n % 3, n, &[])])).await?;
        assert_eq!(appended.before(), expected);
        expected = expected.extended(entity(n % 3), hash(n));
        assert_eq!(appended.head(), expected);
        assert_eq!(appended.placements(), [Placement::Accepted(Seq::new(n.into()))]);
        assert_eq!(appended.rows()[0].seq, Seq::new(n.into()));
    }
    let page = store.read_by_seq(space(1), Seq::ZERO, WIDE).await?;
    assert!(page.rows.iter().map(|row| row.seq.get()).eq(1..=20));
    assert_eq!((page.end, page.head), (expected, expected));
    Ok(())
}

/// Would give every subscriber a change twice whenever a connection breaks between the commit and the acknowledgement.
async fn pushing_again_changes_nothing(store: &FeedStore) -> Checked {
    let entries = vec![entry(1, 1, &[]), entry(1, 1, &[]), entry(2, 1, &[])];
    let first = store.append(append(1, entries.clone())).await?;
    // The same hash in another entity is another change.
    let placed = [
        Placement::Accepted(Seq::new(1)),
        Placement::Duplicate(Seq::new(1)),
        Placement::Accepted(Seq::new(2)),
    ];
    assert_eq!(first.placements(), placed);
    let again = store.append(append(1, entries)).await?;
    let placed = [
        Placement::Duplicate(Seq::new(1)),
        Placement::Duplicate(Seq::new(1)),
        Placement::Duplicate(Seq::new(2)),
    ];
    assert_eq!(again.placements(), placed);
    assert_eq!((again.before(), again.head()), (first.head(), first.head()));
    assert!(again.rows().is_empty());
    Ok(())
}

/// Would show an entity in one collection to some devices, and in another to others.
async fn an_entity_stays_in_the_collection_that_was_named_first(store: &FeedStore) -> Checked {
    let elsewhere = |mut entry: FeedEntry| {
        entry.record.collection = CollectionName::new("elsewhere")?;
        Ok::<_, crate::NameError>(entry)
    };
    // What was not taken names nothing.
    let entries = vec![
        elsewhere(entry(1, 2, &[9]))?,
        entry(1, 1, &[]),
        elsewhere(entry(1, 3, &[1]))?,
        entry(1, 4, &[1]),
    ];
    let placed = [
        Placement::MissingDeps(vec![hash(9)]),
        Placement::Accepted(Seq::new(1)),
        Placement::OtherCollection(collection()),
        Placement::Accepted(Seq::new(2)),
    ];
    assert_eq!(store.append(append(1, entries)).await?.placements(), placed);
    let later =
        vec![elsewhere(entry(1, 5, &[]))?, elsewhere(entry(1, 1, &[]))?, elsewhere(entry(2, 5, &[]))?];
    let placed = [
        Placement::OtherCollection(collection()),
        Placement::Duplicate(Seq::new(1)),
        Placement::Accepted(Seq::new(3)),
    ];
    assert_eq!(store.append(append(1, later)).await?.placements(), placed);
    let heads = store.heads(space(1), None, 10).await?;
    assert!(heads.iter().map(|entity| entity.collection.as_str()).eq([collection().as_str(), "elsewhere"]));
    Ok(())
}

/// Would store a change that no replica can apply.
async fn missing_dependencies_are_named(store: &FeedStore) -> Checked {
    let entries =
        vec![entry(1, 1, &[]), entry(1, 3, &[1, 2]), entry(1, 4, &[3]), entry(2, 5, &[1]), entry(1, 6, &[1])];
    let appended = store.append(append(1, entries)).await?;
    let placed = [
        Placement::Accepted(Seq::new(1)),
        Placement::MissingDeps(vec![hash(2)]),
        Placement::MissingDeps(vec![hash(3)]),
        // A dependency is one within the entity.
        Placement::MissingDeps(vec![hash(1)]),
        Placement::Accepted(Seq::new(2)),
    ];
    assert_eq!(appended.placements(), placed);
    let entries = vec![entry(1, 2, &[1]), entry(1, 3, &[1, 2]), entry(1, 4, &[3])];
    let appended = store.append(append(1, entries)).await?;
    assert!(appended.placements().iter().all(|placement| matches!(placement, Placement::Accepted(_))));
    Ok(())
}

/// Would let anybody take the place of an author's next change, or use up the operation numbers of an entity.
async fn an_authors_numbers_have_no_gaps_and_no_repeats(store: &FeedStore) -> Checked {
    let numbered = |change: u32, deps: &[u32], author: u8, number: u64, first_op: u64| {
        let author = Bytes::copy_from_slice(&[author]);
        let numbers = Numbers { author, number, first_op, last_op: first_op + 4, ahead_max: 10 };
        FeedEntry { numbers: Some(numbers), ..entry(1, change, deps) }
    };
    let entries = vec![
        numbered(1, &[], 1, 1, 1),
        numbered(2, &[1], 2, 1, 6),
        numbered(3, &[1], 1, 1, 6),
        numbered(4, &[1], 1, 3, 6),
        numbered(5, &[1], 1, 2, 20),
        numbered(5, &[1], 1, 2, 21),
        numbered(6, &[5], 1, 3, 36),
    ];
    let appended = store.append(append(1, entries)).await?;
    let placed = [
        Placement::Accepted(Seq::new(1)),
        Placement::Accepted(Seq::new(2)),
        Placement::Misnumbered { expected: 2 },
        Placement::Misnumbered { expected: 2 },
        // The highest number so far is 10.
        Placement::Accepted(Seq::new(3)),
        Placement::Duplicate(Seq::new(3)),
        Placement::TooFarAhead { first_op_max: 34 },
    ];
    assert_eq!(appended.placements(), placed);
    // The same holds in later transactions, and where nobody knows the numbers, nothing is refused for them.
    let entries = vec![numbered(7, &[5], 1, 2, 25), numbered(8, &[5], 1, 3, 34), entry(2, 1, &[])];
    let appended = store.append(append(1, entries)).await?;
    let placed = [
        Placement::Misnumbered { expected: 3 },
        Placement::Accepted(Seq::new(4)),
        Placement::Accepted(Seq::new(5)),
    ];
    assert_eq!(appended.placements(), placed);
    let mut unknown = numbered(9, &[], 1, 7, 900);
    unknown.record.entity = entity(2);
    assert_eq!(
        store.append(append(1, vec![unknown])).await?.placements(),
        [Placement::Accepted(Seq::new(6))]
    );
    Ok(())
}

/// Would let a harmful change come back, or keep a good one out for ever.
async fn a_verdict_leaves_changes_out_and_takes_them_in_again(store: &FeedStore) -> Checked {
    let entries = vec![entry(1, 1, &[]), entry(1, 2, &[1]), entry(1, 3, &[1]), entry(2, 9, &[])];
    store.append(append(1, entries)).await?;
    let reason = Refusal { code: 31, message: "it does not load".to_owned() };
    let verdict = |number: u32, last: u64, out: &[u32], back: &[u32], heads: &[u32]| {
        let judgement = Judgement {
            last: Seq::new(last),
            quarantined: out.iter().map(|change| (hash(*change), reason.clone())).collect(),
            released: back.iter().copied().map(hash).collect(),
            heads: heads.iter().copied().map(hash).collect(),
            damaged: Vec::new(),
        };
        let mut verdict = entry(1, number, &[]);
        verdict.record.kind = PayloadKind::Verdict;
        append(1, vec![FeedEntry { judgement: Some(judgement), ..verdict }])
    };
    // It rests on what the entity was.
    assert_eq!(store.append(verdict(100, 2, &[2], &[], &[3])).await?.placements(), [Placement::Stale]);
    assert!(store.quarantined(space(1), None, 10).await?.is_empty());
    let judged = store.append(verdict(100, 3, &[2], &[], &[3])).await?;
    assert_eq!(judged.placements(), [Placement::Accepted(Seq::new(5))]);
    assert_eq!(judged.rows()[0].record.kind, PayloadKind::Verdict, "it goes to the readers");
    assert_eq!(store.heads(space(1), None, 1).await?[0].heads, [hash(3)]);
    let listed = store.quarantined(space(1), None, 10).await?;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].hash, listed[0].seq, listed[0].verdict), (hash(2), Some(Seq::new(2)), Seq::new(5)));
    assert_eq!(listed[0].reason, reason);
    assert!(store.quarantined_of(space(1), entity(2)).await?.is_empty());
    assert!(store.quarantined(space(1), Some((entity(1), hash(2))), 10).await?.is_empty());
    // Neither it nor what builds on it comes in; the rest does.
    let entries = vec![entry(1, 2, &[1]), entry(1, 4, &[2, 3]), entry(1, 5, &[3])];
    let quarantined = Placement::Quarantined { hash: hash(2), reason: reason.clone() };
    assert_eq!(
        store.append(append(1, entries)).await?.placements(),
        [quarantined.clone(), quarantined, Placement::Accepted(Seq::new(6))]
    );
    assert_eq!(store.heads(space(1), None, 1).await?[0].heads, [hash(5)]);
    // Its bytes stay in the feed for those who release it.
    let rows = store.read_entity(space(1), entity(1), Seq::ZERO, WIDE).await?.rows;
    assert_eq!(seqs(&rows), [1, 2, 3, 5, 6]);
    store.append(verdict(101, 6, &[], &[2], &[2, 5])).await?;
    assert!(store.quarantined(space(1), None, 10).await?.is_empty());
    assert_eq!(store.heads(space(1), None, 1).await?[0].heads, [hash(2), hash(5)]);
    let appended = store.append(append(1, vec![entry(1, 4, &[2, 3])])).await?;
    assert_eq!(appended.placements(), [Placement::Accepted(Seq::new(8))]);
    Ok(())
}

/// Would give damaged bytes to every reader, or never take the whole ones back.
async fn a_lost_change_is_left_out_and_taken_again(store: &FeedStore) -> Checked {
    fn is_whole(record: &ChangeRecord) -> bool {
        record.hash != hash(2)
    }
    let numbered = |change: u32, deps: &[u32], number: u64| {
        let author = Bytes::from_static(b"a");
        let numbers = Numbers { author, number, first_op: number, last_op: number, ahead_max: 10 };
        FeedEntry { numbers: Some(numbers), ..entry(1, change, deps) }
    };
    let entries = vec![numbered(1, &[], 1), numbered(2, &[1], 2), numbered(3, &[2], 3), entry(2, 9, &[])];
    let at_the_end = store.append(append(1, entries)).await?.head();
    let walked = store.walk(space(1), Seq::ZERO, 10, is_whole).await?;
    assert_eq!((walked.rows, walked.damaged.len(), walked.next), (4, 1, None));
    let lost = walked.damaged[0];
    assert_eq!((lost.seq, lost.entity, lost.hash, lost.is_marked), (Seq::new(2), entity(1), hash(2), false));
    assert_eq!(store.walk(space(1), Seq::ZERO, 1, is_whole).await?.next, Some(Seq::new(1)));
    let (quarantined, released, heads) = (Vec::new(), Vec::new(), Vec::new());
    let judgement = Judgement { last: Seq::new(3), quarantined, released, heads, damaged: vec![lost] };
    let mut verdict = entry(1, 100, &[]);
    verdict.record.kind = PayloadKind::Verdict;
    let marked = store.append(append(1, vec![FeedEntry { judgement: Some(judgement), ..verdict }])).await?;
    assert_eq!(marked.placements(), [Placement::Accepted(Seq::new(5))]);
    // Nobody reads it any more, and whoever has it is asked to compare, once.
    let page = store.read_by_seq(space(1), Seq::ZERO, WIDE).await?;
    assert_eq!((seqs(&page.rows), page.is_dense, page.end), (vec![1, 3, 4, 5], false, page.head));
    let by_entity = store.read_by_entity(space(1), Seq::ZERO, None, WIDE).await?;
    assert_eq!(by_entity.rows.len(), 4);
    assert_eq!(seqs(&store.read_entity(space(1), entity(1), Seq::ZERO, WIDE).await?.rows), [1, 3, 5]);
    assert_eq!(store.check(space(1), &at_the_end).await?, Standing::Diverged);
    assert_eq!(store.check(space(1), &marked.head()).await?, Standing::Known);
    assert!(store.heads(space(1), None, 1).await?[0].heads.is_empty());
    // It comes back with the number that it always had, at the end.
    let back = store.append(append(1, vec![numbered(2, &[1], 2)])).await?;
    assert_eq!(back.placements(), [Placement::Accepted(Seq::new(6))]);
    assert_eq!(store.check(space(1), &at_the_end).await?, Standing::Known);
    assert!(store.walk(space(1), Seq::ZERO, 10, |_| true).await?.damaged.is_empty());
    assert!(store.set_heads(space(1), entity(1), Seq::new(6), vec![hash(3)]).await?);
    assert!(!store.set_heads(space(1), entity(1), Seq::new(5), vec![hash(1)]).await?);
    assert_eq!(store.heads(space(1), None, 1).await?[0].heads, [hash(3)]);
    let next = store.append(append(1, vec![numbered(4, &[3], 3), numbered(4, &[3], 4)])).await?;
    assert_eq!(next.placements(), [Placement::Misnumbered { expected: 4 }, Placement::Accepted(Seq::new(7))]);
    Ok(())
}

/// Would leave a harmful change unexamined after a restart.
async fn what_works_behind_the_feed_misses_nothing(store: &FeedStore) -> Checked {
    let entries = vec![entry(1, 1, &[]), entry(2, 2, &[]), entry(1, 3, &[1])];
    store.append(append(1, entries)).await?;
    let (first, second) = ((Seq::new(2), entity(2)), (Seq::new(3), entity(1)));
    assert_eq!(store.changed_after(space(1), Seq::ZERO, 10).await?, [first, second]);
    assert_eq!(store.changed_after(space(1), Seq::ZERO, 1).await?, [first]);
    assert_eq!(store.changed_after(space(1), Seq::new(2), 10).await?, [second]);
    assert_eq!(store.progress(space(1), "one").await?, Seq::ZERO);
    store.set_progress(space(1), "one", Seq::new(2)).await?;
    assert_eq!(store.progress(space(1), "one").await?, Seq::new(2));
    assert_eq!(store.progress(space(1), "other").await?, Seq::ZERO);
    let (last, state) = store.entity(space(1), entity(1)).await?.ok_or("the entity is there")?;
    assert_eq!((last, state.heads), (Seq::new(3), vec![hash(3)]));
    assert!(store.entity(space(1), entity(7)).await?.is_none());
    Ok(())
}

/// Would make two sides that compare heads believe that they differ, or worse, that they agree.
async fn heads_follow_the_dependencies(store: &FeedStore) -> Checked {
    let entries = vec![entry(1, 1, &[]), entry(1, 2, &[1]), entry(1, 3, &[1]), entry(2, 9, &[])];
    store.append(append(1, entries)).await?;
    let heads = store.heads(space(1), None, 10).await?;
    assert_eq!(heads[0].heads, [hash(2), hash(3)]);
    assert_eq!(heads[1].heads, [hash(9)]);
    store.append(append(1, vec![entry(1, 4, &[2, 3])])).await?;
    assert_eq!(store.heads(space(1), None, 1).await?[0].heads, [hash(4)]);
    let rest = store.heads(space(1), Some(entity(1)), 10).await?;
    assert_eq!(rest.iter().map(|heads| heads.entity).collect::<Vec<_>>(), [entity(2)]);
    Ok(())
}

/// Would show one team the changes of another.
async fn spaces_are_apart(store: &FeedStore) -> Checked {
    let missing = store.read_by_seq(space(1), Seq::ZERO, WIDE).await;
    assert!(matches!(missing, Err(ReadError::NoSuchSpace { .. })));
    assert_eq!(store.head(space(1)).await?, None);
    store.append(append(1, vec![entry(1, 1, &[])])).await?;
    store.append(append(2, vec![entry(1, 1, &[]), entry(1, 2, &[])])).await?;
    let empty = store.append(append(3, vec![])).await?;
    assert_eq!(empty.head(), Watermark::start(space(3), epoch()));
    assert_eq!(store.read_by_seq(space(1), Seq::ZERO, WIDE).await?.rows.len(), 1);
    assert_eq!(store.read_entity(space(2), entity(1), Seq::ZERO, WIDE).await?.rows.len(), 2);
    assert!(store.read_by_entity(space(3), Seq::ZERO, None, WIDE).await?.rows.is_empty());
    let mut spaces = vec![space(1), space(2), space(3)];
    spaces.sort_unstable();
    assert_eq!(store.spaces().await?, spaces);
    Ok(())
}

/// Would let a replica go on from a history that this feed does not have.
async fn watermarks_are_checked(store: &FeedStore) -> Checked {
    let start = Watermark::start(space(1), epoch());
    assert_eq!(store.check(space(1), &start).await?, Standing::NoSuchSpace);
    let first = store.append(append(1, vec![entry(1, 1, &[])])).await?.head();
    let second = store.append(append(1, vec![entry(1, 2, &[])])).await?.head();
    for known in [start, first, second] {
        assert_eq!(store.check(space(1), &known).await?, Standing::Known);
    }
    let other_epoch = Watermark { epoch: FeedEpoch::from_bytes([0xee; 16]), ..first };
    let other_chain = Watermark { chain: second.chain, ..first };
    let ahead = second.extended(entity(1), hash(3));
    for diverged in [other_epoch, other_chain, ahead] {
        assert_eq!(store.check(space(1), &diverged).await?, Standing::Diverged);
    }
    Ok(())
}

/// Would let one page grow without bound, or lose a change at the edge of one.
async fn pages_are_bounded_and_continue(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=10).map(|n| entry(n % 2, n, &[])).collect())).await?;
    for limit in [
        PageLimit { entries_max: 3, bytes_max: 1 << 20 },
        PageLimit { entries_max: 100, bytes_max: 10 },
        PageLimit { entries_max: 0, bytes_max: 0 },
    ] {
        let (mut after, mut seqs) = (Seq::ZERO, Vec::new());
        loop {
            let page = store.read_by_seq(space(1), after, limit).await?;
            assert!(!page.rows.is_empty() && page.rows.len() <= limit.entries_max.max(1));
            seqs.extend(page.rows.iter().map(|row| row.seq.get()));
            assert_eq!(store.check(space(1), &page.end).await?, Standing::Known);
            after = page.end.seq;
            if page.end == page.head {
                break;
            }
        }
        assert!(seqs.iter().copied().eq(1..=10), "{seqs:?}");
        let (mut after, mut seqs) = (Seq::ZERO, Vec::new());
        loop {
            let page = store.read_entity(space(1), entity(1), after, limit).await?;
            seqs.extend(page.rows.iter().map(|row| row.seq.get()));
            after = page.end.seq;
            if page.end == page.head {
                break;
            }
        }
        assert_eq!(seqs, [1, 3, 5, 7, 9]);
    }
    assert!(store.read_by_seq(space(1), Seq::new(99), WIDE).await?.rows.is_empty());
    Ok(())
}

/// Would leave a reconnecting replica without some change, depending on how large its pages are.
async fn catch_up_gives_everything_at_every_page_size(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=30).map(|n| entry(n % 7, n, &[])).collect())).await?;
    for base in [0, 1, 13, 29, 30] {
        for entries_max in 1..=31 {
            let limit = PageLimit { entries_max, bytes_max: 1 << 20 };
            let (rows, end) = catch_up(store, Seq::new(base), limit, async |_| Ok(())).await?;
            let mut seqs: Vec<_> = rows.iter().map(|row| row.seq.get()).collect();
            seqs.sort_unstable();
            assert!(seqs.into_iter().eq(base + 1..=30), "base {base}, pages of {entries_max}");
            assert_in_order(&rows);
            assert_eq!(end.seq, Seq::new(30));
        }
    }
    Ok(())
}

/// Would make the catch-up of one long document slow, or give its changes out of order.
async fn a_long_entity_is_caught_up_in_order(store: &FeedStore) -> Checked {
    for from in (0..1_100).step_by(100) {
        store.append(append(1, (from..from + 100).map(|n| entry(n % 10 / 9, n, &[])).collect())).await?;
    }
    for base in [0, 254, 255, 256, 257, 600, 1_099] {
        for entries_max in [1, 255, 256, 257, 1_000] {
            // Pages of one are slow and tell nothing new on the long stretches.
            if entries_max == 1 && base < 600 {
                continue;
            }
            let limit = PageLimit { entries_max, bytes_max: 1 << 20 };
            let (rows, _) = catch_up(store, Seq::new(base), limit, async |_| Ok(())).await?;
            assert_eq!(rows.len() as u64, 1_100 - base, "base {base}, pages of {entries_max}");
            assert_in_order(&rows);
        }
    }
    Ok(())
}

/// Would lose what is written while a slow replica catches up.
async fn catch_up_survives_appends_between_pages(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=20).map(|n| entry(n % 4, n, &[])).collect())).await?;
    let limit = PageLimit { entries_max: 2, bytes_max: 1 << 20 };
    let (rows, end) = catch_up(store, Seq::new(3), limit, async |page| {
        // More pages than appends, or the catch-up would never end.
        if page < 12 {
            store.append(append(1, vec![entry(page % 5, 100 + page, &[])])).await?;
        }
        Ok(())
    })
    .await?;
    let mut seqs: Vec<_> = rows.iter().map(|row| row.seq.get()).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert!(seqs.into_iter().eq(4..=end.seq.get()));
    assert_eq!(Some(end), store.head(space(1)).await?);
    Ok(())
}

/// Would begin the next entity in the middle, because the one before it was given half-way and then changed.
async fn an_entity_that_moves_on_half_way_leaves_its_progress_behind(store: &FeedStore) -> Checked {
    store
        .append(append(1, [1, 2, 1, 1, 2].into_iter().zip(1..).map(|(of, n)| entry(of, n, &[])).collect()))
        .await?;
    let limit = PageLimit { entries_max: 2, bytes_max: 1 << 20 };
    let first = store.read_by_entity(space(1), Seq::ZERO, None, limit).await?;
    assert_eq!(seqs(&first.rows), [1, 3]);
    store.append(append(1, vec![entry(1, 6, &[])])).await?;
    let second = store.read_by_entity(space(1), Seq::ZERO, first.cursor.as_deref(), limit).await?;
    assert_eq!(seqs(&second.rows), [2, 5]);
    let third = store.read_by_entity(space(1), Seq::ZERO, second.cursor.as_deref(), WIDE).await?;
    assert_eq!((seqs(&third.rows), third.cursor, third.entities_done), (vec![1, 3, 4, 6], None, 1));
    Ok(())
}

/// Would let a peer that makes up a cursor stop the relay.
async fn bad_cursors_are_refused(store: &FeedStore) -> Checked {
    store.append(append(1, (1..=9).map(|n| entry(n % 2, n, &[])).collect())).await?;
    let limit = PageLimit { entries_max: 2, bytes_max: 1 << 20 };
    let page = store.read_by_entity(space(1), Seq::ZERO, None, limit).await?;
    let good = page.cursor.unwrap_or_default();
    assert!(good.len() <= crate::position::Position::CURSOR_LEN_MAX);
    let other_base = store.read_by_entity(space(1), Seq::new(1), Some(&good), limit).await;
    assert!(matches!(other_base, Err(ReadError::Cursor(_))));
    for bad in [&b""[..], &[0; 17], &[0xff; 33], &[1; 64], &good[..good.len() - 1]] {
        let refused = store.read_by_entity(space(1), Seq::ZERO, Some(bad), limit).await;
        assert!(matches!(refused, Err(ReadError::Cursor(_))), "{bad:?}");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.to_vec();
            flipped[at] ^= 1 << bit;
            match store.read_by_entity(space(1), Seq::ZERO, Some(&flipped), limit).await {
                Ok(_) | Err(ReadError::Cursor(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(())
}

/// Reads pages until the catch-up is finished, and calls `between` after each with its number.
async fn catch_up(
    store: &FeedStore,
    base: Seq,
    limit: PageLimit,
    between: impl AsyncFn(u32) -> Checked,
) -> Result<(Vec<FeedRow>, Watermark), Box<dyn Error + Send + Sync>> {
    let (mut rows, mut cursor, mut number) = (Vec::new(), None::<Bytes>, 0);
    loop {
        let page = store.read_by_entity(space(1), base, cursor.as_deref(), limit).await?;
        assert!(page.rows.len() <= limit.entries_max);
        rows.extend(page.rows);
        match (page.cursor, page.end) {
            (Some(next), None) => cursor = Some(next),
            (None, Some(end)) => return Ok((rows, end)),
            other => return Err(format!("a page is finished or it is not: {other:?}").into()),
        }
        between(number).await?;
        number += 1;
    }
}

fn seqs(rows: &[FeedRow]) -> Vec<u64> {
    rows.iter().map(|row| row.seq.get()).collect()
}

/// Within an entity the seqs have to rise, because dependencies come first.
fn assert_in_order(rows: &[FeedRow]) {
    let mut last = BTreeMap::new();
    for row in rows {
        let before = last.insert(row.record.entity, row.seq);
        assert!(before < Some(row.seq), "{:?} after {before:?}", row.seq);
    }
}

fn append(number: u8, entries: Vec<FeedEntry>) -> Append {
    Append {
        space: space(number),
        origin: DeviceId::from_bytes([0xd0; 16]),
        pusher: Pusher::default(),
        received_ms: 0,
        epoch_if_new: epoch(),
        entries,
    }
}

fn entry(of: u32, change: u32, deps: &[u32]) -> FeedEntry {
    let record = ChangeRecord {
        entity: entity(of),
        collection: collection(),
        kind: PayloadKind::Change,
        hash: hash(change),
        payload: Bytes::copy_from_slice(&change.to_be_bytes()),
    };
    FeedEntry::new(record, deps.iter().copied().map(hash).collect())
}

fn space(number: u8) -> SpaceId {
    SpaceId::from_bytes([number; 16])
}

fn epoch() -> FeedEpoch {
    FeedEpoch::from_bytes([0xe0; 16])
}

fn entity(number: u32) -> EntityId {
    EntityId::from_bytes(u128::from(number).to_be_bytes())
}

fn hash(number: u32) -> ChangeHash {
    let mut bytes = [0; 32];
    bytes[28..].copy_from_slice(&number.to_be_bytes());
    ChangeHash::from_bytes(bytes)
}

#[expect(clippy::expect_used, reason = "a fixed name, in the library of a test")]
fn collection() -> CollectionName {
    CollectionName::new("coffee_bags").expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{NewFeed, RedbFeed, WriterLimits};

    /// Would let redb drift away from what every backend promises.
    #[tokio::test]
    async fn redb_passes_every_check() {
        run_all(async || {
            let feed =
                RedbFeed::open_backend(redb::backends::InMemoryBackend::new(), NewFeed { created_ms: 0 });
            FeedStore::redb(feed.unwrap(), WriterLimits::default()).unwrap()
        })
        .await
        .unwrap();
    }
}
