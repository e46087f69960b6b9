//! What a relay's session knows of one open space.

use std::collections::{BTreeMap, VecDeque};

use headwater_storage::{ChangeRecord, Position, Seq, SpaceId, Watermark};

use super::compare::Comparing;
use crate::sync::Ticket;
use crate::wire::{AckResult, OpenMode};

/// One open space of one connection.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) id: SpaceId,
    pub(super) mode: OpenMode,
    pub(super) flow: Flow,
    /// What the client has once it stored everything that was sent: the watermark, and the cursor of a read by entity.
    pub(super) sent: Position,
    /// The highest seq that is known to be in the feed.
    pub(super) head: Seq,
    /// The seq at which this catch-up began, and how many rows of the feed it has sent since, for the client's progress.
    pub(super) started_at: Seq,
    pub(super) entries_sent: u64,
    /// Whether the catch-up goes by entity.
    pub(super) by_entity: bool,
    /// Sizes of the `Changes` frames that were sent and not seen, with their seals, oldest first.
    pub(super) unseen: VecDeque<u64>,
    /// `Changes` frames seen since the space was opened.
    pub(super) frames_seen: u64,
    /// push id -> what its Ack still waits for.
    pub(super) pushes: BTreeMap<u64, PendingPush>,
    pub(super) comparing: Comparing,
}

/// What goes from the feed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// The driver was asked to open the space.
    Opening,
    /// Pages are read from the feed. `reading`: one is under way.
    CatchingUp { reading: Option<Ticket> },
    /// The client has everything, and gets what comes as it comes.
    Live,
    /// The client has everything it asked for, and gets nothing more.
    Still,
    /// The client compares heads, and opens the space again when it is done.
    Comparing,
    /// Reading failed. The client may push, and opens the space again to go on.
    Failed,
}

/// A push whose changes are with the driver.
#[derive(Debug)]
pub(super) struct PendingPush {
    /// The size of its frame with the seal.
    pub(super) bytes: u64,
    /// A result for each change of the push, `None` for those that the driver has.
    pub(super) results: Vec<Option<AckResult>>,
    /// What was given to the driver, for the documents that are being compared.
    pub(super) entries: Vec<ChangeRecord>,
}

impl Space {
    pub(super) fn new(id: SpaceId) -> Self {
        Self {
            id,
            mode: OpenMode::Once,
            flow: Flow::Opening,
            sent: Position::default(),
            head: Seq::ZERO,
            started_at: Seq::ZERO,
            entries_sent: 0,
            by_entity: false,
            unseen: VecDeque::new(),
            frames_seen: 0,
            pushes: BTreeMap::new(),
            comparing: Comparing::default(),
        }
    }

    pub(super) fn is_opening(&self) -> bool {
        self.flow == Flow::Opening
    }

    /// The seq up to which the client will have everything.
    pub(super) fn sent_seq(&self) -> Seq {
        self.sent.watermark.map_or(Seq::ZERO, |watermark| watermark.seq)
    }

    /// Whether the client has exactly the history up to `before`. Two feeds can be equally long: one may be an older copy of the other that
    /// went on by itself.
    pub(super) fn continues_at(&self, before: &Watermark) -> bool {
        let has_it = self.sent.watermark.map_or(before.seq == Seq::ZERO, |watermark| watermark == *before);
        has_it && self.sent.cursor.is_none()
    }

    /// Whether a page of the feed goes on from what the client has. By its entries, if they follow each other without a gap.
    pub(super) fn leads_to(&self, entries: Option<&[ChangeRecord]>, end: &Watermark) -> bool {
        let Some(sent) = self.sent.watermark else { return true };
        match entries {
            Some(entries) => {
                entries.iter().fold(sent, |at, entry| at.extended(entry.entity, entry.hash)) == *end
            }
            None => end.seq > sent.seq || *end == sent,
        }
    }

    pub(super) fn advance(&mut self, watermark: Watermark) {
        self.sent = Position { watermark: Some(watermark), cursor: None };
        self.head = self.head.max(watermark.seq);
    }
}
