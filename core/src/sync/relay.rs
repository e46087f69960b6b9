//! The relay's side of a connection.
//!
//! [`RelaySession::handle`] takes what came in, [`RelaySession::poll`] gives out what is to be done, in order, and
//! [`RelaySession::timeout`] says when to come back at the latest. Nouns without a verb only read.

mod compare;
mod pull;
mod push;
mod space;

use std::collections::VecDeque;

use bytes::Bytes;
use headwater_storage::{
    Appended, ChangeRecord, DeviceId, EntityId, EntityPage, Page, Position, Seq, SpaceId, Standing, Watermark,
};

use self::space::Space;
use super::heartbeat::{Beat, Heartbeat};
use super::{Ticket, Time};
use crate::wire::{
    Bye, ByeReason, ErrorCode, ErrorFrame, FRAME_OVERHEAD_BYTES, Frame, Head, HeadsEntry, Hello, Limits,
    MorePages, OpenMode, Ping, Pong, Retry, Severity, VERSIONS, Welcome,
};

pub use self::pull::encode_live;

/// What a relay's session needs to know from the start.
///
/// ```
/// use headwater::sync::relay::RelayConfig;
/// assert_eq!(RelayConfig::default().limits.push_changes_max, 256);
/// ```
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The name of the program, for the client's log.
    pub relay_name: String,
    /// The version of the program.
    pub relay_version: String,
    /// What the relay accepts. A client can only make it smaller.
    pub limits: Limits,
    /// A client that is this many changes behind gets them by entity, which leaves out what was overwritten in between.
    pub by_entity_behind_min: u64,
    /// The most changes in one page of a catch-up.
    pub page_entries_max: usize,
    /// When a client should come back after the relay drained, in milliseconds.
    pub reconnect_after_ms: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            relay_name: "headwater-relay".to_owned(),
            relay_version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: Limits::default(),
            by_entity_behind_min: 257,
            page_entries_max: 2_000,
            reconnect_after_ms: 1_000,
        }
    }
}

/// What a relay's session takes in.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame from the client.
    Frame(&'a [u8]),
    /// The answer to [`Output::Open`]: the space may be used.
    Opened {
        /// The space.
        space: SpaceId,
        /// What the feed says to the client's watermark. `Known` for a client without one.
        standing: Standing,
        /// Where the feed stands. `None` if there is no feed yet.
        head: Option<Watermark>,
    },
    /// The answer to [`Output::Open`]: the space may not be used.
    OpenRefused {
        /// The space.
        space: SpaceId,
        /// Why.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
    /// The answer to [`Output::ReadPage`].
    Page {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        ticket: Ticket,
        /// What was read.
        page: PageRead,
    },
    /// The answer to [`Output::Append`]: what was accepted is durable.
    Appended {
        /// The space.
        space: SpaceId,
        /// The number of the push.
        push_id: u64,
        /// The store's receipt for the changes that were not refused before. `None` if all of them were.
        appended: Option<&'a Appended>,
        /// Index in [`Output::Append`]'s entries, code and message of those that the checks refused.
        refused: Vec<(usize, ErrorCode, String)>,
    },
    /// Something was appended to a space that this session has open as live. Encode it once with [`encode_live`].
    Live {
        /// The space.
        space: SpaceId,
        /// The seq of its first change.
        first: Seq,
        /// The feed's end after it.
        watermark: Watermark,
        /// The frame for everyone who follows the feed up to here.
        frame: Bytes,
        /// Who pushed it.
        author: Author,
    },
    /// The driver dropped `Live` inputs of this space.
    Lagged {
        /// The space.
        space: SpaceId,
    },
    /// The answer to [`Output::ListHeads`].
    EntityHeads {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        ticket: Ticket,
        /// Entities, by ascending id.
        entities: Vec<HeadsEntry>,
        /// Whether there are more.
        more: MorePages,
    },
    /// The answer to [`Output::LoadEntity`].
    EntityLoaded {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
        /// The number of the request.
        ticket: Ticket,
        /// Its changes in feed order. Empty if there is no such entity.
        changes: Vec<ChangeRecord>,
    },
    /// The answer to [`Output::ReadHead`].
    HeadIs {
        /// The space.
        space: SpaceId,
        /// The number of the request.
        nonce: u64,
        /// Where the feed stands.
        watermark: Option<Watermark>,
    },
    /// The relay is about to stop.
    Drain,
    /// The time that [`RelaySession::timeout`] named has come.
    Timeout,
    /// The store failed at something that this session asked for.
    StoreFailed {
        /// The space.
        space: SpaceId,
        /// What failed.
        what: StoreTask,
    },
}

/// Who pushed what is now sent to everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// This very connection.
    Own,
    /// Another one.
    Other,
}

