//! What each act of a plan does.

use headwater::sync::client::{self, Direction};
use headwater::sync::relay;
use headwater_storage::Bytes;
use headwater_storage::testing::{CrashMode, Fault};

use super::World;
use crate::Random;
use crate::device::Ending;
use crate::link::{Link, LinkId, Purpose};
use crate::plan::{Act, Step};
use crate::violation::Violation;

/// The most disk operations until an announced fault.
const OPERATIONS_MAX: usize = 60;

impl World {
    /// One act of the plan. Everything that it leaves open follows from its own number.
    pub(super) fn act(&mut self, step: Step) -> Result<(), Violation> {
        let random = &mut Random::new(step.seed);
        let device = random.below(self.devices.len());
        let relay = random.below(self.relays.len());
        self.outcome.steps += 1;
        self.tell(|| format!("{} (replica {device}, relay {relay})", step.act));
        self.pass(random.below(5) as u64)?;
        match step.act {
            Act::Edit => self.edit(device, random)?,
            Act::Connect => self.connect(device, relay, random)?,
            Act::Deliver => {
                for _ in 0..random.below(60) {
                    self.deliver(random)?;
                }
            }
            Act::SyncNow => {
                for id in self.links_of_device(device) {
                    self.client_input(id, client::Input::SyncNow)?;
                }
            }
            Act::Wait => {
                let most = *random.pick(&[100, 1_000, 30_000, 120_000]).unwrap_or(&100);
                self.pass(random.below(most) as u64)?;
            }
            Act::Cut => {
                if let Some(id) = self.any_link(random) {
                    self.cut(id);
                }
            }
            Act::Lose | Act::Double | Act::Swap | Act::Flip | Act::Truncate => {
                self.tamper(step.act, random);
            }
            Act::Silence => {
                if let Some(link) = self.any_link(random).and_then(|id| self.links.get_mut(&id)) {
                    let direction = random.below(3);
                    // What is silent stays so: hearing again after a gap would be another fault.
                    link.silent = [link.silent[0] || direction != 1, link.silent[1] || direction != 0];
                    self.outcome.faults += 1;
                }
            }
            Act::Stall => {
                let until = self.now().after_ms(random.below(40_000) as u64);
                if let Some(link) = self.any_link(random).and_then(|id| self.links.get_mut(&id)) {
                    link.stalled_until = until;
                    self.outcome.faults += 1;
                }
            }
            Act::RestartReplica => self.reopen_device(device, Ending::Closed, step.seed)?,
            Act::RestartRelay => self.reopen_relay(relay, Ending::Closed, step.seed)?,
            Act::DrainRelay => self.drain(relay)?,
            Act::CrashReplica => self.reopen_device(device, ending(random), step.seed)?,
            Act::CrashRelay => self.reopen_relay(relay, ending(random), step.seed)?,
            Act::PowerFailReplica | Act::FailReplicaDisk | Act::PowerFailRelay | Act::FailRelayDisk => {
                let of_replica = matches!(step.act, Act::PowerFailReplica | Act::FailReplicaDisk);
                let disk = match (self.devices.get(device), self.relays.get(relay)) {
                    (Some(device), _) if of_replica => &device.disk,
                    (_, Some(relay)) => &relay.disk,
                    _ => return Ok(()),
                };
                let at = disk.operation_count() + random.below(OPERATIONS_MAX) as u64;
                if matches!(step.act, Act::PowerFailReplica | Act::PowerFailRelay) {
                    disk.fail_power_at(at);
                } else {
                    let faults = [Fault::Eio, Fault::DiskFull, Fault::FailedSync];
                    disk.fail_at(at, *random.pick(&faults).unwrap_or(&Fault::Eio));
                }
            }
            Act::BackUpReplica => {
                if let Some(device) = self.devices.get_mut(device).filter(|device| !device.is_failing()) {
                    device.back_up();
                }
            }
            Act::RestoreReplica => self.restore_device(device)?,
            Act::CloneReplica => self.clone_device(device)?,
            Act::BackUpRelay => {
                if let Some(relay) = self.relays.get_mut(relay).filter(|relay| !relay.is_failing()) {
                    relay.back_up();
                }
            }
            Act::RestoreRelay => self.restore_relay(relay)?,
            Act::Attack => self.attack(relay, random)?,
            Act::ForeignVersion => self.connect_foreign(device, relay, random)?,
            Act::CompactReplica => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.compact()?;
                }
                self.look_after_device(device)?;
            }
            Act::Withdraw => {
                if let Some(device) = self.devices.get_mut(device) {
                    self.outcome.faults += u64::from(device.withdraw(random)?);
                }
                self.look_after_device(device)?;
            }
            Act::Clash => self.clash(device, random)?,
            Act::CompactRelay => {
                if let Some(relay) = self.relays.get(relay) {
                    relay.compact()?;
                }
                self.look_after_relay(relay, random)?;
            }
        }
        Ok(())
    }

    pub(super) fn edit(&mut self, index: usize, random: &mut Random) -> Result<(), Violation> {
        let World { devices, history, .. } = self;
        let Some(device) = devices.get_mut(index) else { return Ok(()) };
        device.edit(random, history)?;
        self.after_edit(index)
    }

    /// One relay decides for everybody; two can decide differently, and then nobody has to agree.
    fn clash(&mut self, index: usize, random: &mut Random) -> Result<(), Violation> {
        let World { devices, relays, history, .. } = self;
        let Some(device) = devices.get_mut(index).filter(|_| relays.len() == 1) else { return Ok(()) };
        device.clash(random, history)?;
        self.after_edit(index)
    }

    /// Sessions hear that there may be something to send.
    pub(super) fn after_edit(&mut self, index: usize) -> Result<(), Violation> {
        let Some(device) = self.devices.get(index) else { return Ok(()) };
        let spaces = device.spaces.clone();
        for id in self.links_of_device(index) {
            for space in &spaces {
                self.client_input(id, client::Input::LocalCommit { space: *space })?;
            }
        }
        self.look_after_device(index)
    }

    fn connect(&mut self, device: usize, relay: usize, random: &mut Random) -> Result<(), Violation> {
        let purpose = match random.below(10) {
            0..6 => Purpose::Stay,
            6..8 => Purpose::SyncOnce(Direction::Both),
            8 => Purpose::SyncOnce(Direction::Pull),
            _ => Purpose::SyncOnce(Direction::Push),
        };
        self.open(device, relay, purpose, random).map(|_| ())
    }

    /// Makes a connection, in place of those that the device has.
    pub(super) fn open(
        &mut self,
        index: usize,
        relay: usize,
        purpose: Purpose,
        random: &mut Random,
    ) -> Result<Option<LinkId>, Violation> {
        for id in self.links_of_device(index) {
            self.hang_up(id);
        }
        let now = self.now();
        let Some(device) = self.devices.get(index) else { return Ok(None) };
        let link = match Link::new(relay, (index, device), purpose, random, now) {
            Ok(link) => link,
            Err(_) if device.is_failing() => return Ok(None),
            Err(error) => return Err(Violation::failed("position")(error)),
        };
        self.add_link(link).map(Some)
    }

    pub(super) fn add_link(&mut self, link: Link) -> Result<LinkId, Violation> {
        let (id, relay) = (self.next_link, link.relay);
        self.next_link += 1;
        self.tell(|| {
            let device = link.client.as_ref().map(|client| client.device);
            format!("connection {id}: replica {device:?}, relay {relay}")
        });
        self.links.insert(id, link);
        if self.relays.get(relay).is_some_and(|relay| relay.is_draining) {
            self.relay_input(id, relay::Input::Drain)?;
        }
        self.settle(id)?;
        Ok(id)
    }

    /// The network damages what is on its way in one connection, once.
    fn tamper(&mut self, act: Act, random: &mut Random) {
        let Some(link) = self.any_link(random).and_then(|id| self.links.get_mut(&id)) else { return };
        let to_relay = random.chance(50);
        let queue = if to_relay { &mut link.to_relay } else { &mut link.to_client };
        let index = random.below(queue.len());
        let Some(frame) = queue.get(index).cloned() else { return };
        match act {
            Act::Lose => {
                drop(queue.remove(index));
                // Nothing comes behind it that would show the gap.
                link.must_end &= !to_relay || index < link.to_relay.len();
            }
            Act::Double => queue.insert(index + random.below(queue.len() - index) + 1, frame),
            Act::Swap => {
                let other = random.below(queue.len());
                if queue.get(other) == Some(&frame) {
                    return;
                }
                queue.swap(index, other);
            }
            Act::Flip => {
                let mut bytes = frame.to_vec();
                let place = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
                queue[index] = Bytes::from(bytes);
            }
            _ => queue[index] = frame.slice(..random.below(frame.len())),
        }
        link.is_tampered = true;
        self.outcome.faults += 1;
    }

    fn drain(&mut self, index: usize) -> Result<(), Violation> {
        let Some(relay) = self.relays.get_mut(index) else { return Ok(()) };
        relay.is_draining = true;
        self.outcome.faults += 1;
        for id in self.links_of_relay(index) {
            self.relay_input(id, relay::Input::Drain)?;
        }
        Ok(())
    }

    /// A connection is gone at both ends, with everything that was on its way.
    pub(super) fn cut(&mut self, id: LinkId) {
        if let Some(link) = self.links.remove(&id) {
            self.outcome.faults += u64::from(!link.is_idle());
            if let Some(relay) = self.relays.get_mut(link.relay) {
                relay.forget(id);
            }
        }
    }

    pub(super) fn reopen_device(&mut self, index: usize, ending: Ending, seed: u64) -> Result<(), Violation> {
        self.end_device(index, ending != Ending::Closed);
        self.replace_device(index, |device, history| device.reopen(ending, seed, history))
    }

    fn restore_device(&mut self, index: usize) -> Result<(), Violation> {
        self.end_device(index, true);
        self.replace_device(index, |device, history| device.restore(history))
    }

    fn clone_device(&mut self, index: usize) -> Result<(), Violation> {
        let clock = self.maybe_wrong_clock();
        let Some(device) = self.devices.get(index).filter(|device| !device.is_failing()) else {
            return Ok(());
        };
        if self.devices.len() >= 10 {
            return Ok(());
        }
        let copy = device.copy(clock, &mut self.history)?;
        self.devices.push(copy);
        self.outcome.faults += 1;
        self.outcome.recoveries += 1;
        Ok(())
    }

    pub(super) fn reopen_relay(&mut self, index: usize, ending: Ending, seed: u64) -> Result<(), Violation> {
        self.end_relay(index, ending != Ending::Closed);
        self.replace_relay(index, |relay, history| relay.reopen(ending, seed, history))
    }

    fn restore_relay(&mut self, index: usize) -> Result<(), Violation> {
        self.end_relay(index, true);
        self.replace_relay(index, |relay, history| relay.restore(history))
    }

    /// A device whose disk failed: without power it is gone, else its app goes on for a while, or opens the file again.
    pub(super) fn look_after_device(&mut self, index: usize) -> Result<(), Violation> {
        let Some(device) = self.devices.get(index) else { return Ok(()) };
        let seed = device.disk.operation_count();
        if device.disk.is_powerless() {
            return self.reopen_device(index, ending(&mut Random::new(seed)), seed);
        }
        if device.is_failing() && Random::new(seed).chance(70) {
            return self.reopen_device(index, Ending::Crashed(CrashMode::Kept), seed);
        }
        Ok(())
    }

    /// The same for a relay.
    pub(super) fn look_after_relay(&mut self, index: usize, random: &mut Random) -> Result<(), Violation> {
        let Some(relay) = self.relays.get(index) else { return Ok(()) };
        let seed = random.bits();
        if relay.disk.is_powerless() {
            return self.reopen_relay(index, ending(random), seed);
        }
        if relay.is_failing() && random.chance(40) {
            return self.reopen_relay(index, Ending::Crashed(CrashMode::Kept), seed);
        }
        Ok(())
    }

    fn end_device(&mut self, index: usize, is_fault: bool) {
        for id in self.links_of_device(index) {
            // The machine's own end is gone; what the relay has sent is lost with it.
            self.cut(id);
        }
        self.outcome.faults += u64::from(is_fault);
        self.outcome.recoveries += u64::from(is_fault);
    }

    fn end_relay(&mut self, index: usize, is_fault: bool) {
        for id in self.links_of_relay(index) {
            self.cut(id);
        }
        self.outcome.faults += u64::from(is_fault);
        self.outcome.recoveries += u64::from(is_fault);
    }

    fn replace_device(
        &mut self,
        index: usize,
        with: impl FnOnce(
            crate::device::Device,
            &mut crate::history::History,
        ) -> Result<crate::device::Device, Violation>,
    ) -> Result<(), Violation> {
        if index < self.devices.len() {
            let device = with(self.devices.remove(index), &mut self.history)?;
            self.devices.insert(index, device);
        }
        Ok(())
    }

    fn replace_relay(
        &mut self,
        index: usize,
        with: impl FnOnce(
            crate::relay::Relay,
            &mut crate::history::History,
        ) -> Result<crate::relay::Relay, Violation>,
    ) -> Result<(), Violation> {
        if index < self.relays.len() {
            let relay = with(self.relays.remove(index), &mut self.history)?;
            self.relays.insert(index, relay);
        }
        Ok(())
    }

    fn any_link(&self, random: &mut Random) -> Option<LinkId> {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        random.pick(&ids).copied()
    }

    pub(super) fn links_of_device(&self, index: usize) -> Vec<LinkId> {
        let of_device = |link: &Link| link.client.as_ref().is_some_and(|client| client.device == index);
        self.links.iter().filter(|(_, link)| of_device(link)).map(|(id, _)| *id).collect()
    }

    fn links_of_relay(&self, index: usize) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.relay == index).map(|(id, _)| *id).collect()
    }
}

/// What a crash leaves. A program that is killed loses nothing that it wrote; a machine does.
fn ending(random: &mut Random) -> Ending {
    Ending::Crashed(*random.pick(&CrashMode::ALL).unwrap_or(&CrashMode::Lost))
}
