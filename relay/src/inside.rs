//! Pushes from inside: what the relay itself has to say of an entity, a verdict most often, goes through the space's actor like every
//! push.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater::document::{Culprit, HEADS_MAX, highest_operation};
use headwater::ingest::Verdict;
use headwater::wire::ErrorCode;
use headwater_storage::{
    Appended, ChangeHash, ChangeRecord, DamagedRow, DeviceId, EntityHeads, Judgement, PayloadKind, Placement,
    Pusher, Refusal, Seq, SpaceId,
};

use crate::contents::Contents;
use crate::hub::Hub;
use crate::space::{Delivery, Entries, Inbox, Mail, Message, Push};

/// How long whoever was told that the entity has changed waits before looking at it again. The store may be
/// failing, too.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What a verdict says. Only what an examination found and repeated takes a change from anybody.
pub(crate) enum Word {
    /// Everybody leaves these out. The entity has `heads` without them.
    Quarantine { culprits: Vec<Culprit>, heads: Vec<ChangeHash> },
    /// Everybody takes this one in again. The entity has `heads` with it.
    Release { hash: ChangeHash, heads: Vec<ChangeHash> },
    /// The disk has damaged these rows: whoever has their changes is asked for them.
    Lost(Vec<DamagedRow>),
}

impl Word {
    /// As it is stored, about an entity whose last change or verdict is at `last`.
    fn judgement(self, last: Seq) -> Judgement {
        match self {
            Word::Quarantine { culprits, heads } => {
                let quarantined = culprits.iter().map(|culprit| (culprit.hash(), reason(culprit))).collect();
                Judgement { quarantined, ..Judgement::of(last, heads) }
            }
            Word::Release { hash, heads } => Judgement { released: vec![hash], ..Judgement::of(last, heads) },
            // Without heads the entity differs from every replica's copy, so that whoever compares sends what
            // is missing.
            Word::Lost(damaged) => Judgement { damaged, ..Judgement::of(last, Vec::new()) },
        }
    }
}

fn reason(culprit: &Culprit) -> Refusal {
    Refusal { code: ErrorCode::ChangeInvalid.number(), message: culprit.reason() }
}

/// Makes the heads of an entity one, if they are too many for whoever edits it next.
pub(crate) async fn meet(hub: &Hub, space: SpaceId, contents: &Contents) {
    let EntityHeads { entity, collection, heads, .. } = &contents.state;
    if heads.len() <= HEADS_MAX {
        return;
    }
    let max_op = highest_operation(contents.sound.iter().map(|change| &change.payload));
    let changes = match headwater::document::meet(collection, heads, max_op) {
        Ok(changes) => changes,
        Err(error) => return tracing::error!(%space, %entity, %error, "its heads cannot be made one"),
    };
    let record = |(hash, payload)| {
        let collection = collection.clone();
        ChangeRecord { entity: *entity, collection, kind: PayloadKind::Change, hash, payload }
    };
    let entries = Entries::Changes(changes.into_iter().map(record).collect());
    if append(hub, space, entries).await.is_none() {
        tracing::warn!(%space, %entity, "its heads are not one yet; tried again when it changes");
    }
}

/// Puts a verdict into the feed. Says whether it is there: it is not if the entity has changed since `last`.
pub(crate) async fn judge(hub: &Hub, space: SpaceId, state: &EntityHeads, last: Seq, word: Word) -> bool {
    let judgement = word.judgement(last);
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let (quarantined, released) = (judgement.quarantined.clone(), judgement.released.clone());
    let record = Verdict { at_ms, quarantined, released }.record(state.entity, state.collection.clone());
    let appended = append(hub, space, Entries::Verdict(record, judgement)).await;
    appended.is_some_and(|appended| matches!(appended.placements(), [Placement::Accepted(_)]))
}

/// Appends what the relay itself has to say.
async fn append(hub: &Hub, space: SpaceId, entries: Entries) -> Option<Arc<Appended>> {
    // No connection has the number 0, and no device this id.
    let (answer, mut inbox) = Inbox::new(0);
    let (device, pusher) = (DeviceId::from_bytes([0; 16]), Pusher::default());
    let push = Push { connection: 0, device, pusher, push_id: 0, entries, answer };
    let actor = hub.space(space);
    actor.send(Mail::Push { push, actor: actor.clone() }).await.ok()?;
    match inbox.recv().await {
        Delivery::Message(Message::Appended(end)) => end.appended,
        _ => None,
    }
}
