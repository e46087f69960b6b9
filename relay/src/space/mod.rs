//! A space on the relay: its pushes are checked, made durable in groups, acknowledged, and passed on to everyone who has it open.
//!
//! [`SpaceMachine`] decides what happens; it has no tasks, clocks or stores. `actor` runs one for each space that is open, and
//! the simulator runs them in a single thread. Answers and live frames go to each connection through its [`Inbox`].

mod actor;
mod inbox;
mod machine;

pub(crate) use self::actor::{ActorConfig, Mail, SpaceHandle, start};
pub use self::inbox::{ConnectionId, Delivery, Inbox, InboxReceiver, LiveFrame, Message, PushEnd};
pub use self::machine::{Entries, Push, SpaceMachine};
