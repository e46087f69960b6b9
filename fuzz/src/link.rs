//! A connection between a device and the relay, and what is on its way in it.

use std::collections::VecDeque;
use std::sync::Arc;

use headwater::sync::Time;
use headwater::sync::client::{ClientConfig, ClientSession, Direction, Mode};
use headwater::sync::relay::{Author, RelayConfig, RelaySession};
use headwater_storage::{Appended, Bytes, Seq, Watermark};

use crate::device::space;
use crate::{Random, Violation};

/// Both sessions of one connection. Frames keep their order, and take as long as the world likes.
pub(crate) struct Link {
    pub(crate) client: ClientSession,
    pub(crate) relay: RelaySession,
    pub(crate) to_relay: VecDeque<Bytes>,
    pub(crate) to_client: VecDeque<Bytes>,
    /// What the space's actor has for this connection.
    pub(crate) inbox: VecDeque<Message>,
    /// Live messages were dropped since the session was last told.
    pub(crate) lagged: bool,
    pub(crate) subscribed: bool,
    pub(crate) over: bool,
}

/// From the space's actor to one connection.
pub(crate) enum Message {
    Appended { push_id: u64, appended: Arc<Appended> },
    Live { first: Seq, watermark: Watermark, frame: Bytes, author: Author },
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Stay,
    SyncOnce(Direction),
}

impl Link {
    pub(crate) fn new(
        replica: &headwater::Replica,
        purpose: Purpose,
        random: &mut Random,
        now: Time,
    ) -> Result<Link, Violation> {
        let position = replica.position(space()).map_err(Violation::failed("position"))?;
        let mut config = ClientConfig::new(replica.device_id(), vec![(space(), position)]);
        if let Purpose::SyncOnce(direction) = purpose {
            config.mode = Mode::Once;
            config.direction = direction;
            config.push_changes_max = random.chance(30).then(|| random.below(5) as u64);
        }
        // Small pages and windows, so that a few changes meet what takes thousands elsewhere.
        let mut relay = RelayConfig::default();
        if random.chance(50) {
            relay.by_entity_behind_min = 1 + random.below(20) as u64;
            relay.page_entries_max = 1 + random.below(8);
            relay.limits.push_changes_max = 1 + random.below(6) as u64;
            relay.limits.heads_page_max = 1 + random.below(4) as u64;
            relay.limits.fetch_entities_max = 1 + random.below(3) as u64;
            relay.limits.reconcile_entities_max = 1 + random.below(3) as u64;
        }
        Ok(Link {
            client: ClientSession::new(config, now),
            relay: RelaySession::new(relay, now),
            to_relay: VecDeque::new(),
            to_client: VecDeque::new(),
            inbox: VecDeque::new(),
            lagged: false,
            subscribed: false,
            over: false,
        })
    }

    /// Whether anything is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.over
            || (self.to_relay.is_empty()
                && self.to_client.is_empty()
                && self.inbox.is_empty()
                && !self.lagged)
    }
}
