//! Connections that do not get as far as syncing.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use headwater::{Phase, SyncOptions};
use tokio::sync::Notify;

use crate::impostor::{Caller, Impostor};
use crate::net::Net;
use crate::seeds::each_seed;
use crate::world::{BACKOFF_MS_MAX, RELAY, SLACK_MS, World, space, url};

const CONNECT_MS: u64 = 3_000;
const GREETING_MS: u64 = 2_000;

#[test]
fn a_client_gives_up_on_what_is_no_relay_and_finds_the_real_one() {
    // Would leave a device waiting for ever behind a captive portal or a proxy that is starting.
    each_seed("a_client_gives_up_on_what_is_no_relay", 12, |seed| {
        let mut world = World::new(seed, 5, 64);
        let impostor = world.dice.one_of(&[
            Impostor::Nobody,
            Impostor::Silent,
            Impostor::Unavailable,
            Impostor::Garbage,
            Impostor::SilentSocket,
            Impostor::SilentWelcome,
        ]);
        let (site, unmasked) = (world.relay.clone(), Arc::new(Notify::new()));
        let ends = Arc::clone(&unmasked);
        world.sim.host(RELAY, move || {
            let (site, ends) = (site.clone(), Arc::clone(&ends));
            async move {
                tokio::select! {
                    answered = impostor.answer() => answered?,
                    () = ends.notified() => {}
                }
                site.serve(&|_| ()).await
            }
        });
        let devices = world.dice.within(1..=3);
        for _ in 0..devices {
            world.add_device(|options| options.limits.authentication_ms_max = GREETING_MS);
        }
        (0..world.devices.len()).for_each(|device| world.edit(device));
        let bound_ms = CONNECT_MS + GREETING_MS + SLACK_MS;
        world.until(&format!("the client gives up on {impostor:?}"), bound_ms, |world| {
            world.devices.iter().all(|device| device.status().error.is_some())
        });
        for device in &world.devices {
            assert_ne!(device.phase(), Phase::Error, "{impostor:?} is no reason to stop trying");
        }
        let wait_ms = world.dice.within(0..=5_000);
        world.run_ms(wait_ms);
        let single = one_round(&mut world, bound_ms);
        assert!(single.is_retryable(), "{impostor:?}: {single}");

        unmasked.notify_one();
        world.until_even(bound_ms + BACKOFF_MS_MAX + 3 * SLACK_MS);
    });
}

/// The error of a round that has to fail.
fn one_round(world: &mut World, ms_max: u64) -> headwater::SyncError {
    let (replica, error) = (world.devices[0].replica.clone(), Rc::new(Cell::new(None)));
    let told = Rc::clone(&error);
    world.sim.host("single", move || {
        let (replica, told) = (replica.clone(), Rc::clone(&told));
        async move {
            let mut options = SyncOptions::new([space()]);
            options.limits.authentication_ms_max = GREETING_MS;
            options.connect_timeout = std::time::Duration::from_millis(CONNECT_MS);
            options.timeout = std::time::Duration::from_millis(CONNECT_MS + 2 * GREETING_MS);
            options.transport = Arc::new(Net::default());
            told.set(replica.sync(&url(), options).await.err());
            pending().await
        }
    });
    let start_ms = world.now_ms();
    loop {
        world.run_ms(50);
        if let Some(error) = error.take() {
            return error;
        }
        assert!(world.now_ms() - start_ms <= ms_max + SLACK_MS, "the round neither ends nor fails");
    }
}

#[test]
fn callers_that_say_nothing_do_not_keep_others_out() {
    // Would let anyone close a relay to everybody by opening a few sockets and waiting.
    each_seed("callers_that_say_nothing", 12, |seed| {
        let mut world = World::new(seed, 5, 64);
        let (head_ms, greeting_ms) = (world.dice.within(500..=3_000), world.dice.within(500..=3_000));
        let places = world.dice.within(1..=3);
        world.add_relay(0, move |config| {
            config.connections_max = places as usize;
            config.request_head_ms_max = head_ms;
            config.session.limits.authentication_ms_max = greeting_ms;
        });
        let kinds: Vec<_> = (0..places)
            .map(|_| world.dice.one_of(&[Caller::Mute, Caller::HalfHead, Caller::SocketOnly]))
            .collect();
        let hung_up: Vec<_> = kinds.iter().map(|_| Arc::new(Notify::new())).collect();
        for (number, (kind, hung_up)) in kinds.iter().copied().zip(hung_up).enumerate() {
            world.sim.host(format!("caller-{number}"), move || {
                let hung_up = Arc::clone(&hung_up);
                async move {
                    kind.call(hung_up).await?;
                    pending().await
                }
            });
        }
        world.until("the callers have every place", SLACK_MS, |world| {
            world.relay.eye.open() == places as usize
        });
        world.add_device(|_| ());
        world.edit(0);
        world.run_ms(400);
        assert_ne!(world.devices[0].phase(), Phase::UpToDate, "there was no place for it");
        let bound_ms = head_ms.max(greeting_ms) + SLACK_MS;
        world.until_even(bound_ms + BACKOFF_MS_MAX + SLACK_MS);
        world.until(&format!("the relay hangs up on {kinds:?}"), bound_ms, |world| {
            world.relay.eye.open() == 1
        });
    });
}
