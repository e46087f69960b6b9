//! What a client's session knows of one space.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headwater_storage::{ChangeRecord, OutboxEntry, OutboxSeq, Position, Refusal, Seq, SpaceId};

use super::compare::Compare;
use crate::sync::{Ticket, Time};
use crate::wire::Retry;

/// One space of one connection.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) id: SpaceId,
    /// Where the replica will be once everything that was handed to the driver, or waits for it, is done.
    pub(super) position: Position,
    /// The position that the driver is known to have.
    pub(super) stored: Position,
    pub(super) pull: Pull,
    /// What the last error frame said while an answer to `Open` was awaited: whether, and when, to try again.
    pub(super) refusal: Option<(Retry, Option<u64>)>,
    /// Merges and acknowledgements that wait behind the merge that is under way.
    pub(super) work: VecDeque<Work>,
    pub(super) merging: Option<Merging>,
    pub(super) seen: SeenFrames,
    /// Positions below this are not stored: what was pushed in a comparison lies up to here, and must be covered with them.
    pub(super) store_from: Seq,
    /// Where in the feed the changes are that a comparison pushed.
    pub(super) compared: Seqs,
    /// Changes that came in this catch-up.
    pub(super) caught_up: u64,
    pub(super) push: Push,
    pub(super) round: SpaceRound,
}

/// From the relay to this replica.
#[derive(Debug)]
pub(super) enum Pull {
    /// `Open` was sent.
    Opening,
    /// Pages come.
    CatchingUp,
    /// Everything that was there has come. What happens now comes as it happens, if the session is live.
    Current,
    /// The two sides compare heads.
    Comparing(Box<Compare>),
    /// It failed; frames that still come are passed over. Pushing goes on if the space was opened.
    Failed { opened: bool, retry_at: Option<Time> },
    /// The relay does not let this client have the space.
    Refused,
}

/// Something for the driver to store.
#[derive(Debug)]
pub(super) enum Work {
    Merge {
        entries: Vec<ChangeRecord>,
        bytes: u64,
        position: Option<Position>,
        frames: u64,
        pace: Pace,
        step: Step,
    },
    Acknowledge {
        acknowledged: Vec<OutboxSeq>,
        refused: Vec<(OutboxSeq, Refusal)>,
        position: Option<Position>,
    },
}

/// What a merge ends, once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing in particular.
    None,
    /// The comparison of heads: the space is opened again.
    CompareEnd,
}

/// Whether the relay waits to hear that something is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It does, to send the next page.
    Prompt,
    /// It can be told a little later, together with more.
    Relaxed,
}

/// The merge that is under way.
#[derive(Debug)]
pub(super) struct Merging {
    pub(super) ticket: Ticket,
    pub(super) position: Option<Position>,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) pace: Pace,
    pub(super) step: Step,
}

/// `Changes` frames of this opening that are durable, and what the relay was told of them.
#[derive(Debug, Default)]
pub(super) struct SeenFrames {
    pub(super) frames: u64,
    pub(super) told: u64,
    pub(super) bytes_untold: u64,
    /// When to tell the relay at the latest.
    pub(super) tell_at: Option<Time>,
}

/// From this replica to the relay.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// Pushing has begun: the first catch-up is over, in whatever way.
    pub(super) begun: bool,
    /// The last place that was read from the outbox.
    pub(super) read_to: OutboxSeq,
    pub(super) reading: bool,
    /// A commit came while a page was being read, so that its `exhausted` may be old.
    pub(super) committed: bool,
    /// Nothing is in the outbox after `read_to`.
    pub(super) exhausted: bool,
    /// Read and not sent.
    pub(super) ready: VecDeque<OutboxEntry>,
    /// push id -> what it holds.
    pub(super) in_flight: BTreeMap<u64, InFlight>,
    /// Acknowledged entries that stay in the outbox until this replica's watermark covers them, with their seqs in the feed. A
    /// relay that is restored to between the two is then noticed: either the watermark is not known any more, or the
    /// entries are pushed again.
    pub(super) held: Vec<(OutboxSeq, Seq)>,
    /// The cursor that the last Ack gave, if that is what this replica's position rests on.
    pub(super) cursor: Option<Bytes>,
    /// Something stays in the outbox to be tried again.
    pub(super) refused_for_now: bool,
    pub(super) retry_at: Option<Time>,
    /// How many changes may still be pushed. `None`: any number.
    pub(super) allowance: Option<u64>,
    /// The outbox is to be read from its beginning as soon as nothing is under way.
    pub(super) restart: bool,
}

