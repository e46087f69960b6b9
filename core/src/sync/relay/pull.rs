//! From the feed to the client: opening, catching up, following, and falling back when the client is slow.

use bytes::Bytes;
use headwater_storage::{ChangeRecord, DeviceId, Position, Seq, SpaceId, Standing, Watermark};

use super::space::{Flow, Space};
use super::{Author, Fatal, Output, PageEnd, PageRead, ReadPlan, RelaySession};
use crate::sync::Ticket;
use crate::wire::{
    ChangesHead, ENTRY_OVERHEAD_BYTES_MAX, ErrorCode, FRAME_OVERHEAD_BYTES, Frame, Open, OpenMode, Opened,
    OpenedStanding, Part, SEAL_BYTES, Seen, encode_changes,
};

/// The frame that carries one append to everyone who follows the space. Encode it once, share it with all of them; each session
/// puts its own seal on it.
///
/// `first` is the seq of the first entry, `watermark` the feed's end after the last.
///
/// ```
/// use headwater_storage::{ChainHash, FeedEpoch, Seq, SpaceId, Watermark};
/// let watermark =
///     Watermark { epoch: FeedEpoch::from_bytes([1; 16]), seq: Seq::new(4), chain: ChainHash::from_bytes([2; 32]) };
/// let none = [].iter();
/// let frame = headwater::sync::relay::encode_live(SpaceId::from_name("team"), Seq::new(4), none, watermark);
/// assert!(frame.len() < 128);
/// ```
pub fn encode_live<'a>(
    space: SpaceId,
    first: Seq,
    entries: impl ExactSizeIterator<Item = &'a ChangeRecord> + Clone,
    watermark: Watermark,
) -> Bytes {
    let head = ChangesHead {
        space,
        part: Part::Live,
        watermark: Some(watermark),
        cursor: None,
        first: Some(first),
        head: watermark.seq,
        remaining: 0,
    };
    encode_changes(&head, entries)
}

impl RelaySession {
    pub(super) fn open(&mut self, open: Open) -> Result<(), Fatal> {
        let index = match self.space_index(open.space) {
            Some(index) => index,
            None if self.spaces.len() as u64 >= self.limits.spaces_max => {
                let message = format!("at most {} spaces on one connection", self.limits.spaces_max);
                self.open_refused(open.space, ErrorCode::TooManySpaces, message);
                return Ok(());
            }
            None => {
                // Most connections open one space, and a vector would make room for four.
                self.spaces.reserve_exact(1);
                self.spaces.push(Space { flow: Flow::Still, ..Space::new(open.space) });
                self.spaces.len() - 1
            }
        };
        let Some(space) = self.spaces.get_mut(index) else { return Ok(()) };
        if space.is_opening() {
            return Err(Fatal::new(ErrorCode::UnexpectedFrame, "the space is being opened already"));
        }
        // Opening again starts afresh, except for the pushes: each of them still gets its Ack.
        let forgotten: u64 = space.unseen.iter().sum();
        let pushes = std::mem::take(&mut space.pushes);
        *space = Space { pushes, mode: open.mode, sent: open.position.clone(), ..Space::new(open.space) };
        self.unseen_bytes = self.unseen_bytes.saturating_sub(forgotten);
        self.outputs.push_back(Output::Open { space: open.space, position: open.position, mode: open.mode });
        Ok(())
    }

    pub(super) fn space_opened(
        &mut self,
        id: SpaceId,
        standing: Standing,
        head: Option<Watermark>,
    ) -> Result<(), Fatal> {
        let behind_min = self.config.by_entity_behind_min;
        let Some(space) = self.space_mut(id).filter(|space| space.is_opening()) else { return Ok(()) };
        space.head = head.map_or(Seq::ZERO, |head| head.seq);
        let knows_a_feed = space.sent.watermark.is_some() || space.sent.cursor.is_some();
        let standing = match standing {
            Standing::Known if head.is_some() => OpenedStanding::Resume,
            _ if !knows_a_feed && head.is_none() => OpenedStanding::Empty,
            _ if !knows_a_feed => OpenedStanding::Resume,
            _ => OpenedStanding::Reconcile,
        };
        match standing {
            OpenedStanding::Reconcile => {
                // What the client will have once the comparison is over is the feed as it is now.
                space.sent = Position { watermark: head, cursor: None };
                space.flow = Flow::Comparing;
            }
            OpenedStanding::Empty | OpenedStanding::Refused => {
                space.sent = Position::default();
                space.flow = space.at_rest();
            }
            OpenedStanding::Resume => {
                space.started_at = space.sent_seq();
                let behind = space.head.get().saturating_sub(space.started_at.get());
                space.flow = if space.mode == OpenMode::PushOnly {
                    Flow::Still
                } else if behind == 0 && space.sent.cursor.is_none() {
                    space.at_rest()
                } else {
                    Flow::CatchingUp { reading: None }
                };
                space.by_entity = space.sent.cursor.is_some() || behind >= behind_min;
            }
        }
        self.transmit(&Frame::Opened(Opened { space: id, standing, head }));
        self.read_on(id);
        Ok(())
    }

