//! A client and a relay on virtual time, around a fake replica and a real feed in memory. Nothing here sleeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use headwater::sync::Time;
use headwater::sync::client::{self, ClientConfig, ClientSession, CloseReason, Event};
use headwater::sync::relay::{self, Author, ReadPlan, RelayConfig, RelaySession, StoreTask, encode_live};
use headwater::wire::{ErrorCode, Frame, HeadsEntry, Limits, MorePages, OpenMode, Retry, Seal};
use headwater_storage::{
    Append, Appended, ChangeHash, ChangeRecord, EntityId, FeedEntry, FeedEpoch, FeedRow, OutboxSeq,
    PageLimit, ReadError, RedbFeed, Seq, SpaceId,
};

use crate::records::{append, deps, device, space};
use crate::replica::{FakeReplica, client_config};

/// What goes wrong on purpose.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) merges_fail: bool,
    pub(crate) appends_fail: bool,
    pub(crate) pages_fail: bool,
    /// Merges are not answered until `release_merges`.
    pub(crate) merges_wait: bool,
    /// Entities whose changes the relay's checks refuse.
    pub(crate) refuse: BTreeMap<EntityId, ErrorCode>,
    pub(crate) acks_lost: bool,
    /// Appends are not answered until `release_appends`.
    pub(crate) appends_wait: bool,
    /// What happens to one message on its way.
    pub(crate) accident: Option<Accident>,
}

/// A message of this number in one direction does not arrive as it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accident {
    pub(crate) towards: Side,
    pub(crate) number: usize,
    pub(crate) what: Mishap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Relay,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Mishap {
    /// This bit, counted from the end where it is negative, has the other value.
    Flipped(isize),
    /// So many bytes are missing at the end.
    Cut(usize),
    Dropped,
    Doubled,
    /// The message after it overtakes it.
    Swapped,
}

/// One direction: what was sealed, and what is on its way.
#[derive(Default)]
struct Way {
    /// Opens every message as it is sent, so that the test sees the frames.
    watching: Seal,
    sent: usize,
    arrived: usize,
    /// When each arrives, and its bytes.
    messages: VecDeque<(u64, Bytes)>,
    /// A message that the next one overtakes.
    overtaken: Option<Bytes>,
}

pub(crate) struct Pair {
    pub(crate) now: u64,
    pub(crate) latency_ms: u64,
    pub(crate) client: ClientSession,
    pub(crate) relay: RelaySession,
    pub(crate) feed: RedbFeed,
    pub(crate) space: SpaceId,
    pub(crate) replica: FakeReplica,
    pub(crate) faults: Faults,
    pub(crate) events: Vec<Event>,
    pub(crate) client_closed: Option<CloseReason>,
    pub(crate) relay_closed: Option<Option<ErrorCode>>,
    /// Every frame that went out, with the size of its message.
    pub(crate) from_client: Vec<(Frame, usize)>,
    pub(crate) from_relay: Vec<(Frame, usize)>,
    pub(crate) device_seen: Vec<Seq>,
    to_relay: Way,
    to_client: Way,
    waiting_merges: Vec<client::Output>,
    waiting_appends: Vec<relay::Output>,
    subscribed: bool,
    epoch: FeedEpoch,
}

impl Pair {
    pub(crate) fn new(feed: RedbFeed, replica: FakeReplica) -> Self {
        let config = client_config(&replica);
        Self::with(feed, replica, config, RelayConfig::default())
    }

    pub(crate) fn with(
        feed: RedbFeed,
        replica: FakeReplica,
        client: ClientConfig,
        relay: RelayConfig,
    ) -> Self {
        let now = Time::from_millis(0);
        Self {
            now: 0,
            latency_ms: 10,
            client: ClientSession::new(client, now),
            relay: RelaySession::new(relay, now),
            feed,
            space: space(),
            replica,
            faults: Faults::default(),
            events: Vec::new(),
            client_closed: None,
            relay_closed: None,
            from_client: Vec::new(),
            from_relay: Vec::new(),
            device_seen: Vec::new(),
            to_relay: Way::default(),
            to_client: Way::default(),
            waiting_merges: Vec::new(),
            waiting_appends: Vec::new(),
            subscribed: false,
            epoch: FeedEpoch::from_bytes([5; 16]),
        }
    }

