//! From the relay to the replica: what was opened, changes, merges, and telling the relay what is durable.

use headwater_storage::{Position, Seq, SpaceId};

use super::compare::Compare;
use super::space::{Merging, Pace, Pull, Space, Step, Work};
use super::{ClientSession, Event, Fatal, Mode, Output};
use crate::sync::{Ticket, Time};
use crate::wire::{Changes, ErrorCode, Frame, Opened, OpenedStanding, Part, Retry, Seen};

/// Frames are merged together up to this size, so that a burst costs one transaction.
const MERGE_BYTES_MAX: u64 = 2 << 20;
/// Live frames after which the relay is told what is durable, at the latest.
const UNTOLD_FRAMES_MAX: u64 = 64;
/// The time after which the relay is told, in milliseconds.
const TELL_AFTER_MS: u64 = 500;

impl ClientSession {
    pub(super) fn opened(&mut self, now: Time, opened: &Opened) -> Result<(), Fatal> {
        let index = self.known_space(opened.space)?;
        let Some(space) = self.spaces.get_mut(index) else { return Ok(()) };
        if !matches!(space.pull, Pull::Opening) {
            return Err(Fatal::new(ErrorCode::UnexpectedFrame, "Opened for a space that is open"));
        }
        if opened.standing == OpenedStanding::Refused {
            let (retry, retry_after_ms) = space.refusal.take().unwrap_or((Retry::Later, None));
            self.pull_refused(now, index, retry, retry_after_ms);
            return Ok(());
        }
        let behind = opened.head.map_or(Seq::ZERO, |head| head.seq) > space.seq();
        let head = opened.head.map_or(0, |head| head.seq.get());
        tracing::debug!(space = %space.id, standing = ?opened.standing, here = space.seq().get(), head, "the space is open");
        space.pull = match opened.standing {
            OpenedStanding::Resume if self.config.direction == super::Direction::Push => Pull::Current,
            OpenedStanding::Resume if behind || space.position.cursor.is_some() => Pull::CatchingUp,
            OpenedStanding::Resume => Pull::Current,
            // A cursor without a watermark means that something was pushed to another feed.
            OpenedStanding::Empty if space.position == Position::default() => Pull::Current,
            OpenedStanding::Empty | OpenedStanding::Reconcile | OpenedStanding::Refused => {
                tracing::debug!(space = %space.id, "the feed is another one: comparing heads");
                space.push.restart = true;
                Pull::Comparing(Box::new(Compare::new(opened.head)))
            }
        };
        Ok(())
    }

    pub(super) fn changes(&mut self, now: Time, changes: Changes) -> Result<(), Fatal> {
        let index = self.known_space(changes.space)?;
        let Some(space) = self.spaces.get_mut(index) else { return Ok(()) };
        let compared = matches!(changes.part, Part::Reconcile | Part::FetchEnd);
        match &mut space.pull {
            // What was on its way when the space was opened again; the relay counts anew from there.
            Pull::Opening | Pull::Refused => return Ok(()),
            // It is not stored, but the relay's window must not fill up with it.
            Pull::Failed { .. } => {
                space.seen.frames += 1;
                space.seen.tell_at.get_or_insert(now.after_ms(TELL_AFTER_MS));
                return Ok(());
            }
            Pull::Comparing(compare) if compared => compare.learn(&changes),
            // What others do meanwhile comes after the comparison.
            Pull::Comparing(_) => {
                space.seen.frames += 1;
                return Ok(());
            }
            _ if compared => {
                return Err(Fatal::new(ErrorCode::UnexpectedFrame, "compared changes without a comparison"));
            }
            Pull::CatchingUp | Pull::Current => {}
        }
        let mut position = None;
        if !compared {
            space.position = next_position(space, &changes)?;
            position = space.position_to_store();
        } else if !changes.entries.is_empty() && !cfg!(bug = "comparison-keeps-position") {
            // From now on this replica holds what came from here. Should the comparison not come to its end, the feed that it
            // was even with before lacks that: its position there is worth nothing any more.
            position = Some(Position::nowhere());
        }
        let covered = space.covered();
        let id = space.id;
        let count = changes.entries.len() as u64;
        if matches!(changes.part, Part::Page | Part::LastPage) {
            space.caught_up += count;
            let progress = Event::Progress {
                space: id,
                done: space.caught_up,
                total: space.caught_up + changes.remaining,
            };
            if changes.part == Part::LastPage {
                tracing::debug!(space = %id, changes = space.caught_up, "caught up");
                space.pull = Pull::Current;
                space.caught_up = 0;
            } else {
                // A slow client drops from live back to pages.
                space.pull = Pull::CatchingUp;
            }
            self.event(progress);
        }
        let pace = if changes.part == Part::Live { Pace::Relaxed } else { Pace::Prompt };
        let bytes = changes.entries.iter().map(|entry| entry.payload.len() as u64).sum();
        let work =
            Work::Merge { entries: changes.entries, bytes, position, frames: 1, pace, step: Step::None };
        self.queue(index, work);
        if !covered.is_empty() {
            let work = Work::Acknowledge { acknowledged: covered, refused: Vec::new(), position: None };
            self.queue(index, work);
        }
        Ok(())
    }