    pub(super) fn open_refused(&mut self, id: SpaceId, code: ErrorCode, message: String) {
        if let Some(index) = self.space_index(id)
            && self.spaces.get(index).is_some_and(Space::is_opening)
        {
            self.spaces.remove(index);
        }
        self.recoverable(id, code, &message);
        // Every Open has its Opened, so that the client can tell this error from those of an opening before.
        self.transmit(&Frame::Opened(Opened { space: id, standing: OpenedStanding::Refused, head: None }));
    }

    pub(super) fn page_read(&mut self, id: SpaceId, ticket: Ticket, page: PageRead) {
        let Some(space) = self.space_mut(id) else { return };
        if space.flow != (Flow::CatchingUp { reading: Some(ticket) }) {
            return;
        }
        if let PageEnd::At(end) = &page.end
            && !space.by_entity
            && !space.leads_to(page.first.is_some().then_some(page.entries.as_slice()), end)
        {
            self.rewound();
            return;
        }
        let Some(space) = self.space_mut(id) else { return };
        space.head = space.head.max(page.head.seq);
        space.entries_sent = space.entries_sent.saturating_add(page.stands_for);
        let (watermark, cursor) = match &page.end {
            PageEnd::At(watermark) => {
                space.advance(*watermark);
                space.by_entity = false;
                (Some(*watermark), None)
            }
            PageEnd::Cursor(cursor) => {
                space.sent.cursor = Some(cursor.clone());
                (None, Some(cursor.clone()))
            }
        };
        let done = space.sent.cursor.is_none() && space.sent_seq() >= space.head;
        space.flow = if done { space.at_rest() } else { Flow::CatchingUp { reading: None } };
        let whole = space.head.get().saturating_sub(space.started_at.get());
        let head = ChangesHead {
            space: id,
            part: if done { Part::LastPage } else { Part::Page },
            watermark,
            cursor: cursor.as_deref(),
            first: page.first,
            head: space.head,
            remaining: if done { 0 } else { whole.saturating_sub(space.entries_sent).max(1) },
        };
        let frame = encode_changes(&head, page.entries.iter());
        self.transmit_changes(id, &frame);
        self.read_on(id);
    }

    /// There is nothing to read: a driver that dropped what was for other spaces has this one read as well.
    pub(super) fn no_feed(&mut self, id: SpaceId, ticket: Ticket) {
        let Some(space) = self.space_mut(id) else { return };
        if space.flow != (Flow::CatchingUp { reading: Some(ticket) }) {
            return;
        }
        if space.sent.watermark.is_some() {
            self.rewound();
            return;
        }
        // Somebody can have made the feed since it was looked for. Each such news has it looked for once more.
        let is_there = std::mem::replace(&mut space.head, Seq::ZERO) > Seq::ZERO;
        space.flow = if is_there { Flow::CatchingUp { reading: None } } else { space.at_rest() };
        self.read_on(id);
    }

    /// The feed is not the one any more that the client has read: its database was restored from an older copy, or failed over to one.
    /// The client comes back, and is told to compare heads.
    pub(super) fn rewound(&mut self) {
        self.drain();
    }

    pub(super) fn page_failed(&mut self, id: SpaceId, ticket: Ticket) {
        let Some(space) = self.space_mut(id) else { return };
        if space.flow == (Flow::CatchingUp { reading: Some(ticket) }) {
            space.flow = Flow::Failed;
            self.recoverable(id, ErrorCode::StoreUnavailable, "the feed cannot be read");
        }
    }

    pub(super) fn cursor_refused(&mut self, id: SpaceId, ticket: Ticket) {
        let Some(space) = self.space_mut(id) else { return };
        if space.flow == (Flow::CatchingUp { reading: Some(ticket) }) && space.sent.cursor.is_some() {
            space.sent.cursor = None;
            space.flow = Flow::CatchingUp { reading: None };
            self.read_on(id);
        }
    }

