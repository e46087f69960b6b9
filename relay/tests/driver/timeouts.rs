//! Connections on which one side has nothing to say, or does not listen.

use std::time::Duration;

use crate::seeds::each_seed;
use crate::world::{BACKOFF_MS_MAX, SLACK_MS, World};

#[test]
fn an_idle_connection_stays_up() {
    // Would make every idle device reconnect once a minute, and miss what comes in between.
    each_seed("an_idle_connection_stays_up", 4, |seed| {
        let mut world = World::new(seed, 10, 64);
        world.add_relay(0, |_| ());
        let devices = world.dice.within(1..=3);
        (0..devices).for_each(|_| world.add_device(|_| ()));
        world.until("all are connected", 10_000, World::is_up_to_date);
        let minutes = world.dice.within(2..=5);
        for _ in 0..minutes * 60 {
            world.run_ms(1_000);
            assert!(world.is_up_to_date(), "{}", world.summary());
        }
        assert!(world.devices.iter().all(|device| device.eye.attempts().len() == 1), "somebody reconnected");
        world.edit(0);
        world.until_even(SLACK_MS);
    });
}

#[test]
fn a_client_that_stops_reading_is_closed_and_catches_up_later() {
    // Would let one phone that hangs pile up the whole team's edits in the relay's memory, or lose them for that phone.
    each_seed("a_client_that_stops_reading", 6, |seed| {
        let mut world = World::new(seed, 5, 64);
        let write_ms = world.dice.within(500..=2_000);
        world.add_relay(0, move |config| {
            config.write_ms_max = write_ms;
            config.live_queue_bytes_max = 16 << 10;
            // Long, so that only the time for a write can close it.
            config.session.limits.ping_interval_ms = 60_000;
            config.session.limits.dead_after_ms = 180_000;
        });
        (0..2).for_each(|_| {
            world.add_device(|options| options.silence_timeout = Duration::from_secs(180));
        });
        world.until("all are connected", 10_000, World::is_up_to_date);
        world.devices[1].eye.set_deaf(true);
        let deadline_ms = world.now_ms() + 60_000;
        let text = |number: u64| -> String {
            (0..800).map(|at| char::from(b'a' + ((at * number + at) % 26) as u8)).collect()
        };
        let mut number = seed;
        while world.relay.eye.open() == 2 {
            assert!(world.now_ms() < deadline_ms, "a client that takes nothing keeps its connection");
            number += 1;
            world.edit_with(0, text(number));
            world.run_ms(25);
        }
        assert_eq!(world.devices[0].eye.attempts().len(), 1, "the other one must not notice");
        let more_ms = world.dice.within(0..=3_000);
        world.run_ms(more_ms);
        world.devices[1].eye.set_deaf(false);
        // A commit of its own has the driver look at its socket again.
        world.edit(1);
        world.until_even(BACKOFF_MS_MAX + 4 * SLACK_MS);
    });
}