    /// Runs until nothing is under way any more. Time passes only as frames travel.
    pub(crate) fn run(&mut self) {
        for _ in 0..200_000 {
            if self.turn() {
                continue;
            }
            let next = [&self.to_relay, &self.to_client].iter().filter_map(|way| way.next_at()).min();
            match next {
                Some(at) if at < u64::MAX / 8 => self.now = self.now.max(at),
                _ => return,
            }
        }
        panic!("the sessions do not come to rest");
    }

    /// Does everything that is due now, without letting time pass.
    pub(crate) fn step(&mut self) {
        while self.turn() {}
    }

    /// From here on every frame is lost, in both directions.
    pub(crate) fn cut(&mut self) {
        self.latency_ms = u64::MAX / 4;
        self.to_relay.messages.clear();
        self.to_client.messages.clear();
    }

    /// Lets time pass, with every timeout on the way.
    pub(crate) fn advance(&mut self, ms: u64) {
        let until = self.now + ms;
        for _ in 0..200_000 {
            self.run();
            let next = [self.client.timeout(), self.relay.timeout()].into_iter().flatten().min();
            match next.map(Time::as_millis).filter(|at| *at <= until) {
                Some(at) => {
                    self.now = self.now.max(at);
                    let now = Time::from_millis(self.now);
                    self.client.handle(now, client::Input::Timeout);
                    self.relay.handle(now, relay::Input::Timeout);
                }
                None => {
                    self.now = until.max(self.now);
                    return;
                }
            }
        }
        panic!("the timeouts do not come to rest");
    }

    pub(crate) fn client(&mut self, input: client::Input<'_>) {
        self.client.handle(Time::from_millis(self.now), input);
    }

    pub(crate) fn relay(&mut self, input: relay::Input<'_>) {
        self.relay.handle(Time::from_millis(self.now), input);
    }

    /// Hands the relay a frame as the next message of the client, with a seal that fits.
    pub(crate) fn relay_gets(&mut self, frame: &[u8]) {
        let message = sealed(self.to_relay.arrived, frame);
        self.to_relay.arrived += 1;
        self.relay(relay::Input::Frame(&message));
    }

    /// Hands the client a frame as the next message of the relay, with a seal that fits.
    pub(crate) fn client_gets(&mut self, frame: &[u8]) {
        let message = sealed(self.to_client.arrived, frame);
        self.to_client.arrived += 1;
        self.client(client::Input::Frame(&message));
    }

    pub(crate) fn write(&mut self, record: ChangeRecord) {
        self.replica.write(record);
        let space = self.space;
        self.client(client::Input::LocalCommit { space });
    }

    /// Live frames of this connection that the driver drops, as one whose queue is full does.
    pub(crate) fn lag(&mut self) {
        let space = self.space;
        self.relay(relay::Input::Lagged { space });
    }

    /// Someone else's push, of which the driver drops the live frame.
    pub(crate) fn others_append_unheard(&mut self, records: Vec<ChangeRecord>) {
        append(&self.feed, 5, records);
        self.lag();
    }

    /// Someone else's push.
    pub(crate) fn others_append(&mut self, records: Vec<ChangeRecord>) {
        let appended = append(&self.feed, 5, records);
        self.fan_out(&appended, Author::Other);
    }

    pub(crate) fn release_merges(&mut self) {
        self.faults.merges_wait = false;
        for merge in std::mem::take(&mut self.waiting_merges) {
            self.client_output(merge);
        }
    }

    pub(crate) fn release_appends(&mut self) {
        self.faults.appends_wait = false;
        for append in std::mem::take(&mut self.waiting_appends) {
            self.relay_output(append);
        }
    }

    /// The connection is gone; what was on its way is lost.
    pub(crate) fn reconnect(&mut self) {
        let feed = self.feed.clone();
        let replica = std::mem::take(&mut self.replica);
        let faults = std::mem::take(&mut self.faults);
        *self = Self { faults, ..Self::new(feed, replica) };
    }

