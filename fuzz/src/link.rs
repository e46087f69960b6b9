//! A connection between a device and a relay, and what is on its way in it.

use std::collections::{BTreeMap, VecDeque};

use headwater::SpaceId;
use headwater::sync::Time;
use headwater::sync::client::{ClientConfig, ClientSession, Direction, Mode};
use headwater::sync::relay::{RelayConfig, RelaySession};
use headwater_relay::space::{Inbox, InboxReceiver};
use headwater_storage::{Bytes, DeviceId, StoreError, Watermark};

use crate::Random;
use crate::device::Device;

pub(crate) type LinkId = u64;

/// A connection: two ends, and what is on its way between them. Either end can be gone before the other notices.
pub(crate) struct Link {
    /// The index of the relay.
    pub(crate) relay: usize,
    pub(crate) client: Option<ClientEnd>,
    pub(crate) server: Option<RelayEnd>,
    pub(crate) to_relay: VecDeque<Bytes>,
    pub(crate) to_client: VecDeque<Bytes>,
    /// What the network did to it, or its client is not one of ours: its sessions may give up.
    pub(crate) is_tampered: bool,
    /// It stays open although its client is not one of ours.
    pub(crate) is_held_open: bool,
    /// The relay has to end it once it has heard everything.
    pub(crate) must_end: bool,
    /// Nothing arrives at the relay, or at the client, any more.
    pub(crate) silent: [bool; 2],
    /// The client reads nothing until then.
    pub(crate) stalled_until: Time,
    /// What fits into the relay's socket before it has to wait, in bytes.
    socket_bytes: usize,
    /// The most that the relay's end may send at once, in bytes: its window, and some frames that do not count.
    room_bytes: usize,
    /// What the relay's end may have under way in changes.
    window_bytes: usize,
}

/// The client's end of a connection.
pub(crate) struct ClientEnd {
    /// The index of the device.
    pub(crate) device: usize,
    pub(crate) session: ClientSession,
    pub(crate) direction: Direction,
    /// Where each feed was when the relay answered that it is open.
    pub(crate) heads_at_open: BTreeMap<SpaceId, Watermark>,
}

/// The relay's end of a connection.
pub(crate) struct RelayEnd {
    pub(crate) session: RelaySession,
    pub(crate) inbox: Inbox,
    pub(crate) inbox_receiver: InboxReceiver,
    pub(crate) device: Option<DeviceId>,
    /// What its client asked to open.
    pub(crate) opened: Vec<SpaceId>,
}

/// How a `Changes` frame begins: a CBOR array of two, the frame's type first.
const CHANGES_BEGIN: [u8; 2] = [0x82, 5];

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Stay,
    SyncOnce(Direction),
}

/// How long the most patient of queues gets, so that slow readers are soon behind.
pub(crate) const LIVE_QUEUE_BYTES_MAX: usize = 4 << 10;

impl Link {
    pub(crate) fn new(
        relay: usize,
        (index, device): (usize, &Device),
        purpose: Purpose,
        random: &mut Random,
        now: Time,
    ) -> Result<Link, StoreError> {
        let position = |space: &SpaceId| Ok((*space, device.replica.begin_session(*space)?));
        let positions = device.spaces.iter().map(position).collect::<Result<_, StoreError>>()?;
        let mut config = ClientConfig::new(device.replica.device_id(), positions);
        let mut direction = Direction::Both;
        if let Purpose::SyncOnce(once) = purpose {
            direction = once;
            config.mode = Mode::Once;
            config.push_changes_max = random.chance(30).then(|| random.below(5) as u64);
        }
        config.direction = direction;
        let session = ClientSession::new(config, now);
        let client = ClientEnd { device: index, session, direction, heads_at_open: BTreeMap::new() };
        Ok(Link { client: Some(client), ..Link::without_client(relay, random, now) })
    }

    /// A connection whose client is not one of ours.
    pub(crate) fn without_client(relay: usize, random: &mut Random, now: Time) -> Link {
        // Small pages and windows, so that a few changes meet what takes thousands elsewhere.
        let mut config = RelayConfig::default();
        if random.chance(60) {
            config.by_entity_behind_min = 1 + random.below(20) as u64;
            config.page_entries_max = 1 + random.below(8);
            config.limits.push_changes_max = 1 + random.below(6) as u64;
            config.limits.heads_page_max = 1 + random.below(4) as u64;
            config.limits.fetch_entities_max = 1 + random.below(3) as u64;
            config.limits.reconcile_entities_max = 1 + random.below(3) as u64;
        }
        if random.chance(40) {
            config.limits.change.change_bytes_max = 4 << 10;
            config.limits.frame_bytes_max = 8 << 10;
            config.limits.in_flight_bytes_max = 8 << 10;
        }
        let room_bytes = (2 * config.limits.in_flight_bytes_max + 4 * config.limits.frame_bytes_max) as usize;
        let window_bytes = config.limits.in_flight_bytes_max as usize;
        let (inbox, inbox_receiver) = Inbox::new(LIVE_QUEUE_BYTES_MAX);
        let session = RelaySession::new(config, now);
        let server = RelayEnd { session, inbox, inbox_receiver, device: None, opened: Vec::new() };
        Link {
            relay,
            client: None,
            server: Some(server),
            to_relay: VecDeque::new(),
            to_client: VecDeque::new(),
            is_tampered: false,
            is_held_open: false,
            must_end: false,
            silent: [false; 2],
            stalled_until: Time::default(),
            socket_bytes: 256 << random.below(8),
            room_bytes,
            window_bytes,
        }
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.to_relay.is_empty()
            && self.to_client.is_empty()
            && self.server.as_ref().is_none_or(|server| server.inbox_receiver.is_empty())
    }

    /// Whether the relay's end waits for its socket to take more.
    pub(crate) fn is_full(&self) -> bool {
        self.server.is_some() && self.bytes_to_client() > self.socket_bytes
    }

    fn bytes_to_client(&self) -> usize {
        self.to_client.iter().map(Bytes::len).sum()
    }

    /// Whether what waits for the client is within what the relay's end may send without hearing from it.
    pub(crate) fn is_within_bounds(&self) -> bool {
        let waiting = self.server.as_ref().map_or(0, |server| server.inbox_receiver.live_bytes());
        // A frame that was doubled on its way is not the relay's.
        let changes = self.to_client.iter().filter(|message| message.starts_with(&CHANGES_BEGIN));
        let changes: usize = changes.map(Bytes::len).sum();
        self.bytes_to_client() <= self.socket_bytes + self.room_bytes
            && (changes <= self.window_bytes || self.is_tampered)
            && waiting <= LIVE_QUEUE_BYTES_MAX
    }

    /// Whether the client reads.
    pub(crate) fn is_read(&self, now: Time) -> bool {
        now >= self.stalled_until
    }
}
