//! Worlds made from a seed: replicas, relays, disks and networks in one thread, with every choice taken from one number.
//!
//! The replicas, the sessions of both sides, the relay's spaces and both stores are the real ones. Time, randomness, disks and
//! the network are passed in, so two runs of a seed are the same run, down to the bytes of every frame. [`run`] makes a world, lets
//! it live through everything that can break, heals it, and says whether every [`Promise`] was kept.
//!
//! 1. [`Plan`]: what a world is made of and what happens in it. [`Random`] and [`Clock`]: where its choices and times come from.
//! 2. `device`, `listener`, `edits`, `words`, `clash`, `relay`, `link`: the parts of a world.
//! 3. `history`: what happened, kept outside of what can lose it. `check`: what must hold in the end. [`Violation`]: what did not.
//! 4. `world`: what each act does, what is on its way, and how it is healed.
//! 5. [`campaign`]: many worlds, on many threads. [`shrink`]: the shortest plan that still breaks the promise.
//!
//! Beside the worlds: [`intent`], edits whose meaning is known; [`values`], any value of the model;
//! [`hostile`], bytes that hurt; and [`targets`], what must hold for any bytes, for `cargo fuzz`.

pub mod campaign;
mod check;
mod clash;
mod device;
mod edits;
mod history;
pub mod hostile;
pub mod intent;
mod link;
mod listener;
pub mod nested;
mod plan;
mod random;
mod relay;
pub mod shrink;
pub mod targets;
pub mod values;
mod violation;
mod words;
mod world;

pub use plan::{Act, Plan, Step};
pub use random::{Clock, Random};
pub use violation::{Promise, Violation};
pub use world::{Outcome, run};
