//! The session of both sides, one behaviour per file, on virtual time.

mod catch_up;
mod closing;
mod heartbeat;
mod live;
mod pair;
mod push;
mod reconcile;
mod resume;
mod window;
