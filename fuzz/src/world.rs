//! What happens in a world, and in which order.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater::sync::Time;
use headwater::sync::client::{self, CloseReason, Direction, Event};
use headwater::sync::relay::{self, Author, encode_live};
use headwater::wire::{OpenMode, Retry};
use headwater_storage::{Appended, Bytes};

use crate::check::{Violation, all_even, rebuilds};
use crate::device::{Device, space};
use crate::link::{Link, Message, Purpose};
use crate::relay::Relay;
use crate::{Clock, Random, edits};

/// The most a clock is wrong by: ten years.
const CLOCK_ERROR_MS: u64 = 10 * 365 * 24 * 3600 * 1000;
/// Events after which healing sessions count as restless. A healthy world needs some thousand.
const EVENTS_MAX: u64 = 300_000;
/// Times that a healed world may have to wait for a timeout.
const WAITS_MAX: usize = 100;

/// What a world is made of.
///
/// ```
/// use headwater_fuzz::{Plan, run};
/// let outcome = run(&Plan::new(1, 2)).unwrap();
/// assert!(outcome.changes > 0);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Every choice follows from it.
    pub seed: u64,
    /// How many replicas there are.
    pub replicas: usize,
    /// How many things happen before the world is healed: edits, connections, partitions, restarts.
    pub steps: usize,
    /// What happens to the relay.
    pub relay: RelayFate,
}

/// What happens to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayFate {
    /// It keeps what it has.
    Steady,
    /// It is restored from older backups, or loses everything.
    Restored,
}

impl Plan {
    /// A world with partitions and restarts, and a relay that keeps what it has.
    pub fn new(seed: u64, replicas: usize) -> Plan {
        Plan { seed, replicas, steps: 60 + 16 * replicas, relay: RelayFate::Steady }
    }
}

/// What a world came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Changes that every replica ended with.
    pub changes: u64,
    /// Frames and messages that arrived.
    pub events: u64,
    /// Connections that were cut while something was on its way.
    pub cuts: u64,
    /// A hash of every frame in the order it was sent: equal for two runs of one seed.
    pub trace: u64,
}

/// Makes the world of a plan, lets it live, heals it, and checks it.
///
/// # Errors
/// When something happened that must not; see [`Violation`].
pub fn run(plan: &Plan) -> Result<Outcome, Violation> {
    let mut world = World::new(plan)?;
    for _ in 0..plan.steps {
        world.step(plan.relay)?;
    }
    world.heal()?;
    all_even(&world.devices, &world.relay)?;
    let clock = world.clock(0);
    let changes = match world.devices.first() {
        Some(device) => rebuilds(device, &clock, &mut world.random)?,
        None => 0,
    };
    Ok(Outcome { changes, events: world.events, cuts: world.cuts, trace: world.trace.finish() })
}

struct World {
    random: Random,
    world_ms: Arc<AtomicU64>,
    devices: Vec<Device>,
    relay: Relay,
    /// The connection of each device.
    links: Vec<Option<Link>>,
    events: u64,
    cuts: u64,
    trace: DefaultHasher,
}

impl World {
    fn new(plan: &Plan) -> Result<World, Violation> {
        let mut random = Random::new(plan.seed);
        let relay = Relay::new(random.split())?;
        let mut world = World {
            random,
            world_ms: Arc::default(),
            devices: Vec::new(),
            relay,
            links: Vec::new(),
            events: 0,
            cuts: 0,
            trace: DefaultHasher::new(),
        };
        for _ in 0..plan.replicas {
            let wrong_by = (world.random.bits() % CLOCK_ERROR_MS) as i64 - CLOCK_ERROR_MS as i64 / 2;
            let wrong_by = if world.random.chance(30) { wrong_by } else { 0 };
            let clock = world.clock(wrong_by);
            world.devices.push(Device::new(clock)?);
            world.links.push(None);
        }
        Ok(world)
    }

    fn clock(&mut self, wrong_by_ms: i64) -> Clock {
        Clock::new(self.random.split(), Arc::clone(&self.world_ms), wrong_by_ms)
    }

    fn now(&self) -> Time {
        Time::from_millis(self.world_ms.load(Ordering::Relaxed))
    }

    /// One thing that happens.
    fn step(&mut self, fate: RelayFate) -> Result<(), Violation> {
        let index = self.random.below(self.devices.len());
        self.world_ms.fetch_add(self.random.below(5) as u64, Ordering::Relaxed);
        match self.random.below(100) {
            0..50 => {
                if let Some(device) = self.devices.get(index) {
                    edits::edit(&device.replica, &mut self.random)?;
                }
                self.client_input(index, client::Input::LocalCommit { space: space() })
            }
            50..62 => self.connect(index),
            62..68 => {
                self.cut(index);
                Ok(())
            }
            68..71 => self.restart(index),
            71..73 if fate == RelayFate::Restored => {
                self.relay.back_up();
                Ok(())
            }
            73..76 if fate == RelayFate::Restored => self.restore(),
            76..79 => self.client_input(index, client::Input::SyncNow),
            _ => {
                for _ in 0..self.random.below(40) {
                    self.deliver()?;
                }
                Ok(())
            }
        }
    }

