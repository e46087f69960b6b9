//! The relay's side of a connection.
//!
//! [`RelaySession::handle`] takes what came in, [`RelaySession::poll`] gives out what is to be done, in order, and
//! [`RelaySession::timeout`] says when to come back at the latest. Nouns without a verb only read.

mod compare;
mod driver;
mod pull;
mod push;
mod space;

use std::collections::VecDeque;

use headwater_storage::{DeviceId, SpaceId};

use self::space::Space;
use super::heartbeat::{Beat, Heartbeat};
use super::{Ticket, Time};
use crate::wire::{
    Bye, ByeReason, ErrorCode, ErrorFrame, FRAME_OVERHEAD_BYTES, Frame, Head, Hello, Limits, Ping, Pong,
    Retry, Seal, Severity, VERSIONS, Welcome,
};

pub use self::driver::{Author, Input, Output, PageEnd, PageRead, ReadPlan, RelayConfig, StoreTask};
pub use self::pull::encode_live;

/// The relay's side of one connection, without sockets, clocks or stores.
///
/// ```
/// use headwater::sync::Time;
/// use headwater::sync::relay::{Input, Output, RelayConfig, RelaySession};
///
/// let mut session = RelaySession::new(RelayConfig::default(), Time::from_millis(0));
/// session.handle(Time::from_millis(1), Input::Frame(b"not a frame"));
/// assert!(matches!(session.poll(), Some(Output::Transmit(_))));
/// assert!(matches!(session.poll(), Some(Output::Close { .. })));
/// ```
#[derive(Debug)]
pub struct RelaySession {
    config: RelayConfig,
    phase: Phase,
    /// The limits that hold, the relay's own until the client said hello.
    limits: Limits,
    heartbeat: Heartbeat,
    spaces: Vec<Space>,
    outputs: VecDeque<Output>,
    /// The seals of what is sent, and of what comes in.
    sending: Seal,
    receiving: Seal,
    /// Bytes of pushes, with their seals, that were not acknowledged yet.
    pushed_bytes: u64,
    pushes: u64,
    /// Bytes of changes, with their seals, that the client has not seen yet, over all spaces.
    unseen_bytes: u64,
    next_ticket: u64,
    draining: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting { until: Time },
    Ready { device: DeviceId },
    Closed,
}

/// The connection has to be closed, and why.
pub(super) struct Fatal {
    code: ErrorCode,
    message: String,
}

impl Fatal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl RelaySession {
    /// A session for a connection that was just accepted.
    #[must_use]
    pub fn new(config: RelayConfig, now: Time) -> Self {
        let limits = config.limits;
        Self {
            phase: Phase::Greeting { until: now.after_ms(limits.authentication_ms_max) },
            heartbeat: Heartbeat::new(now, limits.ping_interval_ms, limits.dead_after_ms),
            limits,
            config,
            spaces: Vec::new(),
            outputs: VecDeque::new(),
            sending: Seal::default(),
            receiving: Seal::default(),
            pushed_bytes: 0,
            pushes: 0,
            unseen_bytes: 0,
            next_ticket: 0,
            draining: false,
        }
    }