/// What a page of the feed held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRead {
    /// The changes. Consecutive if `first` is there.
    pub entries: Vec<ChangeRecord>,
    /// The seq of the first change of a page by seq.
    pub first: Option<Seq>,
    /// Where the page ends.
    pub end: PageEnd,
    /// Where the feed stands.
    pub head: Watermark,
}

impl From<Page> for PageRead {
    fn from(page: Page) -> Self {
        Self {
            first: page.rows.first().map(|row| row.seq),
            entries: page.rows.into_iter().map(|row| row.record).collect(),
            end: PageEnd::At(page.end),
            head: page.head,
        }
    }
}

impl From<EntityPage> for PageRead {
    fn from(page: EntityPage) -> Self {
        let end = match page.cursor {
            Some(cursor) => PageEnd::Cursor(cursor),
            None => PageEnd::At(page.end.unwrap_or(page.head)),
        };
        let entries = page.rows.into_iter().map(|row| row.record).collect();
        Self { entries, first: None, end, head: page.head }
    }
}

/// Where a page of the feed ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEnd {
    /// Everything up to here has been read.
    At(Watermark),
    /// A read by entity goes on from here.
    Cursor(Bytes),
}

/// What the store was asked to do when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreTask {
    /// [`Output::Open`].
    Open,
    /// [`Output::ReadPage`].
    Page(Ticket),
    /// [`Output::ReadPage`], because the cursor is of no use. The session begins the catch-up again.
    Cursor(Ticket),
    /// [`Output::Append`]. Nothing of it is durable.
    Append {
        /// The number of the push.
        push_id: u64,
    },
    /// [`Output::ListHeads`].
    Heads(Ticket),
    /// [`Output::LoadEntity`].
    Entity(Ticket),
    /// [`Output::ReadHead`].
    Head {
        /// The number of the request.
        nonce: u64,
    },
}

/// What a relay's session wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Transmit(Bytes),
    /// The client said who it is. Check the token; refuse the spaces later.
    Greeted {
        /// The client's device.
        device: DeviceId,
        /// The client's program.
        client_name: String,
        /// Its version.
        client_version: String,
        /// Proof of who the user is.
        token: Option<Bytes>,
    },
    /// Check the grant; from now on hand in `Live` if the mode is live; then check the position and read the head.
    Open {
        /// The space.
        space: SpaceId,
        /// The client's position.
        position: Position,
        /// What the client wants.
        mode: OpenMode,
    },
    /// Read a page of the feed.
    ReadPage {
        /// The space.
        space: SpaceId,
        /// The number of this request.
        ticket: Ticket,
        /// What to read.
        plan: ReadPlan,
        /// The most changes.
        entries_max: usize,
        /// The most payload bytes; one change may be above it.
        bytes_max: u64,
    },
    /// Check these changes, and append those that pass.
    Append {
        /// The space.
        space: SpaceId,
        /// The number of the push.
        push_id: u64,
        /// The changes.
        entries: Vec<ChangeRecord>,
    },
    /// List entities with their heads.
    ListHeads {
        /// The space.
        space: SpaceId,
        /// The number of this request.
        ticket: Ticket,
        /// The entity that the page comes after.
        after: Option<EntityId>,
        /// The most entities.
        entities_max: usize,
    },
    /// Read all changes of an entity.
    LoadEntity {
        /// The space.
        space: SpaceId,
        /// The entity.
        entity: EntityId,
        /// The number of this request.
        ticket: Ticket,
    },
    /// Read where the feed stands.
    ReadHead {
        /// The space.
        space: SpaceId,
        /// The number of this request.
        nonce: u64,
    },
    /// The client's device has made everything up to here durable.
    DeviceSeen {
        /// The space.
        space: SpaceId,
        /// The device.
        device: DeviceId,
        /// Its durable position.
        seq: Seq,
    },
    /// Send what is left, then close the connection.
    Close {
        /// Why. `None`: everything is in order.
        code: Option<ErrorCode>,
        /// Why, for the log.
        message: String,
    },
}

