//! From the outbox to the relay, within the window, and what becomes of it.

use headwater_storage::{ChangeRecord, OutboxEntry, OutboxSeq, Position, Refusal, SpaceId};

use super::space::{InFlight, Pull, Pushed, Work};
use super::{ClientSession, Direction, Fatal, Mode, Output, Phase};
use crate::sync::Time;
use crate::wire::{Ack, AckResult, ErrorCode, FRAME_OVERHEAD_BYTES, Frame, Retry, encoded_entry_bytes};

impl ClientSession {
    pub(super) fn local_commit(&mut self, id: SpaceId) {
        if let Some(space) = self.space_index(id).and_then(|index| self.spaces.get_mut(index)) {
            space.push.exhausted = false;
            space.push.committed = space.push.reading;
        }
    }

    /// Sends what the window has room for, and asks for more of the outbox.
    pub(super) fn push_on(&mut self, index: usize) {
        if self.phase != Phase::Ready || self.config.direction == Direction::Pull {
            return;
        }
        let Some(space) = self.spaces.get_mut(index) else { return };
        let settled = matches!(space.pull, Pull::Current | Pull::Failed { opened: true, .. });
        space.push.begun |= settled && space.is_stored();
        // A comparison pushes what is missing itself; until it is over, the outbox could depend on what the relay lacks.
        let open = matches!(space.pull, Pull::CatchingUp | Pull::Current | Pull::Failed { opened: true, .. });
        if !space.push.begun || !open {
            return;
        }
        if space.push.restart && space.push.in_flight.is_empty() && !space.push.reading {
            space.push.restart = false;
            space.push.refused_for_now = false;
            let unsent = space.push.ready.len() as u64;
            space.push.ready.clear();
            space.push.held.clear();
            space.push.allowance = space.push.allowance.map(|allowance| allowance.saturating_add(unsent));
            space.push.read_to = OutboxSeq::ZERO;
            space.push.exhausted = false;
        }
        self.send_ready(index);
        self.read_outbox(index);
        self.pull_what_covers(index);
    }

    pub(super) fn outbox_read(&mut self, id: SpaceId, entries: Vec<OutboxEntry>, exhausted: bool) {
        let payload_bytes_max = self.limits.payload_bytes_max();
        let Some(index) = self.space_index(id) else { return };
        let Some(space) = self.spaces.get_mut(index) else { return };
        if !std::mem::take(&mut space.push.reading) {
            return;
        }
        let count = entries.len() as u64;
        space.push.allowance = space.push.allowance.map(|allowance| allowance.saturating_sub(count));
        space.push.exhausted = exhausted && !std::mem::take(&mut space.push.committed);
        let mut refused = Vec::new();
        for entry in entries {
            if entry.seq <= space.push.read_to {
                continue;
            }
            space.push.read_to = entry.seq;
            let bytes = entry.record.payload.len() as u64;
            if bytes > payload_bytes_max {
                let message = format!("{bytes} bytes, where the relay takes {payload_bytes_max}");
                refused.push((entry.seq, Refusal { code: ErrorCode::ChangeTooLarge.number(), message }));
            } else {
                space.push.ready.push_back(entry);
            }
        }
        if exhausted && space.round.push_to.is_none() {
            space.round.push_to = Some(space.push.read_to);
        }
        if !refused.is_empty() {
            self.round.tally.rejected += refused.len() as u64;
            self.queue(index, Work::Acknowledge { acknowledged: Vec::new(), refused, position: None });
        }
    }

