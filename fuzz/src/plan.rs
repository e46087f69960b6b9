//! What a world is made of and what happens in it, all from one number.

use std::fmt;
use std::str::FromStr;

use crate::Random;

/// A world, and everything that happens in it until it is healed.
///
/// ```
/// use headwater_fuzz::{Plan, run};
/// let outcome = run(&Plan::from_seed(1))?;
/// assert!(outcome.changes > 0);
/// # Ok::<(), headwater_fuzz::Violation>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The choices that no step makes follow from it: ids, clocks, limits.
    pub seed: u64,
    /// How many replicas there are at the start. Copies may join them.
    pub replicas: usize,
    /// How many relays there are, each with a store of its own.
    pub relays: usize,
    /// How many spaces there are.
    pub spaces: usize,
    /// What happens, in this order. Leaving a step out leaves the others as they are.
    pub steps: Vec<Step>,
}

/// One thing that happens, and the number that its own choices follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What happens.
    pub act: Act,
    /// Who it happens to, how often, and whatever else is open.
    pub seed: u64,
}

macro_rules! acts {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal,)+) => {
        /// A kind of thing that happens.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Act {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Act {
            /// Everything that can happen.
            pub const ALL: &[Act] = &[$(Act::$name),+];
        }

        impl fmt::Display for Act {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Act::$name => $text,)+ })
            }
        }

        impl FromStr for Act {
            type Err = String;

            fn from_str(text: &str) -> Result<Act, String> {
                match text {
                    $($text => Ok(Act::$name),)+
                    _ => Err(format!("nothing that happens is called `{text}`")),
                }
            }
        }
    };
}

acts! {
    /// A replica makes an edit.
    Edit "edit",
    /// A replica connects to a relay, in one of the ways that an app can.
    Connect "connect",
    /// Some of what is on its way arrives.
    Deliver "deliver",
    /// An app asks for a round.
    SyncNow "sync-now",
    /// Time passes.
    Wait "wait",
    /// A connection is reset, with everything that was on its way.
    Cut "cut",
    /// A frame is lost, and the connection goes on.
    Lose "lose",
    /// A frame arrives twice.
    Double "double",
    /// Two frames change places.
    Swap "swap",
    /// A bit of a frame is flipped.
    Flip "flip",
    /// A frame loses its end.
    Truncate "truncate",
    /// Nothing arrives in one direction any more, and nobody is told.
    Silence "silence",
    /// A client reads nothing for a while.
    Stall "stall",
    /// A replica's program ends and begins again.
    RestartReplica "restart-replica",
    /// A relay's program ends and begins again.
    RestartRelay "restart-relay",
    /// A relay asks its clients to go, and takes no more.
    DrainRelay "drain-relay",
    /// A replica's program is killed, or its machine loses power, with un-synced writes lost, torn or reordered.
    CrashReplica "crash-replica",
    /// The same for a relay.
    CrashRelay "crash-relay",
    /// A replica's machine will lose power within its next disk operations.
    PowerFailReplica "power-fail-replica",
    /// The same for a relay.
    PowerFailRelay "power-fail-relay",
    /// One of a replica's next disk operations will fail: an error, a full disk, or a sync that does not happen.
    FailReplicaDisk "fail-replica-disk",
    /// The same for a relay.
    FailRelayDisk "fail-relay-disk",
    /// A replica's file is backed up.
    BackUpReplica "back-up-replica",
    /// A replica's file is replaced by its backup.
    RestoreReplica "restore-replica",
    /// A replica's file is copied to one more device.
    CloneReplica "clone-replica",
    /// A relay's file is backed up.
    BackUpRelay "back-up-relay",
    /// A relay's file is replaced by its backup, or lost.
    RestoreRelay "restore-relay",
    /// Somebody connects who does not keep to the protocol.
    Attack "attack",
    /// A replica connects that speaks other versions of the protocol too, or only others.
    ForeignVersion "foreign-version",
    /// A replica puts snapshots in the place of its histories.
    CompactReplica "compact-replica",
    /// A relay makes snapshots of its entities.
    CompactRelay "compact-relay",
    /// A verdict takes changes of an entity away from a replica, and another one gives them back.
    Withdraw "withdraw",
    /// A replica writes into an entity whose id others give in another collection, or makes again what gave way to theirs.
    Clash "clash",
}

/// Faults, and work behind the scenes, that come together. A world has some of these kinds and not others, because a fault that comes all the time hides
/// what only a calm world gets to.
const FAULTS: [&[Act]; 15] = [
    &[Act::Cut],
    &[Act::Lose, Act::Double, Act::Swap, Act::Flip, Act::Truncate],
    &[Act::Silence],
    &[Act::Stall],
    &[Act::RestartReplica, Act::RestartRelay, Act::DrainRelay],
    &[Act::CrashReplica, Act::CrashRelay],
    &[Act::PowerFailReplica, Act::PowerFailRelay],
    &[Act::FailReplicaDisk, Act::FailRelayDisk],
    &[Act::BackUpReplica, Act::RestoreReplica, Act::BackUpReplica, Act::CloneReplica],
    &[Act::BackUpRelay, Act::RestoreRelay],
    &[Act::Attack],
    &[Act::ForeignVersion],
    &[Act::CompactReplica, Act::CompactRelay],
    &[Act::Withdraw],
    &[Act::Clash],
];

