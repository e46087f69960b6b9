//! A client of a relay's session, and the driver around the session: it answers whatever the session asks for at once, as for a relay
//! that holds the fixture's entity and nothing else.

use std::collections::VecDeque;

use bytes::Bytes;
use headwater::SpaceId;
use headwater::ingest::{ChangeLimits, check_record};
use headwater::sync::Time;
use headwater::sync::relay::{
    Author, Input, Output, PageEnd, PageRead, RelayConfig, RelaySession, StoreTask, encode_live,
};
use headwater::wire::{
    ErrorCode, Frame, HeadsEntry, Hello, Limits, MorePages, Open, OpenMode, Seal, VERSIONS,
};
use headwater_storage::{ChainHash, ChangeRecord, DeviceId, FeedEpoch, Position, Seq, Standing, Watermark};

use super::fixture::{collection, entity, history, record, space};

/// Far behind this one, a client catches up entity by entity.
const LONG_FEED: u64 = 1_000;
const SHORT_FEED: u64 = 3;
/// Longer than the time between two pings, shorter than the time after which a client counts as gone.
const WAIT_MS: u64 = 26_000;

pub(super) struct Client {
    session: RelaySession,
    sending: Seal,
    receiving: Seal,
    now: Time,
    /// What was sent to the client, not read yet.
    sent: VecDeque<Bytes>,
    is_closed: bool,
    /// What the session was given, and what it gave, for the bound between the two.
    inputs: usize,
    input_bytes: usize,
    outputs: usize,
    /// Changes that others pushed.
    pushed: u64,
    pub(super) feed_is_long: bool,
    pub(super) store_fails: bool,
}

impl Client {
    /// A connection on which nothing was said.
    pub(super) fn connected() -> Client {
        let now = Time::from_millis(1_000);
        Client {
            session: RelaySession::new(RelayConfig::default(), now),
            sending: Seal::default(),
            receiving: Seal::default(),
            now,
            sent: VecDeque::new(),
            is_closed: false,
            inputs: 0,
            input_bytes: 0,
            outputs: 0,
            pushed: 0,
            feed_is_long: false,
            store_fails: false,
        }
    }

    /// A connection on which both sides said hello.
    pub(super) fn greeted() -> Client {
        let mut client = Client::connected();
        client.says(&hello().encode());
        assert!(matches!(client.heard()[..], [Frame::Welcome(_)]));
        client
    }

    /// Opens the space, and catches up.
    pub(super) fn opens(&mut self) {
        self.says(&open().encode());
        let heard = self.heard();
        assert!(matches!(heard.first(), Some(Frame::Opened(_) | Frame::Error(_))), "{heard:?}");
    }

    pub(super) fn says(&mut self, frame: &[u8]) {
        let message = self.sending.seal(frame);
        self.input_bytes += message.len();
        self.hands_in(Input::Frame(&message));
    }

    /// Bytes with no seal, or a wrong one: the connection has to end.
    pub(super) fn says_damaged(&mut self, message: &[u8]) {
        let opens = Seal::default().open(message).is_ok();
        self.hands_in(Input::Frame(message));
        assert!(opens || self.is_closed, "a damaged message is read over");
    }

    pub(super) fn waits(&mut self) {
        self.now = self.now.after_ms(WAIT_MS);
        self.hands_in(Input::Timeout);
    }

    pub(super) fn relay_drains(&mut self) {
        self.hands_in(Input::Drain);
    }

    /// A change of another client is appended to the space.
    pub(super) fn others_push(&mut self) {
        let before = self.head();
        self.pushed += 1;
        let (first, watermark) = (self.head().seq, self.head());
        let entries = records();
        let frame = encode_live(space(), first, entries[..1].iter(), watermark);
        self.hands_in(Input::Live { space: space(), before, first, watermark, frame, author: Author::Other });
    }

