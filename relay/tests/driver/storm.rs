//! A relay that is gone for all of its clients in the same moment.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::Phase;

use crate::seeds::each_seed;
use crate::world::{BACKOFF_MS_MAX, RELAY, SLACK_MS, World};

const HOSTS: u64 = 4;
const BUCKET_MS: u64 = 100;

/// The largest share of the clients that may come in the same bucket, in percent. Five buckets make up the first wait.
const SHARE_MAX: usize = 60;

#[test]
fn a_crowd_that_lost_its_relay_comes_back_spread_out() {
    // Would have all clients of a relay that crashed stand at its door in the same moment, again and again.
    each_seed("a_crowd_that_lost_its_relay", 4, |seed| {
        let mut world = World::new(seed, 10, 1024);
        let each = world.dice.within(30..=100).div_ceil(HOSTS) as usize;
        let count = each * HOSTS as usize;
        world.add_relay(0, move |config| config.connections_max = count);
        for host in 0..HOSTS {
            world.add_devices_on_one_host(&format!("crowd-{host}"), each, 500);
        }
        world.until("all are connected", 20_000, World::is_up_to_date);
        world.busy_ms(500);
        world.until_even(10_000);

        let lost = world.sim.elapsed();
        world.sim.crash(RELAY);
        world.until("all have noticed", 3 * SLACK_MS, |world| {
            world.devices.iter().all(|device| device.phase() != Phase::UpToDate)
        });
        world.busy_ms(300);
        let away_ms = world.dice.within(0..=8_000);
        world.run_ms(away_ms);
        world.sim.bounce(RELAY);
        let back = world.sim.elapsed();

        let mut peak = 0;
        let deadline_ms = world.now_ms() + BACKOFF_MS_MAX + 4 * SLACK_MS;
        while !world.is_up_to_date() && world.now_ms() < deadline_ms {
            world.run_ms(BUCKET_MS);
            peak = peak.max(world.relay.eye.open());
        }
        world.until_even(SLACK_MS);
        assert!(peak <= count, "{peak} connections of {count}");
        let first_after = |since: Duration| -> Vec<Duration> {
            let attempts = world.devices.iter().map(|device| device.eye.attempts());
            attempts.filter_map(|attempts| attempts.into_iter().find(|at| *at > since)).collect()
        };
        assert_spread("after the loss", &first_after(lost), count);
        assert_spread("after the return", &first_after(back), count);
    });
}

fn assert_spread(when: &str, attempts: &[Duration], count: usize) {
    let mut buckets: BTreeMap<u64, usize> = BTreeMap::new();
    for at in attempts {
        *buckets.entry(at.as_millis() as u64 / BUCKET_MS).or_default() += 1;
    }
    let most = buckets.values().copied().max().unwrap_or(0);
    assert!(most * 100 <= count * SHARE_MAX, "{when} {most} of {count} came at once: {buckets:?}");
}