/// What happens in every world, in parts of the whole.
const CALM: [(Act, usize); 5] =
    [(Act::Edit, 36), (Act::Connect, 14), (Act::Deliver, 36), (Act::SyncNow, 4), (Act::Wait, 6)];

/// The most steps of a plan from bytes: a fuzzer gets further with many small worlds than with a few large ones.
const BYTES_STEPS_MAX: usize = 60;

impl Plan {
    /// The world of a seed, with faults of every kind.
    pub fn from_seed(seed: u64) -> Plan {
        // Not the numbers that the world itself will use.
        let random = &mut Random::new(seed ^ 0x7072_6f6f_6600_0000);
        let replicas = *random.pick(&[2, 2, 2, 3, 3, 4, 5, 8]).unwrap_or(&2);
        let relays = *random.pick(&[1, 1, 1, 1, 2, 3]).unwrap_or(&1);
        let spaces = 1 + usize::from(random.chance(30));
        let mut acts = CALM.to_vec();
        for kind in FAULTS {
            let weight = *random.pick(&[0, 0, 2, 4, 8]).unwrap_or(&0);
            if weight > 0 {
                acts.extend(kind.iter().map(|act| (*act, weight)));
            }
        }
        let count = 60 + 24 * replicas + random.below(60);
        Plan { seed, replicas, relays, spaces, steps: steps(random, &acts, count) }
    }

    /// A world in which nothing breaks but connections: replicas part, and meet again.
    pub fn calm(seed: u64, replicas: usize) -> Plan {
        let random = &mut Random::new(seed ^ 0x6361_6c6d_0000_0000);
        let mut acts = CALM.to_vec();
        acts.extend([(Act::Cut, 6), (Act::RestartReplica, 3)]);
        let steps = steps(random, &acts, 60 + 16 * replicas);
        Plan { seed, replicas, relays: 1, spaces: 1, steps }
    }

    /// A small world whose steps are these bytes: the first two are its seed, then three to a step, what happens and a number for its
    /// own choices. Made for fuzzers, which find their way when a byte more or less changes one step and not the others.
    ///
    /// ```
    /// use headwater_fuzz::{Act, Plan};
    /// let plan = Plan::from_bytes(&[0, 7, 0, 0, 1, 1, 0, 2]);
    /// assert_eq!((plan.seed, plan.replicas), (7, 2));
    /// assert_eq!(plan.steps.iter().map(|step| step.act).collect::<Vec<_>>(), [Act::Edit, Act::Connect]);
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Plan {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        let (seed, steps) = bytes.split_at(bytes.len().min(2));
        let steps = steps.chunks(3).take(BYTES_STEPS_MAX).filter_map(|step| {
            let (act, choices) = step.split_first()?;
            let act = *Act::ALL.get(usize::from(*act) % Act::ALL.len())?;
            Some(Step { act, seed: Random::new(number(choices)).bits() })
        });
        Plan { seed: number(seed), replicas: 2, relays: 1, spaces: 1, steps: steps.collect() }
    }
}

fn steps(random: &mut Random, acts: &[(Act, usize)], count: usize) -> Vec<Step> {
    let total = acts.iter().map(|(_, weight)| weight).sum();
    let one = |random: &mut Random| {
        let mut left = random.below(total);
        let chosen = acts.iter().find(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        Step { act: chosen.map_or(Act::Edit, |(act, _)| *act), seed: random.bits() }
    };
    (0..count).map(|_| one(random)).collect()
}

/// `SEED replicas=N relays=N spaces=N act:seed act:seed ...`: everything that there is to know about a world, in one line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, replicas, relays, spaces, steps } = self;
        write!(f, "{seed} replicas={replicas} relays={relays} spaces={spaces}")?;
        for Step { act, seed } in steps {
            write!(f, " {act}:{seed:x}")?;
        }
        Ok(())
    }
}

/// Reads what [`Plan`]'s `Display` writes.
///
/// ```
/// use headwater_fuzz::Plan;
/// let plan = Plan::from_seed(3);
/// assert_eq!(plan.to_string().parse(), Ok(plan));
/// ```
impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Plan, String> {
        let mut words = text.split_whitespace();
        let mut number = |name: &str| {
            let word = words.next().ok_or_else(|| format!("`{name}` is missing"))?;
            let number = word.strip_prefix(name).ok_or_else(|| format!("`{word}` is not `{name}...`"))?;
            number.parse::<u64>().map_err(|_| format!("`{word}` has no number"))
        };
        let seed = number("")?;
        let (replicas, relays, spaces) = (number("replicas=")?, number("relays=")?, number("spaces=")?);
        if [replicas, relays, spaces].iter().any(|count| !(1..=64).contains(count)) {
            return Err("a world has 1 to 64 replicas, relays and spaces".to_owned());
        }
        let step = |word: &str| {
            let (act, seed) = word.split_once(':').ok_or_else(|| format!("`{word}` is not `act:seed`"))?;
            let seed = u64::from_str_radix(seed, 16).map_err(|_| format!("`{word}` has no number"))?;
            Ok(Step { act: act.parse()?, seed })
        };
        let steps = words.map(step).collect::<Result<_, String>>()?;
        Ok(Plan {
            seed,
            replicas: replicas as usize,
            relays: relays as usize,
            spaces: spaces as usize,
            steps,
        })
    }
}
