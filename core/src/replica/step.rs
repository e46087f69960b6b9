//! The one durable step of an entity, however its changes came: document, view row, commit, patch.
//!
//! Whoever edits, merges, seeds, judges, mends or folds says what is to become of an entity. What a reader
//! sees of it and what listeners hear are made of the same two views here, so neither can be without the
//! other. A test finds every view row that is written elsewhere.

use headwater_storage::{
    Bytes, ChangeHash, CollectionName, Commit, CommitError, Committed, Direction, EntityId, EntityWrite,
    Judged, NewChange, NewSnapshot, Outbox, PayloadKind, Refusal, SetAside, SpaceId, Step, StoreError,
    StoredChange, Unfolded,
};

use super::Replica;
use super::cache::DocumentCache;
use super::watch::{Origin, Patch, PatchKind};
use crate::document::{Document, View, ViewError};
use crate::model::{Map, Value};

/// What the store has of an entity before a step.
#[derive(Clone, Default)]
pub(super) struct Before {
    /// Where it is. `None` if it is not here.
    pub(super) collection: Option<CollectionName>,
    pub(super) row: Row,
}

/// What readers find of an entity.
#[derive(Clone, Default)]
pub(super) enum Row {
    #[default]
    None,
    View(View),
    /// Readers get this error, and it is made again from the changes.
    Damaged(ViewError),
}

/// One entity's part of a commit.
pub(super) struct EntityStep {
    entity: EntityId,
    /// Where it is afterwards.
    collection: CollectionName,
    origin: Origin,
    before: Before,
    /// What readers see afterwards. `None` leaves that as it is.
    after: Option<View>,
    /// What was loaded or built for it, for the next one who needs it.
    document: Option<Document>,
    unfolded: Option<Vec<StoredChange>>,
    judged: Option<Judged>,
    changes: Vec<NewChange>,
    folded: Option<NewSnapshot>,
    set_aside: Vec<SetAside>,
    recovered: Vec<ChangeHash>,
}

impl Before {
    /// An entity of this collection that looks like this. `None` if it is not here.
    pub(super) fn of(collection: &CollectionName, view: Option<View>) -> Before {
        match view {
            Some(view) => Before { collection: Some(collection.clone()), row: Row::View(view) },
            None => Before::default(),
        }
    }

    pub(super) fn view(&self) -> Option<&View> {
        match &self.row {
            Row::View(view) => Some(view),
            Row::None | Row::Damaged(_) => None,
        }
    }

    /// Whether readers see exactly this.
    pub(super) fn shows(&self, view: &View) -> bool {
        self.view().is_some_and(|shown| shown.to_row() == view.to_row())
    }
}

impl EntityStep {
    /// A step that does nothing yet to an entity.
    pub(super) fn new(
        entity: EntityId,
        collection: CollectionName,
        before: Before,
        origin: Origin,
    ) -> EntityStep {
        EntityStep {
            entity,
            collection,
            origin,
            before,
            after: None,
            document: None,
            unfolded: None,
            judged: None,
            changes: Vec::new(),
            folded: None,
            set_aside: Vec::new(),
            recovered: Vec::new(),
        }
    }

    /// Readers see this from now on.
    pub(super) fn show(&mut self, view: View) {
        self.after = Some(view);
    }

    /// As [`EntityStep::show`], with the document that it is the view of, which is kept for the next edit.
    pub(super) fn show_document(&mut self, view: View, document: Document) {
        (self.after, self.document) = (Some(view), Some(document));
    }

    /// The entity gets these changes.
    pub(super) fn add(&mut self, changes: impl IntoIterator<Item = (ChangeHash, Bytes)>, outbox: Outbox) {
        let kind = PayloadKind::Change;
        let change = |(hash, payload)| NewChange { kind, hash, payload, outbox };
        self.changes.extend(changes.into_iter().map(change));
    }

    /// The entity's snapshot goes. These are all changes that it stands for, and those behind it.
    pub(super) fn unfold(&mut self, changes: Vec<StoredChange>) {
        self.unfolded = Some(changes);
    }

    /// Changes leave the entity, or come back.
    pub(super) fn judge(
        &mut self,
        direction: Direction,
        quarantined: Vec<(ChangeHash, Refusal)>,
        released: Vec<ChangeHash>,
    ) {
        let collection = self.before.collection.as_ref().unwrap_or(&self.collection).clone();
        self.judged = Some(Judged { entity: self.entity, collection, direction, quarantined, released });
    }

    /// A snapshot takes the place of what it was made from.
    pub(super) fn fold(&mut self, new: NewSnapshot) {
        self.folded = Some(new);
    }

    /// This is kept apart.
    pub(super) fn set_aside(&mut self, aside: SetAside) {
        self.set_aside.push(aside);
    }

    /// These are not set aside any more: they are here again.
    pub(super) fn recover(&mut self, hashes: impl IntoIterator<Item = ChangeHash>) {
        self.recovered.extend(hashes);
    }

    /// Whether the document stays what it is, and only its bytes become fewer.
    fn only_folds(&self) -> bool {
        self.after.is_none() && self.judged.is_none() && self.unfolded.is_none() && self.changes.is_empty()
    }

    /// What the store has to do, in the order that it asks for.
    fn steps(&mut self) -> Vec<Step> {
        let entity = self.entity;
        let mut steps = Vec::with_capacity(1);
        steps.extend(self.unfolded.take().map(|changes| Step::Unfold(Unfolded { entity, changes })));
        steps.extend(self.judged.take().map(Step::Judge));
        let changes = std::mem::take(&mut self.changes);
        let row = self.after.as_ref().map(|view| Bytes::from(view.to_row()));
        if !changes.is_empty() || row.is_some() {
            let collection = self.collection.clone();
            steps.push(Step::Write(EntityWrite { entity, collection, changes, row }));
        }
        steps.extend(self.folded.take().map(Step::Fold));
        steps.extend(self.set_aside.drain(..).map(Step::SetAside));
        steps.extend(self.recovered.drain(..).map(|hash| Step::Recover(entity, hash)));
        steps
    }