    /// Connects everybody, until everybody has everything.
    fn heal(&mut self) -> Result<(), Violation> {
        for index in 0..self.devices.len() {
            self.cut(index);
            self.open(index, Purpose::Stay)?;
        }
        for _ in 0..WAITS_MAX {
            let begun = self.events;
            while self.deliver()? {
                if self.events - begun > EVENTS_MAX {
                    return Err(Violation::Restless { events: EVENTS_MAX });
                }
            }
            if self.links.iter().any(Option::is_none) {
                for index in 0..self.devices.len() {
                    if self.links.get(index).is_some_and(Option::is_none) {
                        self.open(index, Purpose::Stay)?;
                    }
                }
            } else if all_even(&self.devices, &self.relay).is_ok() {
                return Ok(());
            } else {
                self.time_out()?;
            }
        }
        Ok(())
    }

    /// Lets time pass until the next session wants to be woken.
    fn time_out(&mut self) -> Result<(), Violation> {
        let timeouts =
            self.links.iter().flatten().flat_map(|link| [link.client.timeout(), link.relay.timeout()]);
        let Some(next) = timeouts.flatten().min() else { return Ok(()) };
        self.world_ms.fetch_max(next.as_millis(), Ordering::Relaxed);
        for index in 0..self.links.len() {
            self.client_input(index, client::Input::Timeout)?;
            self.relay_input(index, relay::Input::Timeout)?;
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> Result<(), Violation> {
        self.cut(index);
        let purpose = match self.random.below(10) {
            0..6 => Purpose::Stay,
            6..8 => Purpose::SyncOnce(Direction::Both),
            8 => Purpose::SyncOnce(Direction::Pull),
            _ => Purpose::SyncOnce(Direction::Push),
        };
        self.open(index, purpose)
    }

    fn open(&mut self, index: usize, purpose: Purpose) -> Result<(), Violation> {
        let now = self.now();
        let Some(device) = self.devices.get(index) else { return Ok(()) };
        let link = Link::new(&device.replica, purpose, &mut self.random, now)?;
        if let Some(place) = self.links.get_mut(index) {
            *place = Some(link);
        }
        self.act(index)
    }

    /// The connection is gone, with everything that was on its way.
    fn cut(&mut self, index: usize) {
        if let Some(link) = self.links.get_mut(index).and_then(Option::take) {
            self.cuts += u64::from(!link.is_idle());
        }
    }

    fn restart(&mut self, index: usize) -> Result<(), Violation> {
        self.cut(index);
        if index < self.devices.len() {
            let device = self.devices.remove(index).restart()?;
            self.devices.insert(index, device);
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<(), Violation> {
        for index in 0..self.links.len() {
            self.cut(index);
        }
        let spare = Relay::new(self.random.split())?;
        self.relay = std::mem::replace(&mut self.relay, spare).restore()?;
        Ok(())
    }

    /// Lets one thing that is on its way arrive. False if there is none.
    fn deliver(&mut self) -> Result<bool, Violation> {
        let mut ways = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            let Some(link) = link.as_ref().filter(|link| !link.over) else { continue };
            let waiting = [
                !link.to_relay.is_empty(),
                !link.to_client.is_empty(),
                !link.inbox.is_empty() || link.lagged,
            ];
            ways.extend(waiting.iter().enumerate().filter(|(_, waits)| **waits).map(|(way, _)| (index, way)));
        }
        let Some((index, way)) = self.random.pick(&ways).copied() else { return Ok(false) };
        self.events += 1;
        self.world_ms.fetch_add(1, Ordering::Relaxed);
        let Some(link) = self.links.get_mut(index).and_then(Option::as_mut) else { return Ok(false) };
        match way {
            0 => {
                let frame = link.to_relay.pop_front();
                self.relay_input(index, relay::Input::Frame(&frame.unwrap_or_default()))?;
            }
            1 => {
                let frame = link.to_client.pop_front();
                self.client_input(index, client::Input::Frame(&frame.unwrap_or_default()))?;
            }
            _ => self.take_message(index)?,
        }
        Ok(true)
    }

    /// The relay's connection takes its next message, or hears that some were dropped.
    fn take_message(&mut self, index: usize) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        let space = space();
        match link.inbox.pop_front() {
            Some(Message::Appended { push_id, appended }) => {
                let input =
                    relay::Input::Appended { space, push_id, appended: Some(&appended), refused: Vec::new() };
                self.relay_input(index, input)
            }
            Some(Message::Live { first, watermark, frame, author }) => {
                self.relay_input(index, relay::Input::Live { space, first, watermark, frame, author })
            }
            None => {
                link.lagged = false;
                self.relay_input(index, relay::Input::Lagged { space })
            }
        }
    }

    fn client_input(&mut self, index: usize, input: client::Input<'_>) -> Result<(), Violation> {
        let now = self.now();
        if let Some(link) = self.links.get_mut(index).and_then(Option::as_mut) {
            link.client.handle(now, input);
        }
        self.act(index)
    }

    fn relay_input(&mut self, index: usize, input: relay::Input<'_>) -> Result<(), Violation> {
        let now = self.now();
        if let Some(link) = self.links.get_mut(index).and_then(Option::as_mut) {
            link.relay.handle(now, input);
        }
        self.act(index)
    }

    /// Does everything that the sessions of one connection want done by now.
    fn act(&mut self, index: usize) -> Result<(), Violation> {
        let now = self.now();
        loop {
            let Some(link) = self.links.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
            if let Some(output) = link.client.poll() {
                self.client_output(index, now, output)?;
            } else if let Some(output) = link.relay.poll() {
                self.relay_output(index, now, output)?;
            } else {
                break;
            }
        }
        let slot = self.links.get_mut(index);
        if let Some(slot) = slot
            && slot.as_ref().is_some_and(|link| link.over)
        {
            *slot = None;
        }
        Ok(())
    }

    fn client_output(&mut self, index: usize, now: Time, output: client::Output) -> Result<(), Violation> {
        let World { links, devices, trace, .. } = self;
        let Some(link) = links.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        let Some(device) = devices.get(index) else { return Ok(()) };
        match output {
            client::Output::Transmit(frame) => {
                (index, 0_u8, &frame).hash(trace);
                link.to_relay.push_back(frame);
            }
            client::Output::Event(Event::Error { code, message, retry: Retry::Never, .. }) => {
                return Err(Violation::GaveUp { reason: format!("an error for good: {message} ({code})") });
            }
            client::Output::Event(_) => {}
            client::Output::Close { reason: CloseReason::Done | CloseReason::Timeout } => link.over = true,
            client::Output::Close { reason } => {
                return Err(Violation::GaveUp { reason: format!("the client: {reason:?}") });
            }
            call => {
                if let Some(input) = device.answer(call)? {
                    link.client.handle(now, input);
                }
            }
        }
        Ok(())
    }

    fn relay_output(&mut self, index: usize, now: Time, output: relay::Output) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        match output {
            relay::Output::Transmit(frame) => {
                (index, 1_u8, &frame).hash(&mut self.trace);
                link.to_client.push_back(frame);
            }
            relay::Output::Greeted { .. } | relay::Output::DeviceSeen { .. } => {}
            relay::Output::Append { space, push_id, entries } => {
                let Some(device) = self.devices.get(index) else { return Ok(()) };
                let appended = self.relay.append(space, device.replica.device_id(), entries)?;
                self.fan_out(index, push_id, appended);
            }
            relay::Output::Close { code: None, .. } => link.over = true,
            relay::Output::Close { code: Some(code), message } => {
                return Err(Violation::GaveUp { reason: format!("the relay: {message} ({code})") });
            }
            read => {
                if let relay::Output::Open { mode, .. } = &read {
                    link.subscribed = *mode == OpenMode::Live;
                }
                if let Some(input) = self.relay.read(read)? {
                    link.relay.handle(now, input);
                }
            }
        }
        Ok(())
    }

    /// The answer to the pusher, then the changes to everyone, some of whom have no room for them.
    fn fan_out(&mut self, pusher: usize, push_id: u64, appended: Appended) {
        let appended = Arc::new(appended);
        let first = appended.rows().first().map(|row| row.seq);
        let frame = first.map(|first| -> Bytes {
            encode_live(space(), first, appended.rows().iter().map(|row| &row.record), appended.head())
        });
        for (index, link) in self.links.iter_mut().enumerate() {
            let Some(link) = link.as_mut().filter(|link| !link.over) else { continue };
            if index == pusher {
                link.inbox.push_back(Message::Appended { push_id, appended: Arc::clone(&appended) });
            }
            let (Some(first), Some(frame)) = (first, &frame) else { continue };
            if !link.subscribed {
                continue;
            }
            if self.random.chance(10) {
                link.lagged = true;
                continue;
            }
            let author = if index == pusher { Author::Own } else { Author::Other };
            link.inbox.push_back(Message::Live {
                first,
                watermark: appended.head(),
                frame: frame.clone(),
                author,
            });
        }
    }
}
