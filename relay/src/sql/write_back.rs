//! Write-back: edits made with SQL become changes that merge.
//!
//! An edit stands in the inbox with the heads that its author saw. The change is made on exactly that state, so it merges with
//! whatever devices have done since as any other concurrent change does. Nothing but the edit goes into it, so that a relay that
//! makes it a second time, after a crash or beside another one, makes the same change, which the feed knows by then.

use std::collections::{BTreeMap, HashMap};

use futures_util::stream::{self, StreamExt};
use headwater::document::{ACTOR_BYTES, OutsideEdit, OutsideError, OutsideKind, edit_outside};
use headwater_storage::sql::inbox::{InboxEntry, InboxKind, Settled, inbox, settle};
use headwater_storage::{
    ChangeHash, ChangeRecord, CollectionName, DeviceId, EntityId, PayloadKind, Placement, PostgresFeed,
    Pusher, Refusal, SpaceId, StoreError,
};
use uuid::Uuid;

use super::{Failed, Lease};
use crate::contents::Contents;
use crate::space::{Delivery, Entries, Inbox, Mail, Message, Push};
use crate::state::Relay;

/// How long an edit waits for changes that it builds on and that the feed does not have.
const WAIT_MS_MAX: i64 = 60 * 60 * 1000;
/// Edits taken at once.
const EDITS_AT_ONCE: u32 = 512;
/// Entities worked on at the same time: their changes share commits.
const ENTITIES_AT_ONCE: usize = 32;

/// Empties the inbox.
pub(super) async fn run(relay: &Relay, database: &PostgresFeed, lease: &mut Lease) -> Result<(), Failed> {
    loop {
        let entries = inbox(&database.client().await?, EDITS_AT_ONCE).await?;
        if entries.is_empty() || !lease.hold(database).await? {
            return Ok(());
        }
        let mut by_entity: BTreeMap<(SpaceId, EntityId), Vec<InboxEntry>> = BTreeMap::new();
        for entry in entries {
            by_entity.entry((entry.space, entry.entity)).or_default().push(entry);
        }
        let chains = by_entity.into_values().map(|entries| of_entity(relay, database, entries));
        let mut working = stream::iter(chains).buffer_unordered(ENTITIES_AT_ONCE);
        let mut settled = 0;
        while let Some(one) = working.next().await {
            match one {
                Ok(count) => settled += count,
                Err(error) => tracing::warn!(%error, "edits from SQL wait; tried again"),
            }
        }
        if settled == 0 {
            // The feed takes nothing at the moment.
            return Ok(());
        }
    }
}

/// Settles the edits of one entity, in their order. Returns how many.
async fn of_entity(relay: &Relay, database: &PostgresFeed, entries: Vec<InboxEntry>) -> Result<u64, Failed> {
    // What each edit left behind: whoever follows it builds on that.
    let mut left: HashMap<Uuid, Vec<ChangeHash>> = HashMap::new();
    let mut count = 0;
    for entry in entries {
        let followed = entry.follows.and_then(|id| left.get(&id).cloned());
        let base = match (followed, entry.follows_change) {
            (Some(base), _) => base,
            (None, Some(change)) => vec![change],
            (None, None) => entry.base.clone(),
        };
        let Some(settled) = make(relay, database, &entry, base.clone()).await? else { return Ok(count) };
        let after = match &settled {
            Settled::Change(hash, _) => vec![*hash],
            Settled::Nothing | Settled::Failed(_) => base,
        };
        if let Settled::Failed(reason) = &settled {
            tracing::warn!(space = %entry.space, entity = %entry.entity, role = entry.role, reason, "an edit from SQL came to nothing");
        }
        left.insert(entry.id, after);
        settle(&database.client().await?, entry.id, &settled).await?;
        count += 1;
    }
    Ok(count)
}