    /// Takes something in. After [`Output::Close`] nothing has any effect.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        let handled = match input {
            Input::Frame(bytes) => self.handle_frame(now, bytes),
            Input::Timeout => self.handle_timeout(now),
            Input::Drain => {
                self.drain();
                Ok(())
            }
            Input::Opened { space, standing, head } => self.space_opened(space, standing, head),
            Input::OpenRefused { space, code, message } => {
                self.open_refused(space, code, message);
                Ok(())
            }
            Input::Page { space, ticket, page } => {
                self.page_read(space, ticket, page);
                Ok(())
            }
            Input::NoFeed { space, ticket } => {
                self.no_feed(space, ticket);
                Ok(())
            }
            Input::Appended { space, push_id, appended, refused } => {
                self.appended(space, push_id, appended, refused)
            }
            Input::Live { space, before, first, watermark, frame, author } => {
                self.live(space, (before, first, watermark), frame, author);
                Ok(())
            }
            Input::Rewound => {
                self.rewound();
                Ok(())
            }
            Input::Lagged { space } => {
                self.lagged(space);
                Ok(())
            }
            Input::EntityHeads { space, ticket, entities, more } => {
                self.heads_listed(space, ticket, entities, more);
                Ok(())
            }
            Input::EntityLoaded { space, entity, ticket, changes } => {
                self.entity_loaded(space, entity, ticket, changes);
                Ok(())
            }
            Input::HeadIs { space, nonce, watermark } => {
                self.transmit(&Frame::Head(Head { space, nonce, watermark }));
                Ok(())
            }
            Input::StoreFailed { space, what } => self.store_failed(space, what),
        };
        if let Err(fatal) = handled {
            self.fail(fatal);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Greeting { until } => Some(until.min(self.heartbeat.timeout())),
            Phase::Ready { .. } => Some(self.heartbeat.timeout()),
            Phase::Closed => None,
        }
    }

    /// The spaces that the client has open, for the driver's own bookkeeping.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceId> {
        self.spaces.iter().map(|space| space.id)
    }

    fn handle_frame(&mut self, now: Time, message: &[u8]) -> Result<(), Fatal> {
        self.heartbeat.received(now);
        let limits = match self.phase {
            Phase::Ready { .. } => self.limits,
            // Before anyone is known, only so much is read.
            _ => Limits { frame_bytes_max: self.config.limits.hello_bytes_max, ..self.config.limits },
        };
        let frame = Frame::open(message, &mut self.receiving, &limits)
            .map_err(|error| Fatal::new(error.code(), error.to_string()))?;
        let Phase::Ready { device } = self.phase else { return self.greet(now, frame) };
        match frame {
            Frame::Open(open) => self.open(open),
            Frame::Seen(seen) => self.seen(device, &seen),
            Frame::Push(push) => self.push(push, message.len() as u64),
            Frame::ListHeads(list) => self.list_heads(&list),
            Frame::Fetch(fetch) => self.fetch(fetch),
            Frame::SyncMessage(message) => self.sync_message(message),
            Frame::Probe(probe) => {
                if self.opened(probe.space).is_some() {
                    self.outputs.push_back(Output::ReadHead { space: probe.space, nonce: probe.nonce });
                } else {
                    self.not_open(probe.space);
                }
                Ok(())
            }
            Frame::Ping(ping) => {
                self.transmit(&Frame::Pong(Pong { nonce: ping.nonce }));
                Ok(())
            }
            Frame::Pong(_) => Ok(()),
            Frame::Error(error) => {
                // The client closes the connection after a fatal error; there is nobody left to tell.
                if error.severity == Severity::Fatal {
                    self.close(Some(error.code), format!("the client gave up: {}", error.message));
                }
                Ok(())
            }
            Frame::Bye(_) => {
                self.close(None, "the client is done".to_owned());
                Ok(())
            }
            other => Err(Fatal::new(ErrorCode::UnexpectedFrame, format!("{} from a client", other.name()))),
        }
    }

    fn greet(&mut self, now: Time, first: Frame) -> Result<(), Fatal> {
        let Frame::Hello(hello) = first else {
            return Err(Fatal::new(ErrorCode::UnexpectedFrame, "the first frame must be Hello"));
        };
        let version = self.common_version(&hello)?;
        let limits = self.config.limits.agreed_with(&hello.limits);
        self.limits = limits.map_err(|error| Fatal::new(error.code(), error.to_string()))?;
        let room = self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
        if room < self.config.limits.payload_bytes_max() {
            // The feed can hold changes that would never fit into this client's frames, and it would wait for them forever.
            let message = format!(
                "frames must have room for a change of {} bytes",
                self.config.limits.change.change_bytes_max
            );
            return Err(Fatal::new(ErrorCode::LimitsUnusable, message));
        }
        self.heartbeat = Heartbeat::new(now, self.limits.ping_interval_ms, self.limits.dead_after_ms);
        self.phase = Phase::Ready { device: hello.device };
        self.outputs.push_back(Output::Greeted {
            device: hello.device,
            client_name: hello.client_name,
            client_version: hello.client_version,
            token: hello.token,
        });
        self.transmit(&Frame::Welcome(Welcome {
            version,
            relay_name: self.config.relay_name.clone(),
            relay_version: self.config.relay_version.clone(),
            limits: self.limits,
        }));
        self.close_if_drained();
        Ok(())
    }

    fn common_version(&self, hello: &Hello) -> Result<u16, Fatal> {
        let highest = hello.version_max.min(*VERSIONS.end());
        if hello.version_min.max(*VERSIONS.start()) > highest && !cfg!(bug = "version-not-checked") {
            let message = format!(
                "the client speaks versions {} to {}, this relay {} to {}; update the older of the two, whose data goes over as an \
                 export of the build that made it, imported with the new one",
                hello.version_min,
                hello.version_max,
                VERSIONS.start(),
                VERSIONS.end()
            );
            return Err(Fatal::new(ErrorCode::UnsupportedVersion, message));
        }
        Ok(highest)
    }

    fn handle_timeout(&mut self, now: Time) -> Result<(), Fatal> {
        if let Phase::Greeting { until } = self.phase
            && now >= until
        {
            return Err(Fatal::new(ErrorCode::HelloTimeout, "no Hello came in time"));
        }
        match self.heartbeat.poll(now) {
            Beat::Nothing => {}
            Beat::Ping { nonce } => {
                if matches!(self.phase, Phase::Ready { .. }) {
                    self.transmit(&Frame::Ping(Ping { nonce }));
                }
            }
            Beat::Dead => return Err(Fatal::new(ErrorCode::PeerSilent, "nothing came for too long")),
        }
        Ok(())
    }

    fn drain(&mut self) {
        self.draining = true;
        self.close_if_drained();
    }

    /// A draining session takes no more, and ends with a goodbye once every push that it took has its acknowledgement.
    fn close_if_drained(&mut self) {
        if !self.draining || self.pushes > 0 || !matches!(self.phase, Phase::Ready { .. }) {
            return;
        }
        self.transmit(&Frame::Bye(Bye {
            reason: ByeReason::Draining,
            reconnect_after_ms: self.config.reconnect_after_ms,
        }));
        self.close(None, "the relay drains".to_owned());
    }

    fn store_failed(&mut self, space: SpaceId, what: StoreTask) -> Result<(), Fatal> {
        match what {
            StoreTask::Open => {
                self.open_refused(space, ErrorCode::StoreUnavailable, "the store cannot open it".to_owned());
                Ok(())
            }
            StoreTask::Append { push_id } => self.append_failed(space, push_id),
            StoreTask::Cursor(ticket) => {
                self.cursor_refused(space, ticket);
                Ok(())
            }
            StoreTask::Page(ticket) => {
                self.page_failed(space, ticket);
                Ok(())
            }
            StoreTask::Heads(_) | StoreTask::Entity(_) => {
                self.compare_failed(space);
                Ok(())
            }
            StoreTask::Head { .. } => {
                self.recoverable(space, ErrorCode::StoreUnavailable, "the store cannot be read");
                Ok(())
            }
        }
    }

    fn transmit(&mut self, frame: &Frame) {
        let _bytes = self.transmit_encoded(&frame.encode());
    }

    /// Seals an encoded frame and sends it. Returns the size of the whole message, in bytes.
    fn transmit_encoded(&mut self, frame: &[u8]) -> u64 {
        let message = self.sending.seal(frame);
        let bytes = message.len() as u64;
        self.outputs.push_back(Output::Transmit(message));
        bytes
    }

    /// Tells the client that something about a space failed, while the connection goes on.
    fn recoverable(&mut self, space: SpaceId, code: ErrorCode, message: &str) {
        let retry_after_ms = (code.retry() == Retry::Later).then_some(self.config.reconnect_after_ms);
        self.transmit(&Frame::Error(ErrorFrame {
            code,
            message: message.to_owned(),
            space: Some(space),
            severity: Severity::Recoverable,
            retry_after_ms,
        }));
    }

    fn not_open(&mut self, space: SpaceId) {
        self.recoverable(space, ErrorCode::SpaceNotOpen, "open the space first");
    }

    fn fail(&mut self, fatal: Fatal) {
        self.transmit(&Frame::Error(ErrorFrame {
            code: fatal.code,
            message: fatal.message.clone(),
            space: None,
            severity: Severity::Fatal,
            retry_after_ms: None,
        }));
        self.close(Some(fatal.code), fatal.message);
    }

    fn close(&mut self, code: Option<ErrorCode>, message: String) {
        self.outputs.push_back(Output::Close { code, message });
        self.phase = Phase::Closed;
        self.spaces.clear();
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn space_index(&self, id: SpaceId) -> Option<usize> {
        self.spaces.iter().position(|space| space.id == id)
    }

    fn space_mut(&mut self, id: SpaceId) -> Option<&mut Space> {
        self.spaces.iter_mut().find(|space| space.id == id)
    }

    /// The space, if it is there and its opening was answered.
    fn opened(&mut self, id: SpaceId) -> Option<&mut Space> {
        self.space_mut(id).filter(|space| !space.is_opening())
    }
}
