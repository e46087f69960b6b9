//! The end of a world: nothing breaks any more, everybody connects, and everybody must come to hold the same.

use std::ops::Range;

use headwater_storage::testing::CrashMode;

use super::World;
use crate::Random;
use crate::check::{all_even, all_words, even_with, same_heads};
use crate::device::Ending;
use crate::link::Purpose;
use crate::violation::{Promise, Violation};

/// Arrivals after which healing sessions count as restless. A healthy world needs some thousand.
const ARRIVALS_MAX: u64 = 300_000;
/// Times that a healed world may have to wait for a timeout.
const WAITS_MAX: usize = 100;
/// Times that everybody goes to some relay and is cut off there, and how much each may hear and say at most.
const WANDERINGS: usize = 3;
const ARRIVALS_PER_WANDERER: usize = 30;
/// Times that everybody visits every relay until all must be even: what one relay has reaches the others through the replicas.
const VISITS_MAX: usize = 3;

impl World {
    /// Connects everybody, until everybody has everything.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        let random = &mut self.random.split();
        self.intruders_are_turned_away()?;
        self.devices.iter().for_each(|device| device.disk.spare());
        self.relays.iter().for_each(|relay| relay.disk.spare());
        for index in 0..self.devices.len() {
            self.reopen_device(index, last_ending(random), random.bits())?;
        }
        for index in 0..self.relays.len() {
            self.reopen_relay(index, last_ending(random), random.bits())?;
        }
        // Whoever is left has no client of ours, or hears nothing.
        self.cut_all();
        self.wander(random)?;
        self.stray(random)?;
        for _ in 0..VISITS_MAX {
            for relay in 0..self.relays.len() {
                self.visit(relay, 0..self.devices.len(), random)?;
            }
            if self.is_even().is_ok() {
                break;
            }
        }
        self.is_even()?;
        self.make_again(random)?;
        // What was agreed on is also what the disks hold.
        for index in 0..self.devices.len() {
            self.reopen_device(index, Ending::Closed, 0)?;
        }
        for index in 0..self.relays.len() {
            self.reopen_relay(index, Ending::Closed, 0)?;
        }
        self.is_even()
    }

    /// Every app makes again what gave way to another collection, and nobody's word is missing then.
    fn make_again(&mut self, random: &mut Random) -> Result<(), Violation> {
        if self.devices.iter().all(|device| device.known.clashes.is_empty()) {
            return Ok(());
        }
        for index in 0..self.devices.len() {
            let World { devices, history, .. } = self;
            if let Some(device) = devices.get_mut(index) {
                device.make_again(history)?;
            }
            self.after_edit(index)?;
        }
        for relay in 0..self.relays.len() {
            self.visit(relay, 0..self.devices.len(), random)?;
        }
        self.is_even()?;
        all_words(&self.spaces, &self.devices)
    }

    /// Where there are several relays, everybody goes from one to another, and most are cut off while they compare heads.
    fn wander(&mut self, random: &mut Random) -> Result<(), Violation> {
        if self.relays.len() < 2 {
            return Ok(());
        }
        for _ in 0..WANDERINGS {
            for index in 0..self.devices.len() {
                let relay = random.below(self.relays.len());
                self.open(index, relay, Purpose::Stay, random)?;
            }
            for _ in 0..random.below(ARRIVALS_PER_WANDERER * self.devices.len()) {
                self.deliver(random)?;
            }
            self.cut_all();
        }
        Ok(())
    }

    /// Where there are several relays: all are even with one, somebody writes at another, and one more comes there and is cut off while
    /// it compares heads. Whatever it took in by then it has to bring home, by itself.
    fn stray(&mut self, random: &mut Random) -> Result<(), Violation> {
        let (devices, relays) = (self.devices.len(), self.relays.len());
        if relays < 2 || devices < 2 {
            return Ok(());
        }
        let (home, author) = (random.below(relays), random.below(devices));
        let away = (home + 1 + random.below(relays - 1)) % relays;
        let stray = (author + 1 + random.below(devices - 1)) % devices;
        self.visit(home, 0..devices, random)?;
        self.cut_all();
        for _ in 0..1 + random.below(4) {
            self.edit(author, random)?;
        }
        self.visit(away, author..author + 1, random)?;
        self.cut_all();
        self.open(stray, away, Purpose::Stay, random)?;
        for _ in 0..random.below(ARRIVALS_PER_WANDERER) {
            self.deliver(random)?;
        }
        self.cut_all();
        // It may hold changes that wait for others, which no relay takes: that both hold the same is asked for later, of everybody.
        match self.visit(home, stray..stray + 1, random) {
            Ok(()) | Err(Violation { promise: Promise::Converges, .. }) => {}
            Err(other) => return Err(other),
        }
        match (self.devices.get(stray), self.relays.get(home)) {
            (Some(device), Some(relay)) => same_heads(&self.spaces, device, relay),
            _ => Ok(()),
        }
    }

    fn cut_all(&mut self) {
        let ids: Vec<_> = self.links.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cut(id));
    }

    /// These devices connect to one relay, and stay until nothing moves any more.
    fn visit(&mut self, relay: usize, who: Range<usize>, random: &mut Random) -> Result<(), Violation> {
        for index in who.clone() {
            self.open(index, relay, Purpose::Stay, random)?;
        }
        for _ in 0..WAITS_MAX {
            let begun = self.outcome.steps;
            while self.deliver(random)? {
                let arrivals = self.outcome.steps - begun;
                Promise::ComesToRest
                    .hold(arrivals < ARRIVALS_MAX, || format!("after {arrivals} arrivals"))?;
            }
            for index in who.clone() {
                if self.links_of_device(index).is_empty() {
                    self.open(index, relay, Purpose::Stay, random)?;
                }
            }
            if !self.deliver(random)? {
                if self.is_even_at(relay, who.clone()).is_ok() {
                    return Ok(());
                }
                self.wait_for_timeout()?;
            }
        }
        self.is_even_at(relay, who)
    }

    fn is_even_at(&self, relay: usize, who: Range<usize>) -> Result<(), Violation> {
        match (self.relays.get(relay), self.devices.get(who)) {
            (Some(relay), Some(devices)) => even_with(&self.spaces, devices, relay),
            _ => Ok(()),
        }
    }

    /// Whether everybody holds the same.
    fn is_even(&self) -> Result<(), Violation> {
        all_even(&self.spaces, &self.devices, &self.relays, &self.history)
    }

    /// Lets time pass until the next session wants to be woken.
    fn wait_for_timeout(&mut self) -> Result<(), Violation> {
        let of_clients = self.links.values().filter_map(|link| link.client.as_ref()?.session.timeout());
        let of_relays = self.links.values().filter_map(|link| link.server.as_ref()?.session.timeout());
        let Some(next) = of_clients.chain(of_relays).min() else { return Ok(()) };
        self.pass(next.since(self.now()))
    }
}

/// Some crash once more at the very end, while all that they did is fresh.
fn last_ending(random: &mut Random) -> Ending {
    match random.below(3) {
        0 => Ending::Closed,
        _ => Ending::Crashed(*random.pick(&CrashMode::ALL).unwrap_or(&CrashMode::Lost)),
    }
}
