//! What happens in a space, in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater::ingest::{ChangeHeader, ChangeLimits, IngestError, check_record};
use headwater::sync::relay::{Author, encode_live};
use headwater::wire::ErrorCode;
use headwater_storage::{
    Append, Appended, ChangeRecord, DeviceId, FeedEntry, FeedEpoch, Judgement, Numbers, Page, Pusher, Seq,
    SpaceId, Watermark,
};

use super::inbox::{ConnectionId, Inbox, LiveFrame, Message, PushEnd};

/// One space: who listens, and the pushes that wait or are being made durable.
///
/// Its user calls [`SpaceMachine::begin_append`], has the store append what that gives, and calls [`SpaceMachine::end_append`]
/// with the result; one append is under way at a time, and whatever is pushed meanwhile goes into the next one.
///
/// ```
/// use headwater::ingest::ChangeLimits;
/// use headwater_relay::space::SpaceMachine;
/// use headwater_storage::{FeedEpoch, SpaceId};
/// let mut space = SpaceMachine::new(SpaceId::from_name("home"), ChangeLimits::default());
/// assert!(space.begin_append(0, || FeedEpoch::from_bytes([1; 16])).is_none(), "nothing was pushed");
/// ```
#[derive(Debug)]
pub struct SpaceMachine {
    space: SpaceId,
    limits: ChangeLimits,
    subscribers: BTreeMap<ConnectionId, Inbox>,
    waiting: Vec<Push>,
    under_way: Vec<CheckedPush>,
    /// Up to where everything was passed on. `None` if nobody else appends to the feed: then that is what this machine has appended.
    delivered: Option<Watermark>,
}

/// Changes that a connection pushes.
#[derive(Debug)]
pub struct Push {
    /// Which connection.
    pub connection: ConnectionId,
    /// Its device.
    pub device: DeviceId,
    /// Who stands behind it.
    pub pusher: Pusher,
    /// The client's number for this push.
    pub push_id: u64,
    /// What it pushes.
    pub entries: Entries,
    /// Where the answer goes; the connection need not be subscribed.
    pub answer: Inbox,
}

/// What a push holds.
#[derive(Debug)]
pub enum Entries {
    /// Changes of a client, still to be checked.
    Changes(Vec<ChangeRecord>),
    /// A verdict of this relay on changes that it took before.
    Verdict(ChangeRecord, Judgement),
}

impl Entries {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Entries::Changes(changes) => changes.len(),
            Entries::Verdict(..) => 1,
        }
    }

    /// The bytes of their payloads.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Entries::Changes(changes) => changes.iter().map(|change| change.payload.len()).sum(),
            Entries::Verdict(record, _) => record.payload.len(),
        }
    }
}

/// A push whose changes were checked.
#[derive(Debug)]
struct CheckedPush {
    connection: ConnectionId,
    push_id: u64,
    answer: Inbox,
    refused: Vec<(usize, ErrorCode, String)>,
    has_entries: bool,
}

impl SpaceMachine {
    /// A space without listeners.
    pub fn new(space: SpaceId, limits: ChangeLimits) -> SpaceMachine {
        let (subscribers, waiting, under_way) = (BTreeMap::new(), Vec::new(), Vec::new());
        SpaceMachine { space, limits, subscribers, waiting, under_way, delivered: None }
    }

    /// From now on, others may append to the feed, which is at `head`. What they append comes by [`SpaceMachine::pass_on`].
    pub fn share(&mut self, head: Watermark) {
        self.delivered.get_or_insert(head);
    }

    /// Up to where everything was passed on, of a feed that others append to.
    pub fn delivered(&self) -> Option<Watermark> {
        self.delivered
    }

    /// Passes on a page of the feed after [`SpaceMachine::delivered`]. If it does not go on from there, the feed is another one: all
    /// subscribers are told, and open it again.
    pub fn pass_on(&mut self, page: &Page) {
        let Some(delivered) = self.delivered.replace(page.end) else { return };
        let records = || page.rows.iter().map(|row| &row.record);
        let reached = records().fold(delivered, |at, record| at.extended(record.entity, record.hash));
        if page.is_dense && reached != page.end {
            tracing::warn!(space = %self.space, at = %delivered.seq, "the feed is not the one any more that it was");
            self.rewind();
            self.delivered = Some(page.head);
        } else if !page.is_dense {
            // Seqs are missing; each connection reads around them.
            self.lag_all();
        } else if let Some(first) = page.rows.first() {
            self.send_live(None, (delivered, first.seq, page.end), records());
        }
    }

    /// From now on, live frames go to this connection.
    pub fn subscribe(&mut self, connection: ConnectionId, inbox: Inbox) {
        if cfg!(bug = "subscription-lost") && self.is_appending() {
            return;
        }
        self.subscribers.insert(connection, inbox);
    }

    /// From now on, live frames no longer go to this connection.
    pub fn unsubscribe(&mut self, connection: ConnectionId) {
        self.subscribers.remove(&connection);
    }

    /// Takes a push in.
    pub fn push(&mut self, push: Push) {
        self.waiting.push(push);
    }