    /// What came from the relay since the last time. All of it can be read.
    pub(super) fn heard(&mut self) -> Vec<Frame> {
        let Client { sent, receiving, .. } = self;
        let frames = sent.drain(..).map(|message| {
            let frame = receiving.open(&message).expect("the relay's seal is wrong");
            Frame::decode(frame, &Limits::default()).expect("the relay's frame does not decode")
        });
        frames.collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Hands something in, and does what the session wants done until it wants nothing more.
    fn hands_in(&mut self, input: Input<'_>) {
        self.inputs += 1;
        let was_closed = self.is_closed;
        self.session.handle(self.now, input);
        while let Some(output) = self.session.poll() {
            assert!(!was_closed && !self.is_closed, "the session is closed, and wants {output:?}");
            self.outputs += 1;
            // A message leads to some outputs of its own, and one for each thing that it names, which takes some bytes.
            assert!(
                self.outputs <= 64 + 64 * self.inputs + self.input_bytes,
                "{} outputs for {} inputs with {} bytes",
                self.outputs,
                self.inputs,
                self.input_bytes
            );
            if let Some(answer) = self.answer(output) {
                self.session.handle(self.now, answer);
            }
        }
        assert_eq!(self.is_closed, self.session.timeout().is_none());
    }

    fn answer(&mut self, output: Output) -> Option<Input<'static>> {
        let head = self.head();
        let failed = |space: SpaceId, what: StoreTask| Some(Input::StoreFailed { space, what });
        match output {
            Output::Transmit(message) => self.sent.push_back(message),
            Output::Close { .. } => self.is_closed = true,
            Output::Greeted { .. } | Output::DeviceSeen { .. } => {}
            Output::Open { space, .. } if self.store_fails => return failed(space, StoreTask::Open),
            Output::Open { space, position, .. } => {
                let standing = match position.watermark {
                    Some(watermark) if watermark != head => Standing::Diverged,
                    _ => Standing::Known,
                };
                return Some(Input::Opened { space, standing, head: Some(head) });
            }
            Output::ReadPage { space, ticket, .. } if self.store_fails => {
                return failed(space, StoreTask::Page(ticket));
            }
            Output::ReadPage { space, ticket, .. } => {
                let (entries, end) = (Vec::new(), PageEnd::At(head));
                let page = PageRead { entries, stands_for: 0, first: None, end, head };
                return Some(Input::Page { space, ticket, page });
            }
            Output::Append { space, push_id, .. } if self.store_fails => {
                return failed(space, StoreTask::Append { push_id });
            }
            Output::Append { space, push_id, entries } => {
                let refused = entries.iter().map(refusal).enumerate();
                let refused = refused.map(|(index, (code, message))| (index, code, message)).collect();
                return Some(Input::Appended { space, push_id, appended: None, refused });
            }
            Output::ListHeads { space, ticket, .. } if self.store_fails => {
                return failed(space, StoreTask::Heads(ticket));
            }
            Output::ListHeads { space, ticket, after, .. } => {
                let heads = history().last().map(|(hash, _)| *hash).into_iter().collect();
                let entry = HeadsEntry { entity: entity(), collection: collection(), heads };
                let entities =
                    if after.is_none_or(|after| after < entity()) { vec![entry] } else { Vec::new() };
                return Some(Input::EntityHeads { space, ticket, entities, more: MorePages::No });
            }
            Output::LoadEntity { space, ticket, .. } if self.store_fails => {
                return failed(space, StoreTask::Entity(ticket));
            }
            Output::LoadEntity { space, entity: wanted, ticket } => {
                let changes = if wanted == entity() { records() } else { Vec::new() };
                return Some(Input::EntityLoaded { space, entity: wanted, ticket, changes });
            }
            Output::ReadHead { space, nonce } if self.store_fails => {
                return failed(space, StoreTask::Head { nonce });
            }
            Output::ReadHead { space, nonce } => {
                return Some(Input::HeadIs { space, nonce, watermark: Some(head) });
            }
        }
        None
    }

    /// Where the feed stands.
    fn head(&self) -> Watermark {
        let length = if self.feed_is_long { LONG_FEED } else { SHORT_FEED };
        Watermark {
            epoch: FeedEpoch::from_bytes([1; 16]),
            seq: Seq::new(length + self.pushed),
            chain: ChainHash::from_bytes([2; 32]),
        }
    }
}

/// Hello, from a client of this version.
pub(super) fn hello() -> Frame {
    Frame::Hello(Hello {
        version_min: *VERSIONS.start(),
        version_max: *VERSIONS.end(),
        device: DeviceId::from_bytes([3; 16]),
        client_name: "a fuzzer".to_owned(),
        client_version: "0".to_owned(),
        token: None,
        limits: Limits::default(),
    })
}

/// Opens the space, as a client that has nothing yet.
pub(super) fn open() -> Frame {
    Frame::Open(Open { space: space(), position: Position::default(), mode: OpenMode::Live })
}

fn records() -> Vec<ChangeRecord> {
    history().iter().map(|(hash, payload)| record(*hash, payload.clone())).collect()
}

fn refusal(record: &ChangeRecord) -> (ErrorCode, String) {
    match check_record(record, &ChangeLimits::default()) {
        Ok(_) => (ErrorCode::StoreUnavailable, "nothing is stored here".to_owned()),
        Err(error) => (ErrorCode::ChangeInvalid, error.to_string()),
    }
}
