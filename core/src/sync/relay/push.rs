//! From the client to the feed: a push, the append that the driver makes of it, and the acknowledgement.

use headwater_storage::{Appended, ChangeRecord, Placement, SpaceId, cursor_beyond};

use super::space::{Flow, PendingPush};
use super::{Fatal, Output, RelaySession};
use crate::wire::{Ack, AckResult, ErrorCode, Frame, Push};

impl RelaySession {
    pub(super) fn push(&mut self, push: Push, frame_bytes: u64) -> Result<(), Fatal> {
        if self.opened(push.space).is_none() {
            self.not_open(push.space);
            return Ok(());
        }
        self.pushed_bytes += frame_bytes;
        self.pushes += 1;
        if self.pushed_bytes > self.limits.in_flight_bytes_max
            || self.pushes > self.limits.in_flight_pushes_max
        {
            return Err(Fatal::new(ErrorCode::FlowControl, "more is pushed than the window allows"));
        }
        let (limits, draining) = (self.limits, self.draining);
        let Some(space) = self.opened(push.space) else { return Ok(()) };
        if space.pushes.contains_key(&push.push_id) {
            return Err(Fatal::new(ErrorCode::UnexpectedFrame, "two pushes with one number"));
        }
        let mut results = Vec::with_capacity(push.entries.len());
        let mut entries: Vec<ChangeRecord> = Vec::with_capacity(push.entries.len());
        for record in push.entries {
            if draining {
                results.push(Some(refused(ErrorCode::Draining, "the relay drains".to_owned())));
            } else if record.payload.len() as u64 > limits.payload_bytes_max() {
                let message = format!(
                    "{} bytes, where {} are allowed",
                    record.payload.len(),
                    limits.payload_bytes_max()
                );
                results.push(Some(refused(ErrorCode::ChangeTooLarge, message)));
            } else {
                results.push(None);
                entries.push(record);
            }
        }
        let pending = PendingPush { bytes: frame_bytes, results, entries: entries.clone() };
        space.pushes.insert(push.push_id, pending);
        if entries.is_empty() {
            return self.appended(push.space, push.push_id, None, Vec::new());
        }
        self.outputs.push_back(Output::Append { space: push.space, push_id: push.push_id, entries });
        Ok(())
    }

    pub(super) fn appended(
        &mut self,
        id: SpaceId,
        push_id: u64,
        appended: Option<&Appended>,
        checks: Vec<(usize, ErrorCode, String)>,
    ) -> Result<(), Fatal> {
        let Some(space) = self.space_mut(id) else { return Ok(()) };
        let Some(pending) = space.pushes.remove(&push_id) else { return Ok(()) };
        let results = settle(pending.results, appended, checks)
            .ok_or_else(|| Fatal::new(ErrorCode::Internal, "the store's receipt does not fit the push"))?;
        let (sent_seq, sent_cursor) = (space.sent_seq(), space.sent.cursor.clone());
        let mut watermark = None;
        if let Some(appended) = appended {
            space.head = space.head.max(appended.head().seq);
            let follows = matches!(space.flow, Flow::Live | Flow::Still | Flow::Comparing);
            // Only what comes right behind the client's position may move it: anything of others in between must be sent first.
            if follows
                && appended.head().seq > appended.before().seq
                && (space.continues_at(&appended.before()) || cfg!(bug = "ack-skips-others"))
            {
                space.advance(appended.head());
                watermark = Some(appended.head());
            }
        }
        let taken = pending.entries.into_iter().zip(&results).filter(|(_, result)| is_durable(result));
        let taken: Vec<ChangeRecord> = taken.map(|(record, _)| record).collect();
        space.comparing.learn(&taken);
        self.pushed_bytes = self.pushed_bytes.saturating_sub(pending.bytes);
        self.pushes = self.pushes.saturating_sub(1);
        let cursor = match (watermark, appended) {
            (None, Some(appended)) => Some(cursor_beyond(sent_seq, sent_cursor.as_deref(), &appended.head())),
            _ => None,
        };
        self.transmit(&Frame::Ack(Ack { space: id, push_id, results, watermark, cursor }));
        self.compare_on(id);
        self.close_if_drained();
        Ok(())
    }

    pub(super) fn append_failed(&mut self, id: SpaceId, push_id: u64) -> Result<(), Fatal> {
        let entries = self
            .space_mut(id)
            .and_then(|space| space.pushes.get(&push_id))
            .map_or(0, |pending| pending.entries.len());
        let message = "the store cannot be written";
        let checks =
            (0..entries).map(|index| (index, ErrorCode::StoreUnavailable, message.to_owned())).collect();
        self.appended(id, push_id, None, checks)
    }
}

/// Puts the results together: what the session refused, what the checks refused, and what the store's receipt says. An
/// accepted change can only come from the receipt. `None` if they do not fit together.
fn settle(
    results: Vec<Option<AckResult>>,
    appended: Option<&Appended>,
    checks: Vec<(usize, ErrorCode, String)>,
) -> Option<Vec<AckResult>> {
    let mut placements = appended.map(Appended::placements).unwrap_or_default().iter();
    let mut checks = checks.into_iter().peekable();
    let mut index = 0;
    let mut settled = Vec::with_capacity(results.len());
    for result in results {
        if let Some(result) = result {
            settled.push(result);
            continue;
        }
        let result = match checks.next_if(|(refused_at, _, _)| *refused_at == index) {
            Some((_, code, message)) => refused(code, message),
            None => placed(placements.next()?),
        };
        index += 1;
        settled.push(result);
    }
    (placements.next().is_none() && checks.next().is_none()).then_some(settled)
}

fn placed(placement: &Placement) -> AckResult {
    match placement {
        Placement::Accepted(seq) => AckResult::Accepted(*seq),
        Placement::Duplicate(seq) => AckResult::Duplicate(*seq),
        Placement::MissingDeps(deps) => {
            let first = deps.first().map(ToString::to_string).unwrap_or_default();
            refused(ErrorCode::MissingDeps, format!("{} dependencies are missing, first {first}", deps.len()))
        }
        Placement::Quarantined { hash, reason } => {
            refused(ErrorCode::Quarantined, format!("{hash} is in quarantine: {}", reason.message))
        }
        Placement::Misnumbered { expected } => {
            refused(ErrorCode::NumberTaken, format!("the next change of its actor has number {expected}"))
        }
        Placement::TooFarAhead { first_op_max } => refused(
            ErrorCode::ChangeInvalid,
            format!("its operations are numbered from beyond {first_op_max}"),
        ),
        Placement::OtherCollection(held) => {
            refused(ErrorCode::WrongCollection, format!("the entity is in the collection {held}"))
        }
        // Only the relay itself makes verdicts.
        Placement::Stale => refused(ErrorCode::Internal, "the entity has changed since".to_owned()),
    }
}

fn refused(code: ErrorCode, message: String) -> AckResult {
    AckResult::Refused { code, retry: code.retry(), message }
}

fn is_durable(result: &AckResult) -> bool {
    matches!(result, AckResult::Accepted(_) | AckResult::Duplicate(_))
}
