//! A network that stops carrying anything, in one or both directions, without either side hearing of it.

use crate::seeds::each_seed;
use crate::world::{BACKOFF_MS_MAX, DEAD_MS, PING_MS, RELAY, SLACK_MS, World};
use headwater::Phase;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing gets through, and nothing of it comes later.
    Cut,
    CutTowardsRelay,
    CutTowardsDevice,
    /// Everything comes, but late.
    Held,
}

#[test]
fn both_sides_notice_a_dead_network_and_nothing_is_lost_or_doubled() {
    // Would leave a device "up to date" behind a dead NAT entry for ever, its edits unsent; or push them twice afterwards.
    each_seed("both_sides_notice_a_dead_network", 10, |seed| go_dead(seed, 64));
}

#[test]
fn a_device_notices_a_dead_network_while_it_waits_to_send() {
    // Would hang a device that has much to push when its network dies, until the system gives up: a quarter of an hour.
    each_seed("a_device_notices_a_dead_network_while", 10, |seed| go_dead(seed, 6));
}

/// `segments_max` may be under way before a writer has to wait.
fn go_dead(seed: u64, segments_max: usize) {
    let mut world = World::new(seed, 5, segments_max);
    // A relay that waits to send to a device that is gone notices it by this limit.
    world.add_relay(0, |config| config.write_ms_max = DEAD_MS);
    let devices = world.dice.within(2..=4);
    (0..devices).for_each(|_| world.add_device(|_| ()));
    world.until("all are connected", 10_000, World::is_up_to_date);
    let busy_ms = world.dice.within(0..=1_500);
    world.busy_ms(busy_ms);

    let fault =
        world.dice.one_of(&[Fault::Cut, Fault::CutTowardsRelay, Fault::CutTowardsDevice, Fault::Held]);
    let victim = world.devices[0].host.clone();
    let streams = world.devices.len();
    match fault {
        Fault::Cut => world.sim.partition(&*victim, RELAY),
        Fault::CutTowardsRelay => world.sim.partition_oneway(&*victim, RELAY),
        Fault::CutTowardsDevice => world.sim.partition_oneway(RELAY, &*victim),
        Fault::Held => world.sim.hold(&*victim, RELAY),
    }
    let bound_ms = DEAD_MS + PING_MS + SLACK_MS;
    let start = world.now_ms();
    // More than a narrow network takes.
    for _ in 0..10 {
        world.edit(0);
        world.run_ms(10);
    }
    // The two ends notice on their own: what one of them says does not reach the other.
    world.until(&format!("the device notices {fault:?}"), bound_ms, |world| {
        world.devices[0].phase() != Phase::UpToDate && world.devices[0].eye.open() == 0
    });
    let left_ms = bound_ms.saturating_sub(world.now_ms() - start);
    world.until(&format!("the relay notices {fault:?}"), left_ms, |world| {
        world.relay.eye.open() < streams || world.devices[0].eye.attempts().len() > 1
    });
    let more_ms = world.dice.within(0..=2 * DEAD_MS);
    world.busy_ms(more_ms);

    match fault {
        Fault::Held => world.sim.release(&*victim, RELAY),
        _ => world.sim.repair(&*victim, RELAY),
    }
    let connect_ms_max = 3_000;
    world.until_even(DEAD_MS + BACKOFF_MS_MAX + connect_ms_max + 5 * SLACK_MS);
    world.until("the dead streams are gone", DEAD_MS + PING_MS + connect_ms_max + SLACK_MS, |world| {
        world.relay.eye.open() == world.devices.len()
    });
}