    pub(crate) fn report(&self) -> Option<(u64, u64, u64)> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Report { tally, .. } => Some((tally.pushed, tally.pulled, tally.rejected)),
            _ => None,
        })
    }

    pub(crate) fn feed_rows(&self) -> Vec<FeedRow> {
        let limit = PageLimit { entries_max: 1_000_000, bytes_max: 1 << 30 };
        self.feed.read_by_seq(self.space, Seq::ZERO, limit).map(|page| page.rows).unwrap_or_default()
    }

    /// The feed and the replica hold the same changes, and the replica knows it.
    #[track_caller]
    pub(crate) fn assert_even(&self) {
        let feed: BTreeSet<_> =
            self.feed_rows().iter().map(|row| (row.record.entity, row.record.hash)).collect();
        assert_eq!(feed.len(), self.feed_rows().len(), "a change is in the feed twice");
        let only_here = self.replica.known.difference(&feed).count();
        let only_there = feed.difference(&self.replica.known).count();
        assert_eq!((only_here, only_there), (0, 0), "changes that only one side has: {}", self.ending());
        assert!(
            self.replica.outbox.is_empty(),
            "in the outbox: {}: {}",
            self.replica.outbox.len(),
            self.ending()
        );
        assert_eq!(self.replica.position.watermark, self.feed.head(self.space).unwrap());
        assert_eq!(self.replica.position.cursor, None);
    }

    /// The relay has all of `own`, the replica has all that the relay has, and knows it.
    #[track_caller]
    pub(crate) fn assert_has(&self, own: &BTreeSet<(EntityId, ChangeHash)>) {
        let feed: BTreeSet<_> =
            self.feed_rows().iter().map(|row| (row.record.entity, row.record.hash)).collect();
        assert_eq!(feed.len(), self.feed_rows().len(), "a change is in the feed twice");
        assert_eq!(own.difference(&feed).count(), 0, "own changes that the relay lacks: {}", self.ending());
        assert_eq!(feed.difference(&self.replica.known).count(), 0, "not pulled: {}", self.ending());
        assert!(self.replica.outbox.is_empty(), "in the outbox: {}", self.ending());
        assert_eq!(self.replica.position.watermark, self.feed.head(self.space).unwrap());
    }

    /// How it ended, for a test that fails.
    fn ending(&self) -> String {
        let names = |frames: &[(Frame, usize)]| -> Vec<&'static str> {
            frames.iter().rev().take(6).map(|(frame, _)| frame.name()).collect()
        };
        format!(
            "closed {:?} {:?}, last events {:?}, last frames of the client {:?}, of the relay {:?}",
            self.client_closed,
            self.relay_closed,
            self.events.iter().rev().take(3).collect::<Vec<_>>(),
            names(&self.from_client),
            names(&self.from_relay)
        )
    }

    fn turn(&mut self) -> bool {
        if let Some(output) = self.client.poll() {
            self.client_output(output);
            return true;
        }
        if let Some(output) = self.relay.poll() {
            self.relay_output(output);
            return true;
        }
        let now = Time::from_millis(self.now);
        if let Some(message) = self.to_relay.arrive(self.now) {
            self.relay.handle(now, relay::Input::Frame(&message));
            return true;
        }
        if let Some(message) = self.to_client.arrive(self.now) {
            self.client.handle(now, client::Input::Frame(&message));
            return true;
        }
        false
    }

    fn client_output(&mut self, output: client::Output) {
        use client::{Input, Output};
        let now = Time::from_millis(self.now);
        match output {
            Output::Transmit(message) => {
                self.from_client.push((self.to_relay.watch(&message), message.len()));
                let accident = self.faults.accident.filter(|accident| accident.towards == Side::Relay);
                self.to_relay.send(self.now + self.latency_ms, message, accident);
            }
            Output::Merge { .. } if self.faults.merges_wait => self.waiting_merges.push(output),
            Output::Merge { space, ticket, .. } if self.faults.merges_fail => {
                let reason = "disk full".to_owned();
                self.client.handle(now, Input::MergeFailed { space, ticket, reason, retry: Retry::Later });
            }
            Output::Merge { space, ticket, entries, position } => {
                let pulled = self.replica.merge(entries, position);
                self.client.handle(now, Input::Merged { space, ticket, pulled, set_aside: 0 });
            }
            Output::ReadOutbox { space, after, entries_max, .. } => {
                let mut entries: Vec<_> =
                    self.replica.outbox.iter().filter(|entry| entry.seq > after).cloned().collect();
                let exhausted = entries.len() <= entries_max;
                entries.truncate(entries_max);
                self.client.handle(now, Input::OutboxPage { space, entries, exhausted });
            }
            Output::Acknowledge { acknowledged, refused, position, .. } => {
                let gone: BTreeSet<OutboxSeq> =
                    acknowledged.into_iter().chain(refused.iter().map(|(seq, _)| *seq)).collect();
                self.replica.outbox.retain(|entry| !gone.contains(&entry.seq));
                self.replica.refused.extend(refused);
                self.replica.moved(position);
            }
            Output::LoadEntity { space, entity } => {
                let changes: Vec<_> =
                    self.replica.changes.iter().filter(|record| record.entity == entity).cloned().collect();
                let collection = changes[0].collection.clone();
                self.client.handle(now, Input::EntityLoaded { space, entity, collection, changes });
            }
            Output::ListEntities { space, after, entities_max } => {
                let mut entities: Vec<_> =
                    self.replica.heads().into_iter().filter(|entry| Some(entry.entity) > after).collect();
                let more = if entities.len() > entities_max { MorePages::Yes } else { MorePages::No };
                entities.truncate(entities_max);
                self.client.handle(now, Input::EntityList { space, entities, more });
            }
            Output::Event(event) => self.events.push(event),
            Output::Close { reason } => self.client_closed = Some(reason),
        }
    }

    fn relay_output(&mut self, output: relay::Output) {
        use relay::{Input, Output};
        let now = Time::from_millis(self.now);
        match output {
            Output::Transmit(message) => {
                let frame = self.to_client.watch(&message);
                let lost = self.faults.acks_lost && matches!(frame, Frame::Ack(_));
                self.from_relay.push((frame, message.len()));
                if !lost {
                    let accident = self.faults.accident.filter(|accident| accident.towards == Side::Client);
                    self.to_client.send(self.now + self.latency_ms, message, accident);
                }
            }
            Output::Greeted { .. } => {}
            Output::Open { space, position, mode } => {
                self.subscribed = mode == OpenMode::Live;
                let standing = self.feed.check_position(space, &position).unwrap();
                let head = self.feed.head(space).unwrap();
                self.relay.handle(now, Input::Opened { space, standing, head });
            }
            Output::ReadPage { space, ticket, .. } if self.faults.pages_fail => {
                self.relay.handle(now, Input::StoreFailed { space, what: StoreTask::Page(ticket) });
            }
            Output::ReadPage { space, ticket, plan, entries_max, bytes_max } => {
                let limit = PageLimit { entries_max, bytes_max: bytes_max as usize };
                let page = match plan {
                    ReadPlan::BySeq { after } => self.feed.read_by_seq(space, after, limit).map(Into::into),
                    ReadPlan::ByEntity { base, cursor } => {
                        self.feed.read_by_entity(space, base, cursor.as_deref(), limit).map(Into::into)
                    }
                };
                let what = match page {
                    Ok(page) => return self.relay.handle(now, Input::Page { space, ticket, page }),
                    Err(ReadError::Cursor(_)) => StoreTask::Cursor(ticket),
                    Err(ReadError::NoSuchSpace { .. }) => {
                        return self.relay.handle(now, Input::NoFeed { space, ticket });
                    }
                    Err(_) => StoreTask::Page(ticket),
                };
                self.relay.handle(now, Input::StoreFailed { space, what });
            }
            Output::Append { .. } if self.faults.appends_wait => self.waiting_appends.push(output),
            Output::Append { space, push_id, .. } if self.faults.appends_fail => {
                self.relay.handle(now, Input::StoreFailed { space, what: StoreTask::Append { push_id } });
            }
            Output::Append { space, push_id, entries } => {
                let mut refused = Vec::new();
                let mut taken = Vec::new();
                for (index, record) in entries.into_iter().enumerate() {
                    match self.faults.refuse.get(&record.entity) {
                        Some(code) => refused.push((index, *code, "refused on purpose".to_owned())),
                        None => taken.push({
                            let deps = deps(&record);
                            FeedEntry::new(record, deps)
                        }),
                    }
                }
                let append = Append {
                    space,
                    origin: device(),
                    pusher: headwater_storage::Pusher::default(),
                    received_ms: self.now,
                    epoch_if_new: self.epoch,
                    entries: taken,
                };
                let appended = self.feed.append_all(vec![append]).unwrap().remove(0);
                self.relay
                    .handle(now, Input::Appended { space, push_id, appended: Some(&appended), refused });
                self.fan_out(&appended, Author::Own);
            }
            Output::ListHeads { space, ticket, after, entities_max } => {
                let entities = self.feed.heads(space, after, entities_max).unwrap_or_default();
                let more = if entities.len() == entities_max { MorePages::Yes } else { MorePages::No };
                let entities = entities
                    .into_iter()
                    .map(|heads| HeadsEntry {
                        entity: heads.entity,
                        collection: heads.collection,
                        heads: heads.heads,
                    })
                    .collect();
                self.relay.handle(now, Input::EntityHeads { space, ticket, entities, more });
            }
            Output::LoadEntity { space, entity, ticket } => {
                let limit = PageLimit { entries_max: 1_000_000, bytes_max: 1 << 30 };
                let page = self.feed.read_entity(space, entity, Seq::ZERO, limit).unwrap();
                let changes = page.rows.into_iter().map(|row| row.record).collect();
                self.relay.handle(now, Input::EntityLoaded { space, entity, ticket, changes });
            }
            Output::ReadHead { space, nonce } => {
                let watermark = self.feed.head(space).unwrap();
                self.relay.handle(now, Input::HeadIs { space, nonce, watermark });
            }
            Output::DeviceSeen { seq, .. } => self.device_seen.push(seq),
            Output::Close { code, .. } => self.relay_closed = Some(code),
        }
    }

    fn fan_out(&mut self, appended: &Appended, author: Author) {
        let Some(first) = appended.rows().first().filter(|_| self.subscribed) else { return };
        let entries: Vec<ChangeRecord> = appended.rows().iter().map(|row| row.record.clone()).collect();
        let frame = encode_live(self.space, first.seq, entries.iter(), appended.head());
        let (space, before, watermark) = (self.space, appended.before(), appended.head());
        self.relay(relay::Input::Live { space, before, first: first.seq, watermark, frame, author });
    }
}