    /// Puts work behind what waits, together with it where that makes one transaction of two.
    pub(super) fn queue(&mut self, index: usize, work: Work) {
        let Some(space) = self.spaces.get_mut(index) else { return };
        match (space.work.back_mut(), work) {
            (
                Some(Work::Merge { entries, bytes, position, frames, pace, step: Step::None }),
                Work::Merge {
                    entries: more,
                    bytes: more_bytes,
                    position: further,
                    frames: more_frames,
                    pace: more_pace,
                    step: Step::None,
                },
            ) if *bytes + more_bytes <= MERGE_BYTES_MAX => {
                entries.extend(more);
                *bytes += more_bytes;
                *position = further.or(position.take());
                *frames += more_frames;
                if more_pace == Pace::Prompt {
                    *pace = Pace::Prompt;
                }
            }
            (
                Some(Work::Acknowledge { acknowledged, refused, position }),
                Work::Acknowledge { acknowledged: more, refused: more_refused, position: further },
            ) => {
                acknowledged.extend(more);
                refused.extend(more_refused);
                *position = further.or(position.take());
            }
            (_, work) => space.work.push_back(work),
        }
        self.work_on(index);
    }

    /// Hands waiting work to the driver, up to and including the next merge.
    pub(super) fn work_on(&mut self, index: usize) {
        loop {
            let next_ticket = Ticket(self.next_ticket + 1);
            let Some(space) = self.spaces.get_mut(index) else { return };
            if space.merging.is_some() {
                return;
            }
            match space.work.pop_front() {
                None => return,
                Some(Work::Acknowledge { acknowledged, refused, position }) => {
                    if let Some(position) = &position {
                        space.stored = position.clone();
                    }
                    for entry in &acknowledged {
                        self.counted.remove(&(space.id, *entry));
                    }
                    let output = Output::Acknowledge { space: space.id, acknowledged, refused, position };
                    self.outputs.push_back(output);
                }
                Some(Work::Merge { entries, bytes, position, frames, pace, step }) => {
                    self.next_ticket += 1;
                    space.merging = Some(Merging {
                        ticket: next_ticket,
                        position: position.clone(),
                        frames,
                        bytes,
                        pace,
                        step,
                    });
                    let output = Output::Merge { space: space.id, ticket: next_ticket, entries, position };
                    self.outputs.push_back(output);
                }
            }
        }
    }

    pub(super) fn merged(&mut self, now: Time, id: SpaceId, ticket: Ticket, pulled: u64, set_aside: u64) {
        let Some(index) = self.space_index(id) else { return };
        let Some(space) = self.spaces.get_mut(index) else { return };
        let Some(merging) = space.merging.take_if(|merging| merging.ticket == ticket) else { return };
        self.round.tally.pulled += pulled;
        self.round.tally.rejected += set_aside;
        if let Some(position) = merging.position {
            space.stored = position;
        }
        if merging.step == Step::CompareEnd {
            tracing::debug!(space = %id, "the comparison with the relay is over");
            self.work_on(index);
            self.open(index);
            return;
        }
        space.seen.frames += merging.frames;
        space.seen.bytes_untold += merging.bytes;
        let untold = space.seen.frames - space.seen.told;
        let window = self.limits.in_flight_bytes_max;
        if untold > 0 {
            let at_once = merging.pace == Pace::Prompt
                || untold >= UNTOLD_FRAMES_MAX
                || space.seen.bytes_untold >= window / 8;
            if at_once {
                self.tell_seen(index);
            } else {
                space.seen.tell_at.get_or_insert(now.after_ms(TELL_AFTER_MS));
            }
        }
        self.work_on(index);
    }