/// A push that was not acknowledged yet.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The size of its frame with the seal.
    pub(super) frame_bytes: u64,
    pub(super) content: Pushed,
}

/// What a push is made of.
#[derive(Debug)]
pub(super) enum Pushed {
    /// Entries of the outbox.
    Outbox(Vec<OutboxSeq>),
    /// Changes that a comparison found to be missing at the relay.
    Compared(Vec<headwater_storage::EntityId>),
}

/// Places in a feed, as runs of neighbours: what one push brings lies side by side.
#[derive(Debug, Default)]
pub(super) struct Seqs {
    /// first -> last
    runs: BTreeMap<Seq, Seq>,
}

impl Seqs {
    pub(super) fn add(&mut self, seq: Seq) {
        match self.runs.range_mut(..=seq).next_back() {
            Some((_, last)) if seq <= last.next() => *last = seq.max(*last),
            _ => {
                self.runs.insert(seq, seq);
            }
        }
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.runs.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last)
    }
}

/// How far a space is in the current round.
#[derive(Debug, Default)]
pub(super) struct SpaceRound {
    /// The relay was asked where the feed stands, and has not answered.
    pub(super) probe: Option<u64>,
    /// What must be durable here for the round to end.
    pub(super) pull_to: Option<Seq>,
    /// What was in the outbox when it was first read to its end in this round.
    pub(super) push_to: Option<OutboxSeq>,
}

impl Space {
    pub(super) fn new(id: SpaceId, position: Position, allowance: Option<u64>) -> Self {
        Self {
            id,
            stored: position.clone(),
            position,
            pull: Pull::Opening,
            refusal: None,
            work: VecDeque::new(),
            merging: None,
            seen: SeenFrames::default(),
            store_from: Seq::ZERO,
            compared: Seqs::default(),
            caught_up: 0,
            push: Push { allowance, ..Push::default() },
            round: SpaceRound::default(),
        }
    }

    /// Forgets what belongs to the last opening.
    pub(super) fn reopen(&mut self) {
        self.pull = Pull::Opening;
        self.refusal = None;
        self.seen = SeenFrames::default();
        self.caught_up = 0;
    }

    /// Up to where everything is durable here.
    pub(super) fn durable_seq(&self) -> Seq {
        self.stored.watermark.map_or(Seq::ZERO, |watermark| watermark.seq)
    }

    pub(super) fn seq(&self) -> Seq {
        self.position.watermark.map_or(Seq::ZERO, |watermark| watermark.seq)
    }

    /// The position as the driver may store it.
    pub(super) fn position_to_store(&self) -> Option<Position> {
        (self.seq() >= self.store_from).then(|| self.position.clone())
    }

    /// Takes the held entries that the position covers now.
    pub(super) fn covered(&mut self) -> Vec<OutboxSeq> {
        if self.position.cursor.is_some() || self.position_to_store().is_none() {
            return Vec::new();
        }
        let seq = self.seq();
        self.push.held.extract_if(.., |(_, at)| *at <= seq).map(|(entry, _)| entry).collect()
    }

    /// Whether nothing waits to be stored.
    pub(super) fn is_stored(&self) -> bool {
        self.work.is_empty() && self.merging.is_none()
    }

    pub(super) fn timeout(&self) -> Option<Time> {
        let pull = match self.pull {
            Pull::Failed { retry_at, .. } if self.is_stored() => retry_at,
            _ => None,
        };
        [pull, self.seen.tell_at, self.push.retry_at].into_iter().flatten().min()
    }
}
