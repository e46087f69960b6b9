//! Worlds made from a seed: replicas, a relay and a network in one thread, with every choice taken from one number.
//!
//! The replicas, the sessions of both sides and the feed are the real ones. Time, randomness, disks and the network are passed in,
//! so two runs of a seed are the same run, down to the bytes of every frame. [`run`] makes a world, lets it live, heals it, and
//! says whether everybody ended with the same.
//!
//! 1. [`Random`] and [`Clock`]: where a world's choices and times come from.
//! 2. [`Disk`]: storage in memory that outlives whoever has it open.
//! 3. `device`, `edits`, `relay`, `link`: the parts of a world.
//! 4. `world`: what happens in it, in which order.
//! 5. `check`: what must hold in the end.

mod check;
mod device;
mod disk;
mod edits;
mod link;
mod random;
mod relay;
mod world;

pub use check::Violation;
pub use disk::Disk;
pub use random::{Clock, Random};
pub use world::{Outcome, Plan, RelayFate, run};
