//! The Headwater relay: takes changes over WebSocket, keeps them in a feed per space, and passes them on.
//!
//! A push travels through the modules in this order:
//!
//! 1. [`serve`] accepts sockets, as many as `admission` lets in; `http` answers what is no WebSocket.
//! 2. `connection` moves frames between one socket and its session (`headwater::sync::relay`), and does what the session asks.
//! 3. `reads` answers what the session wants to know of the store.
//! 4. [`space`]: one actor per space checks pushed changes, appends them, acknowledges, and fans out.
//! 5. `hub` finds the actor of a space.
//! 6. `follow` tells the actors what other relays have appended to the same database.
//! 7. `examiner` looks at what was appended, and puts into quarantine what would harm its entity; `alarms` is what names
//!    no culprit.
//!    `inside` puts into the feed what the relay itself has to say: a verdict, or one head in the place of many.
//! 8. `watchdog` says when the store has gone, and when it is back.
//! 9. [`sql`]: on a database, entities become rows that SQL reads, and edits made with SQL become changes.
//!
//! [`admin`] is for the person who runs the relay.
//!
//! Everything that can grow has a bound in [`Config`].

pub mod admin;
mod admission;
mod alarms;
mod config;
mod connection;
mod contents;
mod damage;
mod examiner;
mod follow;
mod http;
mod hub;
mod inside;
mod listener;
mod news;
mod pace;
mod reads;
mod server;
pub mod space;
pub mod sql;
mod state;
mod watchdog;

pub use config::{Config, Exposure};
pub use listener::Listener;
pub use reads::read;
pub use server::{ServeError, may_serve, serve};