    /// Whether an append can begin: a push waits, and no append is under way.
    pub fn can_append(&self) -> bool {
        !self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether an append was begun and not ended.
    pub fn is_appending(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Everything that waits, checked, to be appended in this order and in one transaction. `None` if nothing waits, or an
    /// append is under way. It can be empty, if every change was refused; it has to be ended nevertheless.
    pub fn begin_append(
        &mut self,
        received_ms: u64,
        mut new_epoch: impl FnMut() -> FeedEpoch,
    ) -> Option<Vec<Append>> {
        if !self.can_append() {
            return None;
        }
        let mut appends = Vec::with_capacity(self.waiting.len());
        for push in std::mem::take(&mut self.waiting) {
            let Push { connection, device, pusher, push_id, entries, answer } = push;
            let (entries, refused) = match entries {
                Entries::Changes(records) => self.check(records),
                Entries::Verdict(record, judgement) => {
                    let judgement = Some(judgement);
                    (vec![FeedEntry { judgement, ..FeedEntry::new(record, Vec::new()) }], Vec::new())
                }
            };
            let has_entries = !entries.is_empty();
            if has_entries {
                let (space, epoch_if_new) = (self.space, new_epoch());
                appends.push(Append { space, origin: device, pusher, received_ms, epoch_if_new, entries });
            }
            self.under_way.push(CheckedPush { connection, push_id, answer, refused, has_entries });
        }
        Some(appends)
    }

    /// Answers the pushes of the append that was under way, and passes their changes on. `None` if the store failed.
    pub fn end_append(&mut self, appended: Option<Vec<Appended>>) {
        let pushes = std::mem::take(&mut self.under_way);
        let Some(appended) = appended else {
            for CheckedPush { push_id, answer, .. } in pushes {
                answer.answer(Message::AppendFailed { space: self.space, push_id });
            }
            return;
        };
        let mut appended = appended.into_iter();
        for CheckedPush { connection, push_id, answer, refused, has_entries } in pushes {
            let receipt = if has_entries { appended.next().map(Arc::new) } else { None };
            // The answer first: it moves the pusher's position past its own changes, which then need not be sent back.
            let end = PushEnd { space: self.space, push_id, appended: receipt.clone(), refused };
            answer.answer(Message::Appended(Box::new(end)));
            match (receipt, &mut self.delivered) {
                (Some(receipt), None) => self.fan_out(connection, &receipt),
                (Some(receipt), Some(delivered)) if *delivered == receipt.before() => {
                    *delivered = receipt.head();
                    self.fan_out(connection, &receipt);
                }
                // Something of others came between: it is read, and this with it.
                (Some(_), Some(_)) | (None, _) => {}
            }
        }
    }

    fn check(&self, records: Vec<ChangeRecord>) -> (Vec<FeedEntry>, Vec<(usize, ErrorCode, String)>) {
        let mut entries = Vec::with_capacity(records.len());
        let mut refused = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            match check_record(&record, &self.limits) {
                Ok(change) => entries.push(self.entry(record, change.header)),
                Err(error) => refused.push((index, code_of(&error), error.to_string())),
            }
        }
        (entries, refused)
    }

    fn entry(&self, record: ChangeRecord, header: ChangeHeader) -> FeedEntry {
        let last_op = header.max_op();
        let ChangeHeader { deps, actor: author, seq: number, start_op: first_op, .. } = header;
        let numbers =
            Numbers { author, number, first_op, last_op, ahead_max: self.limits.operation_ahead_max };
        FeedEntry { numbers: Some(numbers), ..FeedEntry::new(record, deps) }
    }

    /// Sends all subscribers away: the feed is another one, or gone. They come back and open it again.
    pub fn rewind(&mut self) {
        self.delivered = None;
        self.subscribers.values().for_each(|inbox| inbox.answer(Message::Rewound));
    }

    /// Tells all subscribers to read the feed.
    pub fn lag_all(&self) {
        self.subscribers.values().for_each(Inbox::lag);
    }

    fn fan_out(&self, author: ConnectionId, appended: &Appended) {
        if let Some(first) = appended.rows().first() {
            let records = appended.rows().iter().map(|row| &row.record);
            self.send_live(Some(author), (appended.before(), first.seq, appended.head()), records);
        }
    }

    fn send_live<'a>(
        &self,
        author: Option<ConnectionId>,
        (before, first, watermark): (Watermark, Seq, Watermark),
        records: impl ExactSizeIterator<Item = &'a ChangeRecord> + Clone,
    ) {
        if self.subscribers.is_empty() {
            return;
        }
        let space = self.space;
        let frame = encode_live(space, first, records, watermark);
        let live = Arc::new(LiveFrame { space, before, first, watermark, frame });
        for (connection, inbox) in &self.subscribers {
            let author = if Some(*connection) == author { Author::Own } else { Author::Other };
            inbox.live(&live, author);
        }
    }
}

/// The code under which a change is refused that the ingest checks turned down.
fn code_of(error: &IngestError) -> ErrorCode {
    match error {
        IngestError::TooLarge { .. } => ErrorCode::ChangeTooLarge,
        IngestError::WrongHash { .. } => ErrorCode::HashMismatch,
        IngestError::UnsupportedKind => ErrorCode::UnknownKind,
        _ => ErrorCode::ChangeInvalid,
    }
}