    pub(super) fn acknowledged(&mut self, now: Time, ack: Ack) -> Result<(), Fatal> {
        let retry_after_ms = self.config.retry_after_ms;
        let push_only = self.config.direction == Direction::Push;
        let index = self.known_space(ack.space)?;
        let Some(space) = self.spaces.get_mut(index) else { return Ok(()) };
        let Some(in_flight) = space.push.in_flight.remove(&ack.push_id) else {
            return Err(Fatal::new(ErrorCode::UnexpectedFrame, "an Ack for no push"));
        };
        self.pushed_bytes = self.pushed_bytes.saturating_sub(in_flight.frame_bytes);
        self.pushes = self.pushes.saturating_sub(1);
        let seqs = match in_flight.content {
            Pushed::Outbox(seqs) => seqs,
            Pushed::Compared(entities) => return self.compared_acknowledged(index, &entities, ack),
        };
        if seqs.len() != ack.results.len() {
            return Err(Fatal::new(ErrorCode::MalformedFrame, "an Ack that does not fit its push"));
        }
        // A watermark counts only as long as every change before it was, or will be, merged.
        let pulls = matches!(space.pull, Pull::Current | Pull::CatchingUp);
        // A cursor that an Ack gave says nothing of a catch-up under way; any other does.
        let catches_up = space.position.cursor.is_some() && space.position.cursor != space.push.cursor;
        let moves = |seq| !catches_up && seq > space.seq();
        let watermark = ack.watermark.filter(|watermark| pulls && moves(watermark.seq));
        let mut position = None;
        if let Some(watermark) = watermark {
            space.position = Position { watermark: Some(watermark), cursor: None };
            position = space.position_to_store();
        }
        // Without a pull, now or later, no watermark will ever cover what is pushed.
        let pull_is_over = matches!(space.pull, Pull::Failed { retry_at: None, .. } | Pull::Refused);
        let holds = !push_only && !pull_is_over && !cfg!(bug = "acknowledged-is-forgotten");
        let mut pushed = 0;
        let mut acknowledged = Vec::with_capacity(seqs.len());
        let mut refused = Vec::new();
        let mut refused_for_now = None;
        for (seq, result) in seqs.into_iter().zip(ack.results) {
            match result {
                AckResult::Accepted(at) | AckResult::Duplicate(at) => {
                    pushed += 1;
                    // What a comparison pushed is counted, and so is what was acknowledged before and stayed in the outbox.
                    if self.counted.insert((space.id, seq)) && !space.compared.contains(at) {
                        self.round.tally.pushed += 1;
                    }
                    if holds { space.push.held.push((seq, at)) } else { acknowledged.push(seq) }
                }
                AckResult::Refused { .. } if cfg!(bug = "refused-counts-as-accepted") => {
                    acknowledged.push(seq)
                }
                AckResult::Refused { code, retry: Retry::Never, message } => {
                    refused.push((seq, Refusal { code: code.number(), message }));
                }
                AckResult::Refused { code, retry: Retry::Later, message } => {
                    if code == ErrorCode::MissingDeps {
                        // A change whose dependencies were refused for good will lack them for good.
                        self.round.tally.rejected += 1;
                    } else {
                        refused_for_now.get_or_insert((code, message));
                    }
                    space.push.refused_for_now = true;
                    space.push.retry_at.get_or_insert(now.after_ms(retry_after_ms));
                }
            }
        }
        if !holds && pushed > 0 && watermark.is_none() && space.stored != Position::nowhere() {
            // The relay may be restored to before this push; the cursor is of no use then, and the heads are compared.
            space.position = match ack.cursor {
                Some(cursor) => Position { watermark: space.stored.watermark, cursor: Some(cursor) },
                // The relay counts on merges that failed here.
                None => Position::nowhere(),
            };
            space.push.cursor.clone_from(&space.position.cursor);
            position = Some(space.position.clone());
        }
        acknowledged.extend(space.covered());
        self.round.tally.rejected += refused.len() as u64;
        tracing::debug!(
            space = %ack.space, push = ack.push_id, acknowledged = pushed, refused = refused.len(),
            later = refused_for_now.is_some(), "a push was answered"
        );
        if let Some((code, message)) = refused_for_now {
            self.error(Some(ack.space), code, message, Retry::Later);
        }
        if position.is_some() || !acknowledged.is_empty() || !refused.is_empty() {
            self.queue(index, Work::Acknowledge { acknowledged, refused, position });
        }
        Ok(())
    }

