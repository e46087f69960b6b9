//! The adapter protocol of `benches/compare`, and its workloads over any system.
//!
//! An orchestrator writes one JSON object per line to a client process, and reads one line back for each. A system takes part by
//! implementing three small traits; what is measured is written once, here.
//!
//! - [`protocol`] is what goes over the pipe: [`Command`] and [`Answer`]. The orchestrator uses it too.
//! - [`dataset`] reads the records, and reads and writes lists of document ids.
//! - [`system`] is what a system implements: [`System`], [`Client`], [`Document`], [`Changes`].
//! - [`serve`] is the loop over stdin; it hands each command to one of the workloads.
//! - [`Role`] is the command line that the processes of all systems share.

pub mod dataset;
pub mod protocol;
mod role;
mod serve;
mod session;
pub mod system;
mod workloads;

pub use protocol::{Answer, Command};
pub use role::Role;
pub use serve::serve;
pub use system::{Changes, Client, Document, System};

/// Whatever went wrong: it is only ever shown to someone who reads the log.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
