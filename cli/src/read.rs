//! The verbs that only look: `get`, `ls`, `status`.

use headwater::{Replica, SpaceId};
use serde_json::{Value as Json, json};

use crate::args::{Entity, Ls, Options};
use crate::edit::why_missing;
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::Output;

pub(crate) fn get(options: &Options, entity: &Entity, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_collection(Missing::Refuse, &entity.collection)?;
    match entities.get(entity.id)? {
        Some(record) => output.entity(&record),
        None => Err(why_missing(&entities, entity.id, Failure::NotFound(entity.id))),
    }
}

pub(crate) fn list(options: &Options, ls: &Ls, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_collection(Missing::Refuse, &ls.collection)?;
    for record in entities.iter() {
        output.list_item(&record?)?;
    }
    Ok(())
}

pub(crate) fn status(options: &Options, output: &mut Output) -> Result<(), Failure> {
    let replica = options.open(Missing::Refuse)?;
    let asked = replica.space(options.space.as_str()).id();
    let mut ids = replica.spaces();
    if !ids.contains(&asked) {
        ids.push(asked);
    }
    let spaces: Vec<SpaceStatus> =
        ids.into_iter().map(|id| SpaceStatus::read(&replica, id)).collect::<Result<_, _>>()?;
    let path = options.replica_path()?;
    let human = || {
        let mut lines =
            vec![format!("replica   {}", path.display()), format!("device    {}", replica.device_id())];
        for space in &spaces {
            let name = if space.id == asked { format!(" ({})", options.space) } else { String::new() };
            lines.push(format!("space     {}{name}", space.id));
            space.describe(&mut lines);
        }
        lines.join("\n")
    };
    let json = json!({
        "replica": path.to_string_lossy(),
        "device": replica.device_id().to_string(),
        "space": asked.to_string(),
        "pending": spaces.iter().find(|space| space.id == asked).map_or(0, |space| space.pending),
        "spaces": spaces.iter().map(SpaceStatus::json).collect::<Vec<_>>(),
    });
    output.result(human, &json)
}

/// What is known of one space without asking the relay.
struct SpaceStatus {
    id: SpaceId,
    pending: u64,
    /// Up to where this replica has the relay's feed of the space: the feed's life, and the place in it. `None` before the first sync.
    position: Option<(String, u64)>,
    /// name -> entities that are not deleted.
    collections: Vec<(String, u64)>,
    /// Why changes are kept apart, one per change.
    set_aside: Vec<String>,
}

impl SpaceStatus {
    fn read(replica: &Replica, id: SpaceId) -> Result<SpaceStatus, Failure> {
        let space = replica.space(id);
        let mut collections = Vec::new();
        for name in space.collections() {
            let mut count = 0;
            for record in space.dynamic(name.as_str())?.iter() {
                record?;
                count += 1;
            }
            collections.push((name.as_str().to_owned(), count));
        }
        let set_aside = space.set_aside()?;
        let set_aside =
            set_aside.iter().map(|aside| format!("entity {}: {}", aside.record.entity, aside.reason.message));
        let position = replica.position(id)?.watermark;
        Ok(SpaceStatus {
            id,
            pending: space.pending()?,
            position: position.map(|watermark| (watermark.epoch.to_string(), watermark.seq.get())),
            collections,
            set_aside: set_aside.collect(),
        })
    }

    fn describe(&self, lines: &mut Vec<String>) {
        lines.push(format!("  waiting for the relay: {} changes", self.pending));
        lines.push(match &self.position {
            Some((_, seq)) => format!("  position in the relay's feed: {seq}"),
            None => "  never synced".to_owned(),
        });
        lines.extend(self.set_aside.iter().map(|aside| format!("  set aside: {aside}")));
        lines.extend(self.collections.iter().map(|(name, count)| format!("  {name}: {count} entities")));
    }

    fn json(&self) -> Json {
        let collections: serde_json::Map<String, Json> =
            self.collections.iter().map(|(name, count)| (name.clone(), Json::from(*count))).collect();
        let position = self.position.as_ref().map(|(epoch, seq)| json!({ "epoch": epoch, "seq": seq }));
        json!({
            "id": self.id.to_string(),
            "pending": self.pending,
            "position": position,
            "collections": collections,
            "set_aside": self.set_aside,
        })
    }
}
