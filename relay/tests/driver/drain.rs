//! A relay that is stopped while devices push.

use std::collections::HashSet;

use headwater::Phase;

use crate::seeds::each_seed;
use crate::world::{BACKOFF_MS_MAX, SLACK_MS, World};

const DRAIN_MS_MAX: u64 = 5_000;

#[test]
fn a_draining_relay_acknowledges_what_it_took_and_its_clients_come_back() {
    // Would make every update of a relay cost pushes, or have all clients hammer it or stay away afterwards.
    each_seed("a_draining_relay_acknowledges", 12, drain);
}

fn drain(seed: u64) {
    let mut world = World::new(seed, 5, 64);
    if seed % 4 == 3 {
        world.use_writer_thread();
    }
    let (down_ms, reconnect_after_ms) = (world.dice.within(0..=2_000), world.dice.within(100..=1_500));
    world.add_relay(down_ms, move |config| {
        config.session.reconnect_after_ms = reconnect_after_ms;
        config.drain_ms_max = DRAIN_MS_MAX;
    });
    let devices = world.dice.within(2..=5);
    (0..devices).for_each(|_| world.add_device(|_| ()));
    world.until("all are connected", 10_000, World::is_up_to_date);
    let busy_ms = world.dice.within(0..=1_500);
    world.busy_ms(busy_ms);
    (0..world.devices.len()).for_each(|device| world.edit(device));
    let moment_ms = world.dice.within(0..=200);
    world.run_ms(moment_ms);

    let stopped_ms = world.now_ms();
    world.relay.stop();
    let took_ms =
        world.until("the relay has drained", DRAIN_MS_MAX - 1_000, |world| world.relay.drained.get() == 1);
    let stored: HashSet<_> = world.relay.changes().into_iter().map(|(entity, _)| entity).collect();
    // A device that lost its connection instead has an error, and may be on its second attempt by now.
    world.until("every device heard of it", SLACK_MS, |world| {
        world.devices.iter().all(|device| device.phase() == Phase::Offline || device.status().error.is_some())
    });
    for device in &world.devices {
        assert_eq!(device.status().error, None, "{} lost the goodbye", device.host);
        for (entity, receipt) in &device.written {
            let is_acknowledged = receipt.is_on_relay().unwrap();
            assert!(is_acknowledged || !stored.contains(entity), "{}: taken, not acknowledged", device.host);
        }
    }

    world.busy_ms(300);
    world.until_even(took_ms + down_ms + 2 * reconnect_after_ms + BACKOFF_MS_MAX + 4 * SLACK_MS);
    for device in &world.devices {
        // The first attempt was before the drain.
        let came_back_ms = device.eye.attempts()[1].as_millis() as u64 - stopped_ms;
        let window_ms = reconnect_after_ms..=took_ms + 2 * reconnect_after_ms + SLACK_MS;
        assert!(window_ms.contains(&came_back_ms), "{}: {came_back_ms} ms, not {window_ms:?}", device.host);
    }
}
