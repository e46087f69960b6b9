//! A world while it lives: everything in it, and what becomes of it.
//!
//! First it lives through its plan, with everything that breaks in it, and is checked all the time for what must never happen.
//! Then nothing breaks any more, everybody connects, and it is checked for what must happen in the end.

mod acts;
mod heal;
mod strangers;
mod traffic;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater::SpaceId;
use headwater::sync::Time;
use headwater::wire::{Frame, Limits, SEAL_BYTES};
use headwater_storage::Bytes;

use crate::check::rebuilds;
use crate::device::Device;
use crate::edits::space;
use crate::history::History;
use crate::link::{Link, LinkId};
use crate::nested::{self, Orders};
use crate::relay::Relay;
use crate::{Clock, Plan, Promise, Random, Violation};

/// The most a clock is wrong by: ten years.
const CLOCK_ERROR_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

/// What a world came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Changes that every replica ended with.
    pub changes: u64,
    /// Things that happened: acts of the plan, arrivals, appends.
    pub steps: u64,
    /// Things that broke: frames, connections, disks, processes, files, clocks, live frames dropped for slow readers.
    pub faults: u64,
    /// Times that a replica's or a relay's store was opened again after a crash or from a copy.
    pub recoveries: u64,
    /// A hash of every frame in the order it was sent: equal for two runs of one plan.
    pub trace: u64,
}

/// Makes the world of a plan, lets it live, heals it, and checks it. Beside every fourth one, by its
/// seed, plays a case of nested containers.
///
/// # Errors
/// When something happened that must not; see [`Violation`].
pub fn run(plan: &Plan) -> Result<Outcome, Violation> {
    let mut world = World::new(plan)?;
    for step in &plan.steps {
        world.act(*step)?;
    }
    world.heal()?;
    nested::play(plan.seed, Orders::Some).map_err(|broken| Violation::new(Promise::IntentIsKept, broken))?;
    let clock = world.clock(0);
    let spaces = world.spaces.clone();
    let mut changes = 0;
    for space in spaces {
        changes += match world.devices.iter().find(|device| device.spaces.contains(&space)) {
            Some(device) => rebuilds(device, space, &clock, &mut world.random)?,
            None => 0,
        };
    }
    Ok(Outcome { changes, trace: world.trace.finish(), ..world.outcome })
}

struct World {
    /// For what no step decides.
    random: Random,
    world_ms: Arc<AtomicU64>,
    spaces: Vec<SpaceId>,
    devices: Vec<Device>,
    relays: Vec<Relay>,
    links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    history: History,
    outcome: Outcome,
    trace: DefaultHasher,
    /// Whether to say what happens, for whoever looks for the cause of a failure.
    is_told: bool,
}

impl World {
    fn new(plan: &Plan) -> Result<World, Violation> {
        let mut world = World {
            random: Random::new(plan.seed),
            world_ms: Arc::default(),
            spaces: (0..plan.spaces).map(space).collect(),
            devices: Vec::new(),
            relays: Vec::new(),
            links: BTreeMap::new(),
            next_link: 1,
            history: History::default(),
            outcome: Outcome::default(),
            trace: DefaultHasher::new(),
            is_told: std::env::var_os("HEADWATER_SIM_TRACE").is_some(),
        };
        for _ in 0..plan.relays {
            let clock = world.maybe_wrong_clock();
            let relay = Relay::new(world.random.split(), clock)?;
            world.relays.push(relay);
        }
        for index in 0..plan.replicas {
            let clock = world.maybe_wrong_clock();
            // The first two are in every space; of the others some are in one only.
            let mut spaces = world.spaces.clone();
            if index >= 2 && spaces.len() > 1 && world.random.chance(60) {
                spaces.remove(world.random.below(spaces.len()));
            }
            world.devices.push(Device::new(clock, spaces)?);
        }
        Ok(world)
    }

    fn clock(&mut self, wrong_by_ms: i64) -> Clock {
        Clock::new(self.random.split(), Arc::clone(&self.world_ms), wrong_by_ms)
    }

    fn maybe_wrong_clock(&mut self) -> Clock {
        let wrong_by = (self.random.bits() % CLOCK_ERROR_MS) as i64 - CLOCK_ERROR_MS as i64 / 2;
        let is_wrong = self.random.chance(30);
        self.outcome.faults += u64::from(is_wrong);
        // Boards without a battery begin in 1970, and a bad sync leads anywhere.
        let wrong_by = match self.random.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => wrong_by,
        };
        self.clock(if is_wrong { wrong_by } else { 0 })
    }

    fn now(&self) -> Time {
        Time::from_millis(self.world_ms.load(Ordering::Relaxed))
    }

    /// A message is sent on a connection, to its relay or to its client.
    fn sent(&mut self, id: LinkId, to: &'static str, message: &Bytes) {
        (id, to, message).hash(&mut self.trace);
        if self.is_told {
            let frame = message.get(..message.len().saturating_sub(SEAL_BYTES as usize)).unwrap_or_default();
            let frame = Frame::decode(frame, &Limits::default());
            let told: String = format!("{frame:?}").chars().take(400).collect();
            self.tell(|| format!("  {id} to {to}: {told}"));
        }
    }

    #[allow(clippy::print_stderr, reason = "asked for by whoever replays a plan")]
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{:>8} {}", self.now().as_millis(), what());
        }
    }
}