    /// What listeners hear: what reads answer otherwise than before.
    fn patches(&self, space: SpaceId) -> Vec<Patch> {
        let Some(after) = &self.after else { return Vec::new() };
        let mut patches = Vec::new();
        let mut before = &self.before.row;
        let patch = |collection: &CollectionName, kind, fields| Patch {
            space,
            collection: collection.clone(),
            entity: self.entity,
            kind,
            fields,
            origin: self.origin,
        };
        if let Some(left) = self.before.collection.as_ref().filter(|held| **held != self.collection) {
            if seen(before) != Seen::Nothing {
                patches.push(patch(left, PatchKind::Withdrawn, Vec::new()));
            }
            before = &Row::None;
        }
        let told = difference(before, after);
        patches.extend(told.map(|(kind, fields)| patch(&self.collection, kind, fields)));
        if cfg!(bug = "withdrawn-not-told") {
            patches.retain(|patch| patch.kind != PatchKind::Withdrawn);
        }
        patches
    }
}

/// What a reader finds of an entity.
#[derive(PartialEq, Eq)]
enum Seen {
    Nothing,
    Live,
    Deleted,
    Unknown,
}

fn seen(row: &Row) -> Seen {
    match row {
        Row::None => Seen::Nothing,
        Row::View(view) => seen_in(view),
        Row::Damaged(_) => Seen::Unknown,
    }
}

fn seen_in(view: &View) -> Seen {
    match (view.exists(), view.deleted) {
        (false, _) => Seen::Nothing,
        (true, None) => Seen::Live,
        (true, Some(_)) => Seen::Deleted,
    }
}

/// What became of an entity, if a reader can tell, and the fields that are otherwise.
fn difference(before: &Row, after: &View) -> Option<(PatchKind, Vec<String>)> {
    let all = || after.fields.keys().cloned().collect();
    Some(match (seen(before), seen_in(after)) {
        (Seen::Nothing, Seen::Nothing) | (Seen::Deleted, Seen::Deleted) => return None,
        (Seen::Live | Seen::Deleted | Seen::Unknown, Seen::Nothing) => (PatchKind::Withdrawn, Vec::new()),
        (Seen::Nothing | Seen::Live | Seen::Unknown, Seen::Deleted) => (PatchKind::Deleted, Vec::new()),
        // What was a damaged row is told whole: nobody knows what listeners made of it.
        (Seen::Nothing | Seen::Unknown, _) => (PatchKind::Created, all()),
        (Seen::Deleted, _) => (PatchKind::Restored, all()),
        (Seen::Live, _) => {
            let Row::View(before) = before else { return None };
            let fields = changed(&before.fields, &after.fields);
            if fields.is_empty() {
                return None;
            }
            (PatchKind::Updated, fields)
        }
    })
}

fn changed(old: &Map, new: &Map) -> Vec<String> {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let differs = |(key, value): &(&String, &Value)| old.get(*key).is_none_or(|old| old != *value);
    let mut fields: Vec<String> =
        gone.chain(new.iter().filter(differs).map(|(key, _)| key)).cloned().collect();
    fields.sort_unstable();
    fields
}

impl Replica {
    /// What the store has of an entity.
    pub(super) fn before(&self, space: SpaceId, entity: EntityId) -> Result<Before, StoreError> {
        Ok(match self.store().find(space, entity)? {
            None => Before::default(),
            Some((collection, row)) => {
                Before { collection: Some(collection), row: Row::read(row.as_deref()) }
            }
        })
    }

    /// Stores the steps of entities, and behind them those of `commit`, and tells of it. The caller holds the
    /// documents, so patches come in the order of the commits, and none before its commit is stored.
    pub(super) fn commit_entities(
        &self,
        documents: &mut DocumentCache,
        mut entities: Vec<EntityStep>,
        mut commit: Commit,
    ) -> Result<Committed, CommitError> {
        let space = commit.space;
        for step in entities.iter().filter(|step| !step.only_folds()) {
            // What is in memory may be what is wrong, and would be ahead of the store should the commit fail.
            drop(documents.take(space, step.entity));
        }
        let behind = std::mem::take(&mut commit.steps);
        commit.steps = entities.iter_mut().flat_map(EntityStep::steps).chain(behind).collect();
        let committed = self.commit(commit)?;
        // Who begins to listen from here on reads what was committed.
        let is_heard = self.inner.patches.receiver_count() > 0;
        for (number, mut step) in entities.into_iter().enumerate() {
            if let Some(document) = step.document.take() {
                documents.put(space, step.entity, document);
            }
            let patches = if is_heard { step.patches(space) } else { Vec::new() };
            if cfg!(bug = "step-skips-the-patch") && number > 0 {
                continue;
            }
            patches.into_iter().for_each(|patch| self.notify(patch));
        }
        self.note_due(space, committed.due.clone());
        Ok(committed)
    }

    fn notify(&self, patch: Patch) {
        // Nobody listening is no error.
        let _listeners = self.inner.patches.send(patch).unwrap_or(0);
    }
}

impl Row {
    fn read(row: Option<&[u8]>) -> Row {
        match row.map(View::decode) {
            None => Row::None,
            Some(Ok(view)) => Row::View(view),
            Some(Err(error)) => Row::Damaged(error),
        }
    }
}