/// Makes the change of an edit and puts it into the feed. `None` if the feed cannot take it now.
async fn make(
    relay: &Relay,
    database: &PostgresFeed,
    entry: &InboxEntry,
    base: Vec<ChangeHash>,
) -> Result<Option<Settled>, Failed> {
    let kind = match kind_of(entry) {
        Ok(kind) => kind,
        Err(error) => return Ok(Some(Settled::Failed(format!("not JSON: {error}")))),
    };
    let contents = Contents::read(&relay.config.store, entry.space, entry.entity).await?;
    if let Some(held) = contents.as_ref().map(|contents| &contents.state.collection)
        && *held != entry.collection
    {
        return Ok(Some(Settled::Failed(other_collection(held))));
    }
    let changes = contents.map(|contents| contents.sound_changes()).unwrap_or_default();
    let edit =
        OutsideEdit { actor: actor(database.sql_device(), entry.id), time_ms: entry.at_ms, base, kind };
    let made = tokio::task::spawn_blocking(move || edit_outside(changes, &edit)).await;
    let made = match made.map_err(|_| StoreError::Stopped)? {
        Ok(made) if made.is_empty() => return Ok(Some(Settled::Nothing)),
        Ok(made) => made,
        // Somebody restored an older copy of the feed: what the edit builds on comes back with the devices.
        Err(OutsideError::UnknownBase(hash))
            if entry.at_ms.saturating_add(WAIT_MS_MAX) > super::now_ms() as i64 =>
        {
            tracing::info!(entity = %entry.entity, %hash, "an edit from SQL waits for what it builds on");
            return Ok(None);
        }
        Err(error) => return Ok(Some(Settled::Failed(error.to_string()))),
    };
    let records = made.into_iter().map(|change| ChangeRecord {
        entity: entry.entity,
        collection: entry.collection.clone(),
        kind: PayloadKind::Change,
        hash: change.hash,
        payload: change.payload,
    });
    Ok(push(relay, database, entry, records.collect()).await)
}

fn other_collection(held: &CollectionName) -> String {
    format!("the entity is in the collection {held}")
}

fn kind_of(entry: &InboxEntry) -> Result<OutsideKind, serde_json::Error> {
    Ok(match &entry.kind {
        InboxKind::Put { after } => {
            OutsideKind::Put { collection: entry.collection.clone(), fields: serde_json::from_str(after)? }
        }
        InboxKind::Patch { before, after } => {
            OutsideKind::Patch { before: serde_json::from_str(before)?, after: serde_json::from_str(after)? }
        }
        InboxKind::Delete => OutsideKind::Delete,
        InboxKind::Restore => OutsideKind::Restore,
    })
}

/// An author that makes one change: the database's device, and 8 bytes of the edit's random id.
fn actor(device: DeviceId, edit: Uuid) -> [u8; ACTOR_BYTES] {
    let mut actor = [0; ACTOR_BYTES];
    actor[..16].copy_from_slice(device.as_bytes());
    actor[16..].copy_from_slice(&edit.as_bytes()[..8]);
    actor
}

/// Through the actor of the space, as any other push, so that everyone who follows it gets it at once.
async fn push(
    relay: &Relay,
    database: &PostgresFeed,
    entry: &InboxEntry,
    records: Vec<ChangeRecord>,
) -> Option<Settled> {
    let last = records.last()?.hash;
    // No connection has the number 0.
    let (answer, mut answers) = Inbox::new(0);
    let pusher = Pusher { user: Some(entry.role.clone()), address: None };
    let entries = Entries::Changes(records);
    let push = Push { connection: 0, device: database.sql_device(), pusher, push_id: 0, entries, answer };
    let actor = relay.hub.space(entry.space);
    actor.send(Mail::Push { push, actor: actor.clone() }).await.ok()?;
    let Delivery::Message(Message::Appended(end)) = answers.recv().await else { return None };
    if let Some((_, code, message)) = end.refused.first() {
        return Some(Settled::Failed(format!("{code}: {message}")));
    }
    let mut settled = None;
    for placement in end.appended?.placements() {
        settled = match placement {
            Placement::Accepted(seq) | Placement::Duplicate(seq) => Some(Settled::Change(last, *seq)),
            refused => return not_placed(refused),
        };
    }
    settled
}

/// What becomes of an edit that the feed did not take. `None` if it can be tried again.
fn not_placed(placement: &Placement) -> Option<Settled> {
    match placement {
        Placement::Quarantined { hash, reason: Refusal { message, .. } } => {
            Some(Settled::Failed(format!("it builds on {hash}, which is in quarantine: {message}")))
        }
        Placement::TooFarAhead { first_op_max } => {
            Some(Settled::Failed(format!("its operations are numbered from beyond {first_op_max}")))
        }
        Placement::OtherCollection(held) => Some(Settled::Failed(other_collection(held))),
        Placement::Misnumbered { .. } => {
            Some(Settled::Failed("its author has made another change".to_owned()))
        }
        // Something that it builds on was lost, and comes back.
        Placement::MissingDeps(_) | Placement::Stale => None,
        // Not refused.
        Placement::Accepted(_) | Placement::Duplicate(_) => None,
    }
}