impl Way {
    fn watch(&mut self, message: &[u8]) -> Frame {
        Frame::decode(self.watching.open(message).unwrap(), &Limits::default()).unwrap()
    }

    fn send(&mut self, at: u64, message: Bytes, accident: Option<Accident>) {
        let number = self.sent;
        self.sent += 1;
        match accident.filter(|accident| accident.number == number).map(|accident| accident.what) {
            None => self.messages.push_back((at, message)),
            Some(Mishap::Flipped(bit)) => {
                let mut bytes = message.to_vec();
                let bit = bit.rem_euclid(8 * bytes.len() as isize) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
                self.messages.push_back((at, bytes.into()));
            }
            Some(Mishap::Cut(bytes)) => self.messages.push_back((at, message.slice(..message.len() - bytes))),
            Some(Mishap::Dropped) => {}
            Some(Mishap::Doubled) => self.messages.extend([(at, message.clone()), (at, message)]),
            Some(Mishap::Swapped) => {
                self.overtaken = Some(message);
                return;
            }
        }
        self.messages.extend(self.overtaken.take().map(|overtaken| (at, overtaken)));
    }

    fn next_at(&self) -> Option<u64> {
        self.messages.front().map(|(at, _)| *at)
    }

    fn arrive(&mut self, now: u64) -> Option<Bytes> {
        let (_, message) = self.messages.pop_front_if(|(at, _)| *at <= now)?;
        self.arrived += 1;
        Some(message)
    }
}

/// `frame` as the message of this number in its direction.
pub(crate) fn sealed(number: usize, frame: &[u8]) -> Bytes {
    let mut seal = Seal::default();
    for _ in 0..number {
        let _message_before = seal.seal(b"");
    }
    seal.seal(frame)
}