    pub(super) fn live(
        &mut self,
        id: SpaceId,
        (before, first, watermark): (Watermark, Seq, Watermark),
        frame: Bytes,
        author: Author,
    ) {
        let frame_bytes_max = self.limits.frame_bytes_max;
        let message_bytes = frame.len() as u64 + SEAL_BYTES;
        let has_room = self.has_room(message_bytes);
        let Some(space) = self.opened(id) else { return };
        space.head = space.head.max(watermark.seq);
        if space.flow != Flow::Live || watermark.seq <= space.sent_seq() {
            return;
        }
        let fits = has_room && message_bytes <= frame_bytes_max;
        if !fits || !space.continues_at(&before) {
            space.flow = Flow::CatchingUp { reading: None };
            space.started_at = space.sent_seq();
            space.entries_sent = 0;
            self.read_on(id);
            return;
        }
        space.advance(watermark);
        match author {
            Author::Other => self.transmit_changes(id, &frame),
            // The client has these changes, and its Ack could not move the watermark: something of others came between.
            Author::Own => {
                let moved = encode_live(id, first, [].iter(), watermark);
                self.transmit_changes(id, &moved);
            }
        }
    }

    pub(super) fn lagged(&mut self, id: SpaceId) {
        let Some(space) = self.opened(id) else { return };
        if space.flow == Flow::Live && !cfg!(bug = "lag-not-heeded") {
            space.flow = Flow::CatchingUp { reading: None };
            space.started_at = space.sent_seq();
            space.entries_sent = 0;
            // How much was dropped is not known, and it may have been read already: the page says where the feed ends.
            self.read_on(id);
        }
    }

    pub(super) fn seen(&mut self, device: DeviceId, seen: &Seen) -> Result<(), Fatal> {
        let Some(space) = self.space_mut(seen.space) else {
            self.not_open(seen.space);
            return Ok(());
        };
        let newly = seen.frames.saturating_sub(space.frames_seen);
        if newly > space.unseen.len() as u64 {
            return Err(Fatal::new(
                ErrorCode::FlowControl,
                "the client has seen frames that were never sent",
            ));
        }
        let mut freed = 0;
        for _ in 0..newly {
            freed += space.unseen.pop_front().unwrap_or(0);
        }
        space.frames_seen += newly;
        let seq = seen.seq.min(space.sent_seq());
        self.unseen_bytes = self.unseen_bytes.saturating_sub(freed);
        self.outputs.push_back(Output::DeviceSeen { space: seen.space, device, seq });
        if freed > 0 {
            // Room on the connection is room for every space on it.
            let ids: Vec<SpaceId> = self.spaces().collect();
            for id in ids {
                self.read_on(id);
                self.compare_on(id);
            }
        }
        Ok(())
    }

    /// Asks for the next page, if there is one to read and room for it.
    pub(super) fn read_on(&mut self, id: SpaceId) {
        let frame_bytes = self.limits.frame_bytes_max;
        let has_room = self.has_room(frame_bytes);
        let Some(index) = self.space_index(id) else { return };
        let ready =
            self.spaces.get(index).is_some_and(|space| space.flow == (Flow::CatchingUp { reading: None }));
        if !ready || !has_room {
            return;
        }
        let ticket = self.ticket();
        let (entries_max, bytes_max) = self.page_size();
        let Some(space) = self.spaces.get_mut(index) else { return };
        space.flow = Flow::CatchingUp { reading: Some(ticket) };
        let plan = if space.by_entity {
            ReadPlan::ByEntity { base: space.sent_seq(), cursor: space.sent.cursor.clone() }
        } else {
            ReadPlan::BySeq { after: space.sent_seq() }
        };
        self.outputs.push_back(Output::ReadPage { space: id, ticket, plan, entries_max, bytes_max });
    }

    /// Sends a `Changes` frame and counts it until the client has seen it.
    pub(super) fn transmit_changes(&mut self, id: SpaceId, frame: &[u8]) {
        let Some(index) = self.space_index(id) else { return };
        let bytes = self.transmit_encoded(frame);
        self.unseen_bytes += bytes;
        if let Some(space) = self.spaces.get_mut(index) {
            space.unseen.push_back(bytes);
        }
    }

    /// Whether `bytes` more may be under way. One frame always may, so that nothing stops for good.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.unseen_bytes == 0
            || self.unseen_bytes + bytes <= self.limits.in_flight_bytes_max
            || cfg!(bug = "window-not-kept")
    }

    /// How much to read for one frame, so that it fits before compression.
    fn page_size(&self) -> (usize, u64) {
        let room = self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
        let per_entry = ENTRY_OVERHEAD_BYTES_MAX + headwater_storage::CollectionName::LEN_MAX as u64;
        let entries_max = (room / 3 / per_entry).clamp(1, self.config.page_entries_max as u64);
        let bytes_max = room.saturating_sub(entries_max * per_entry).max(1);
        (usize::try_from(entries_max).unwrap_or(1), bytes_max)
    }
}

impl Space {
    /// Where the flow rests once the client has everything.
    fn at_rest(&self) -> Flow {
        if self.mode == OpenMode::Live { Flow::Live } else { Flow::Still }
    }
}