    /// Sends one push, if the window has room for it. Gives the entries back if not.
    pub(super) fn transmit_push(
        &mut self,
        index: usize,
        entries: Vec<ChangeRecord>,
        content: Pushed,
    ) -> Result<(), (Vec<ChangeRecord>, Pushed)> {
        let expected: u64 = entries.iter().map(encoded_entry_bytes).sum::<u64>() + FRAME_OVERHEAD_BYTES;
        let Some(space) = self.spaces.get(index).map(|space| space.id) else {
            return Err((entries, content));
        };
        if !has_room(self.pushes, self.pushed_bytes, expected, &self.limits) {
            return Err((entries, content));
        }
        self.next_push_id += 1;
        let push_id = self.next_push_id;
        let changes = entries.len();
        let push = Frame::Push(crate::wire::Push { space, push_id, entries });
        let frame_bytes = self.transmit_encoded(&push.encode());
        tracing::debug!(%space, push = push_id, changes, bytes = frame_bytes, "pushed");
        self.pushed_bytes += frame_bytes;
        self.pushes += 1;
        if let Some(space) = self.spaces.get_mut(index) {
            space.push.in_flight.insert(push_id, InFlight { frame_bytes, content });
        }
        Ok(())
    }

    /// A session that does not follow the feed gets what lies between its position and its own pushes by opening again.
    fn pull_what_covers(&mut self, index: usize) {
        let once = self.config.mode == Mode::Once;
        let Some(space) = self.spaces.get(index) else { return };
        let pushed = space.push.in_flight.is_empty() && space.push.ready.is_empty() && !space.push.reading;
        let held = !space.push.held.is_empty();
        if once && held && pushed && matches!(space.pull, Pull::Current) && space.is_stored() {
            self.open(index);
        }
    }

    fn send_ready(&mut self, index: usize) {
        let (changes_max, bytes_max) =
            (self.limits.push_changes_max, self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES));
        loop {
            let (pushes, pushed_bytes, limits) = (self.pushes, self.pushed_bytes, self.limits);
            let Some(space) = self.spaces.get_mut(index) else { return };
            let mut bytes = 0;
            let mut count = 0;
            for entry in &space.push.ready {
                bytes += encoded_entry_bytes(&entry.record);
                if count > 0 && (count as u64 >= changes_max || bytes > bytes_max) {
                    bytes -= encoded_entry_bytes(&entry.record);
                    break;
                }
                count += 1;
            }
            if count == 0 || !has_room(pushes, pushed_bytes, bytes + FRAME_OVERHEAD_BYTES, &limits) {
                return;
            }
            let portion = space.push.ready.drain(..count);
            let (seqs, entries) = portion.map(|entry| (entry.seq, entry.record)).unzip();
            if self.transmit_push(index, entries, Pushed::Outbox(seqs)).is_err() {
                return;
            }
        }
    }

    fn read_outbox(&mut self, index: usize) {
        let entries_max = self.limits.push_changes_max;
        let bytes_max = self.limits.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES);
        let Some(space) = self.spaces.get_mut(index) else { return };
        let push = &mut space.push;
        if push.reading || push.exhausted || !push.ready.is_empty() || push.restart {
            return;
        }
        let entries_max = push.allowance.map_or(entries_max, |allowance| allowance.min(entries_max));
        if entries_max == 0 {
            // What this connection may push is pushed; the rest stays for the next one.
            if space.round.push_to.is_none() {
                space.round.push_to = Some(push.read_to);
            }
            return;
        }
        push.reading = true;
        push.committed = false;
        let output = Output::ReadOutbox {
            space: space.id,
            after: push.read_to,
            entries_max: usize::try_from(entries_max).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        };
        self.outputs.push_back(output);
    }
}

/// Whether a push of so many bytes may go out. One always may, so that nothing stops for good.
fn has_room(pushes: u64, pushed_bytes: u64, bytes: u64, limits: &crate::wire::Limits) -> bool {
    pushes == 0
        || (pushes < limits.in_flight_pushes_max && pushed_bytes + bytes <= limits.in_flight_bytes_max)
}