/// How to read a page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadPlan {
    /// In feed order, after this seq.
    BySeq {
        /// The seq that the page comes after.
        after: Seq,
    },
    /// Per entity that changed after a seq.
    ByEntity {
        /// The seq that the client knows everything up to.
        base: Seq,
        /// Where the page before ended.
        cursor: Option<Bytes>,
    },
}

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
    /// Frame bytes of pushes that were not acknowledged yet.
    pushed_bytes: u64,
    pushes: u64,
    /// Frame bytes of changes that the client has not seen yet, over all spaces.
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
    pub fn new(config: RelayConfig, now: Time) -> Self {
        let limits = config.limits;
        Self {
            phase: Phase::Greeting { until: now.after_ms(limits.authentication_ms_max) },
            heartbeat: Heartbeat::new(now, limits.ping_interval_ms, limits.dead_after_ms),
            limits,
            config,
            spaces: Vec::new(),
            outputs: VecDeque::new(),
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
            Input::Appended { space, push_id, appended, refused } => {
                self.appended(space, push_id, appended, refused)
            }
            Input::Live { space, first, watermark, frame, author } => {
                self.live(space, first, watermark, frame, author);
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

    fn handle_frame(&mut self, now: Time, bytes: &[u8]) -> Result<(), Fatal> {
        self.heartbeat.received(now);
        let Phase::Ready { device } = self.phase else { return self.greet(now, bytes) };
        let frame = decode(bytes, &self.limits)?;
        match frame {
            Frame::Open(open) => self.open(open),
            Frame::Seen(seen) => self.seen(device, &seen),
            Frame::Push(push) => self.push(push, bytes.len() as u64),
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

    fn greet(&mut self, now: Time, bytes: &[u8]) -> Result<(), Fatal> {
        // Before anyone is known, only so much is read.
        let first = Limits { frame_bytes_max: self.config.limits.hello_bytes_max, ..self.config.limits };
        let Frame::Hello(hello) = decode(bytes, &first)? else {
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
                self.config.limits.change_bytes_max
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
        if self.draining {
            self.draining = false;
            self.drain();
        }
        Ok(())
    }

    fn common_version(&self, hello: &Hello) -> Result<u16, Fatal> {
        let highest = hello.version_max.min(*VERSIONS.end());
        if hello.version_min.max(*VERSIONS.start()) > highest {
            let message = format!(
                "the client speaks versions {} to {}, this relay {} to {}",
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
        if self.draining {
            return;
        }
        self.draining = true;
        if !matches!(self.phase, Phase::Ready { .. }) {
            return;
        }
        self.transmit(&Frame::Bye(Bye {
            reason: ByeReason::Draining,
            reconnect_after_ms: self.config.reconnect_after_ms,
        }));
        self.close_if_drained();
    }

    /// A draining session ends once every push that it took has its acknowledgement.
    fn close_if_drained(&mut self) {
        if self.draining && self.pushes == 0 {
            self.close(None, "the relay drains".to_owned());
        }
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
        self.outputs.push_back(Output::Transmit(frame.encode()));
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

fn decode(bytes: &[u8], limits: &Limits) -> Result<Frame, Fatal> {
    Frame::decode(bytes, limits).map_err(|error| Fatal::new(error.code(), error.to_string()))
}
