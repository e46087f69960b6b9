//! What must hold for any bytes, as functions that panic when it does not: the bodies of the targets of `cargo fuzz`.
//!
//! They are ordinary functions, so that ordinary tests replay the corpus with them; `fuzz/cargo-fuzz` hands them to libFuzzer.
//!
//! 1. [`frame`], [`chunk`], [`snapshot`]: one message, one change, one snapshot.
//! 2. [`ingest`], [`sync_message`], [`relay_stream`]: what a stranger sends, up to what is kept of it.
//! 3. [`json`]: what people and programs type.
//! 4. [`intent`], [`nested`], [`convergence`], [`sim`]: what honest devices come to.
//!
//! `fixture`: the small document that several begin with. `repair`: gets damaged chunks past their checksums. `client`: what is said
//! to a relay's session, and how it is answered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a body says by panicking that a property is broken, and is run by fuzzers and tests only"
)]

mod chunk;
mod client;
mod convergence;
mod fixture;
mod frame;
mod ingest;
mod intent;
mod json;
mod nested;
mod relay_stream;
mod repair;
mod sim;
mod snapshot;
mod sync_message;

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

pub use chunk::chunk;
pub use convergence::convergence;
pub use fixture::history;
pub use frame::frame;
pub use ingest::ingest;
pub use intent::intent;
pub use json::json;
pub use nested::nested;
pub use relay_stream::relay_stream;
pub use repair::{Repair, framed, repaired};
pub use sim::sim;
pub use snapshot::snapshot;
pub use sync_message::sync_message;

/// A target: panics when any property that it checks is broken for these bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in the corpus.
///
/// ```
/// for (_, target) in headwater_fuzz::targets::TARGETS {
///     target(b"");
/// }
/// ```
pub const TARGETS: [(&str, Target); 11] = [
    ("frame", frame),
    ("chunk", chunk),
    ("snapshot", snapshot),
    ("ingest", ingest),
    ("sync_message", sync_message),
    ("relay_stream", relay_stream),
    ("json", json),
    ("intent", intent),
    ("nested", nested),
    ("convergence", convergence),
    ("sim", sim),
];

/// Runs a target the way that libFuzzer needs it.
///
/// libFuzzer ends the process at any panic, even one that is caught. Headwater catches those of the merge engine on purpose, so only
/// a panic that leaves the target may end the process here.
pub fn alone(target: Target, data: &[u8]) {
    static HOOK: Once = Once::new();
    static LAST: Mutex<Option<(String, Backtrace)>> = Mutex::new(None);
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            // Not written out before it is needed: that takes longer than most inputs.
            let panic = (info.to_string(), Backtrace::capture());
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }));
    });
    if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
        #[allow(clippy::print_stderr, reason = "the finding, for whoever runs the fuzzer")]
        {
            if let Some((message, trace)) = &*LAST.lock().unwrap_or_else(PoisonError::into_inner) {
                eprintln!("{message}\n{trace}");
            }
        }
        std::process::abort();
    }
}
