//! Whatever happens in whatever order: once it stops, both sides are even, and nothing is lost or there twice.

use std::collections::BTreeSet;

use headwater::ingest::ChangeLimits;
use headwater::sync::client::{ClientConfig, Input};
use headwater::sync::relay::RelayConfig;
use headwater::wire::Limits;

use crate::pair::Pair;
use crate::records::{append, new_feed, sized_change};
use crate::replica::{FakeReplica, client_config};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn pair(feed: headwater_storage::RedbFeed, replica: FakeReplica, narrow: u64) -> Pair {
    let limits = if narrow == 0 {
        let frame_bytes_max = 8 << 10;
        Limits {
            frame_bytes_max,
            change: ChangeLimits { change_bytes_max: 2 << 10, ..ChangeLimits::default() },
            in_flight_bytes_max: 2 * frame_bytes_max,
            in_flight_pushes_max: 2,
            push_changes_max: 3,
            ..Limits::default()
        }
    } else {
        Limits::default()
    };
    let relay =
        RelayConfig { limits, by_entity_behind_min: 10, page_entries_max: 7, ..RelayConfig::default() };
    let client = ClientConfig { retry_after_ms: 50, ..client_config(&replica) };
    Pair::with(feed, replica, client, relay)
}

/// Would go wrong: some order of writes, faults and broken connections loses a change, doubles it, or stops the session.
#[test]
fn every_schedule_ends_even() {
    let seeds = std::env::var("HEADWATER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_u64);
    for seed in 1..=seeds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let narrow = random.below(2);
        let mut pair = pair(new_feed(), FakeReplica::default(), narrow);
        let mut own = BTreeSet::new();
        let mut restored = false;
        let mut number = 0;
        for _ in 0..150 {
            number += 1;
            let of = random.below(40);
            let bytes = 10 + random.below(1_500) as usize;
            match random.below(24) {
                0..=5 => {
                    let record = sized_change(of, number, bytes);
                    own.insert((record.entity, record.hash));
                    pair.write(record);
                }
                6..=10 => pair.others_append(vec![sized_change(of, number, bytes)]),
                11 => pair.others_append_unheard(vec![sized_change(of, number, bytes)]),
                12 => pair.lag(),
                13 => pair.faults.merges_wait = true,
                14 | 15 => pair.release_merges(),
                16 => pair.faults.merges_fail = !pair.faults.merges_fail,
                17 => pair.faults.pages_fail = !pair.faults.pages_fail,
                18 => pair.faults.appends_fail = !pair.faults.appends_fail,
                19 => pair.client(Input::SyncNow),
                20 if random.below(3) == 0 => {
                    let replica = std::mem::take(&mut pair.replica);
                    pair = self::pair(pair.feed.clone(), replica, narrow);
                }
                21 if random.below(5) == 0 => {
                    // The relay comes back from a backup, or as a new one.
                    let rows = pair.feed_rows();
                    let kept = random.below(rows.len() as u64 + 1) as usize;
                    restored = true;
                    let feed = new_feed();
                    let records = rows.into_iter().take(kept).map(|row| row.record).collect();
                    append(&feed, 5 + random.below(2) as u8, records);
                    let replica = std::mem::take(&mut pair.replica);
                    pair = self::pair(feed, replica, narrow);
                }
                _ => {}
            }
            for _ in 0..random.below(20) {
                pair.now += 1;
                pair.step();
            }
            if random.below(10) == 0 {
                pair.advance(100);
            }
        }
        pair.faults = Default::default();
        pair.release_merges();
        pair.run();
        pair.advance(5_000);
        pair.client(Input::SyncNow);
        pair.run();
        pair.advance(5_000);
        assert_eq!(pair.client_closed, None, "seed {seed}");
        assert_eq!(pair.relay_closed, None, "seed {seed}");
        assert!(pair.report().is_some(), "seed {seed}");
        println!("seed {seed}");
        if restored {
            // What others wrote and a restored relay lost is theirs to push back, and they are not here.
            pair.assert_has(&own);
        } else {
            pair.assert_even();
        }
    }
}
