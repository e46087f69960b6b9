//! A round: from the first catch-up, or from a call for one, until both sides are even.

use headwater_storage::Seq;

use super::space::{Pull, Space, SpaceRound};
use super::{ClientSession, Direction, Event, Mode, Phase, SessionState, Tally};
use crate::wire::{ErrorCode, Frame, Head, Probe};

/// The round that is under way, and what it has done so far.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) running: bool,
    /// Another round was called for after this one.
    pub(super) again: bool,
    pub(super) tally: Tally,
    /// The first error.
    pub(super) failed: Option<(ErrorCode, String)>,
}

impl Default for Round {
    fn default() -> Self {
        Self { running: true, again: false, tally: Tally::default(), failed: None }
    }
}

impl ClientSession {
    pub(super) fn sync_now(&mut self) {
        if self.round.running {
            // What is under way may have looked at one side before the caller's changes were there.
            self.round.again = true;
            return;
        }
        self.round.running = true;
        for index in 0..self.spaces.len() {
            self.begin_round(index);
        }
    }

    pub(super) fn head_is(&mut self, head: &Head) {
        let Some(space) = self.space_index(head.space).and_then(|index| self.spaces.get_mut(index)) else {
            return;
        };
        if space.round.probe.take_if(|nonce| *nonce == head.nonce).is_some() {
            space.round.pull_to = Some(head.watermark.map_or(Seq::ZERO, |watermark| watermark.seq));
        }
    }

    /// Ends the round if every space is even. Says whether another one began.
    pub(super) fn finish_round(&mut self) -> bool {
        let direction = self.config.direction;
        if self.phase != Phase::Ready || !self.round.running {
            return false;
        }
        if !self.spaces.iter().all(|space| space.is_even(direction)) {
            return false;
        }
        let Round { again, tally, failed, .. } = std::mem::take(&mut self.round);
        self.round.running = false;
        for space in &mut self.spaces {
            space.round = SpaceRound::default();
        }
        if !again {
            // Before the report: whoever waits for that looks at the state next.
            self.tell_state();
        }
        let Tally { pushed, pulled, rejected } = tally;
        tracing::debug!(pushed, pulled, rejected, failed = failed.is_some(), "the round is over");
        self.event(Event::Report { tally, failed });
        if again {
            self.sync_now();
        } else if self.config.mode == Mode::Once {
            self.done();
        }
        again
    }

    pub(super) fn tell_state(&mut self) {
        let state = match self.phase {
            Phase::Greeting { .. } => SessionState::Connecting,
            Phase::Closed => return,
            Phase::Ready if self.round.running || self.spaces.iter().any(Space::is_busy) => {
                SessionState::Syncing
            }
            Phase::Ready => self.rest(),
        };
        if state != self.state {
            self.state = state;
            self.event(Event::StateChanged(state));
        }
    }

    /// The state when nothing is under way.
    fn rest(&self) -> SessionState {
        let mut rest = SessionState::UpToDate;
        for space in &self.spaces {
            match space.pull {
                _ if cfg!(bug = "failed-counts-as-even") => {}
                Pull::Refused | Pull::Failed { retry_at: None, .. } => return SessionState::Blocked,
                Pull::Failed { .. } => rest = SessionState::Waiting,
                _ if space.push.refused_for_now => rest = SessionState::Waiting,
                _ => {}
            }
        }
        rest
    }

    fn begin_round(&mut self, index: usize) {
        self.next_nonce += 1;
        let nonce = self.next_nonce;
        let push_only = self.config.direction == Direction::Push;
        let Some(space) = self.spaces.get_mut(index) else { return };
        space.round = SpaceRound::default();
        space.push.allowance = self.config.push_changes_max;
        if space.push.refused_for_now {
            space.push.restart = true;
        }
        // The outbox is read again even if it was empty: a commit may be ahead of the news of it.
        space.push.exhausted = false;
        match space.pull {
            Pull::Current if !push_only => {
                space.round.probe = Some(nonce);
                let probe = Probe { space: space.id, nonce };
                self.transmit(&Frame::Probe(probe));
            }
            Pull::Failed { .. } if space.is_stored() => self.open(index),
            _ => {}
        }
    }
}

impl Space {
    /// Whether this space has nothing left to do in this round.
    fn is_even(&self, direction: Direction) -> bool {
        let pulled = match &self.pull {
            Pull::Refused => return true,
            Pull::Failed { opened: false, .. } => return self.is_stored(),
            Pull::Failed { .. } => true,
            Pull::Current => {
                self.round.probe.is_none() && self.round.pull_to.is_none_or(|seq| self.durable_seq() >= seq)
            }
            Pull::Opening | Pull::CatchingUp | Pull::Comparing(_) => cfg!(bug = "catching-up-counts-as-even"),
        };
        let pushed = direction == Direction::Pull
            || self.round.push_to.is_some_and(|last| {
                let ready = self.push.ready.front().is_some_and(|entry| entry.seq <= last);
                let in_flight = self.push.in_flight.values().any(|push| push.holds_up_to(last));
                // While the pull fails nothing can be covered; that error was reported.
                let covers = !matches!(self.pull, Pull::Failed { .. });
                let held = covers && self.push.held.iter().any(|(entry, _)| *entry <= last);
                !ready && !in_flight && !held && !self.push.restart
            });
        pulled && pushed && self.is_stored()
    }

    /// Whether something is under way that an app would show.
    fn is_busy(&self) -> bool {
        let pulls = matches!(self.pull, Pull::Opening | Pull::CatchingUp | Pull::Comparing(_));
        pulls || !self.push.in_flight.is_empty() || !self.push.ready.is_empty()
    }
}

impl super::space::InFlight {
    fn holds_up_to(&self, last: headwater_storage::OutboxSeq) -> bool {
        match &self.content {
            super::space::Pushed::Outbox(seqs) => seqs.first().is_some_and(|first| *first <= last),
            super::space::Pushed::Compared(_) => true,
        }
    }
}