    pub(super) fn merge_failed(
        &mut self,
        now: Time,
        id: SpaceId,
        ticket: Ticket,
        reason: String,
        retry: Retry,
    ) {
        let Some(index) = self.space_index(id) else { return };
        let Some(space) = self.spaces.get_mut(index) else { return };
        let Some(merging) = space.merging.take_if(|merging| merging.ticket == ticket) else { return };
        space.seen.frames += merging.frames;
        // Everything behind the failed merge must not move the position past it, and what it would have covered is not.
        space.work.retain_mut(|work| match work {
            Work::Merge { frames, .. } => {
                space.seen.frames += *frames;
                false
            }
            Work::Acknowledge { refused, position, .. } => {
                *position = None;
                !refused.is_empty()
            }
        });
        space.position = space.stored.clone();
        space.push.restart = true;
        tracing::warn!(space = %id, reason, "a merge failed");
        self.pull_refused(now, index, retry, None);
        self.error(Some(id), ErrorCode::StoreUnavailable, reason, retry);
        self.work_on(index);
    }

    /// The pull of a space failed, here or at the relay.
    pub(super) fn pull_refused(
        &mut self,
        now: Time,
        index: usize,
        retry: Retry,
        retry_after_ms: Option<u64>,
    ) {
        let retry_after_ms = retry_after_ms.unwrap_or(self.config.retry_after_ms).max(100);
        let live = self.config.mode == Mode::Live;
        let Some(space) = self.spaces.get_mut(index) else { return };
        let opened =
            !matches!(space.pull, Pull::Opening | Pull::Refused | Pull::Failed { opened: false, .. });
        space.seen.tell_at = None;
        space.round.probe = None;
        space.round.pull_to = None;
        space.pull = match retry {
            Retry::Never if !opened => Pull::Refused,
            Retry::Never => Pull::Failed { opened, retry_at: None },
            Retry::Later => Pull::Failed { opened, retry_at: live.then(|| now.after_ms(retry_after_ms)) },
        };
    }

    /// A comparison went through, but the relay could not take all of it.
    pub(super) fn compare_incomplete(&mut self, now: Time, index: usize) {
        let Some(space) = self.spaces.get_mut(index) else { return };
        let id = space.id;
        self.pull_refused(now, index, Retry::Later, None);
        let message = "the relay could not take everything that it lacks".to_owned();
        self.error(Some(id), ErrorCode::StoreUnavailable, message, Retry::Later);
    }

    pub(super) fn space_timeout(&mut self, now: Time, index: usize) {
        let Some(space) = self.spaces.get_mut(index) else { return };
        if space.push.retry_at.is_some_and(|at| now >= at) {
            space.push.retry_at = None;
            space.push.restart = true;
        }
        if space.seen.tell_at.is_some_and(|at| now >= at) {
            self.tell_seen(index);
        }
        let Some(space) = self.spaces.get_mut(index) else { return };
        if let Pull::Failed { retry_at: Some(at), .. } = space.pull
            && now >= at
            && space.is_stored()
        {
            self.open(index);
        }
    }

    fn tell_seen(&mut self, index: usize) {
        let Some(space) = self.spaces.get_mut(index) else { return };
        space.seen.told = space.seen.frames;
        space.seen.bytes_untold = 0;
        space.seen.tell_at = None;
        let seq = space.durable_seq();
        let seen = Seen { space: space.id, frames: space.seen.frames, seq };
        self.transmit(&Frame::Seen(seen));
    }
}

/// Where `space` is once it has stored `changes`. They must go on exactly where it is.
fn next_position(space: &Space, changes: &Changes) -> Result<Position, Fatal> {
    let gap = |message: String| Fatal::new(ErrorCode::GapInFeed, message);
    let seq = space.seq();
    if let Some(first) = changes.first
        && first != seq.next()
    {
        return Err(gap(format!("changes from {first} after {seq}")));
    }
    match (changes.watermark, &changes.cursor) {
        (Some(watermark), _) => {
            let least = seq.get().saturating_add(if changes.first.is_some() {
                changes.entries.len() as u64
            } else {
                0
            });
            let known = space.position.watermark;
            let is_exact =
                changes.first.is_none() || changes.entries.is_empty() || watermark.seq.get() == least;
            if watermark.seq.get() < least
                || !is_exact
                || known.is_some_and(|known| known.epoch != watermark.epoch)
            {
                return Err(gap(format!("a position of {} after {seq}", watermark.seq)));
            }
            Ok(Position { watermark: Some(watermark), cursor: None })
        }
        (None, Some(cursor)) => {
            Ok(Position { watermark: space.position.watermark, cursor: Some(cursor.clone()) })
        }
        (None, None) => Err(gap("changes without a position".to_owned())),
    }
}
