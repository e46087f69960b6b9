//! One append, whose connection to the database is cut at every byte of it.

use std::time::Duration;

use headwater::{EntityId, SpaceId};
use headwater_storage::testing::Postgres;
use headwater_storage::{
    Append, Bytes, ChangeHash, ChangeRecord, CollectionName, DeviceId, FeedEntry, FeedEpoch, PageLimit,
    PayloadKind, Placement, PostgresFeed, PostgresOptions, Pusher, Seq,
};

use crate::cuts;
use crate::devices::COLLECTION;
use crate::proxy::{From, Proxy};

/// Would leave some byte at which a push that broke off is lost though acknowledged, or there twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_cut_off_at_any_byte_of_its_own_is_there_once() {
    cut_off(From::Client).await;
}

/// Would do the same for the bytes of the answers, the last of which says that it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_cut_off_at_any_byte_of_its_answers_is_there_once() {
    cut_off(From::Relay).await;
}

async fn cut_off(from: From) {
    let database = tokio::task::block_in_place(|| Postgres::shared().unwrap().database().unwrap());
    let (proxy, url) = cuts::proxied(&database).await;
    let feed = PostgresFeed::open(PostgresOptions::new(url)).await.unwrap();
    let space = SpaceId::from_name("cut");
    let mut number = 0;
    let mut next = || {
        number += 1;
        change(space, number)
    };
    for _ in 0..2 {
        feed.append_all(vec![next()]).await.unwrap();
        quiet(&proxy).await;
    }
    // As long as one append is on a connection that is in use.
    let before = proxy.passed();
    feed.append_all(vec![next()]).await.unwrap();
    let after = proxy.passed();
    let bytes = if from == From::Client { after.0 - before.0 } else { after.1 - before.1 };
    let cuts = cuts::planned(from, bytes);
    let (made, mut failed, mut stored) = (cuts.len(), 0, 0);
    for cut in cuts {
        // The connection that the cut before has taken away is made and used again.
        again(&feed, &next()).await;
        quiet(&proxy).await;
        let append = next();
        proxy.arm(cut);
        let acknowledged = feed.append_all(vec![append.clone()]).await.is_ok();
        proxy.disarm();
        let placed = again(&feed, &append).await;
        assert!(
            !acknowledged || matches!(placed, Placement::Duplicate(_)),
            "acknowledged, and not there: {cut:?}"
        );
        failed += usize::from(!acknowledged);
        stored += usize::from(!acknowledged && matches!(placed, Placement::Duplicate(_)));
    }
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let page = feed.read_by_seq(space, Seq::ZERO, limit).await.unwrap();
    let mut hashes: Vec<ChangeHash> = page.rows.iter().map(|row| row.record.hash).collect();
    assert!(page.rows.iter().map(|row| row.seq.get()).eq(1..=u64::from(number)), "the feed is not dense");
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), number as usize, "lost or doubled");
    println!(
        "{made} cuts in {bytes} bytes from {from:?}: {failed} appends failed, {stored} of them were stored nevertheless"
    );
    assert!(failed * 2 > made, "most cuts miss");
}

/// Until the database has it.
async fn again(feed: &PostgresFeed, append: &Append) -> Placement {
    loop {
        match feed.append_all(vec![append.clone()]).await {
            Ok(appended) => return appended[0].placements()[0].clone(),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Until nothing is said any more: what has happened is told to other relays behind the append.
async fn quiet(proxy: &Proxy) {
    let mut passed = proxy.passed();
    loop {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let now = proxy.passed();
        if now == passed {
            return;
        }
        passed = now;
    }
}

fn change(space: SpaceId, number: u32) -> Append {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    let record = ChangeRecord {
        // One of its own, so that every append is as long as every other.
        entity: EntityId::from_bytes(u128::from(number).to_be_bytes()),
        collection: CollectionName::new(COLLECTION).unwrap(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes(hash),
        payload: Bytes::from_static(&[7; 110]),
    };
    Append {
        space,
        origin: DeviceId::from_bytes([1; 16]),
        pusher: Pusher::default(),
        received_ms: 0,
        epoch_if_new: FeedEpoch::from_bytes([2; 16]),
        entries: vec![FeedEntry::new(record, Vec::new())],
    }
}
