//! The verbs that look after what is stored: `verify`, `quarantine`.

use headwater::document::{Action, Content, Deletion, Operation};
use headwater::model::{ContainerKind, JsonStyle, json_from_map, json_from_value};
use headwater::replica::{Direction, SetAside};
use headwater::{ChangeHash, Space};
use serde_json::{Value as Json, json};

use crate::args::{Options, Quarantine};
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::{Output, counted};

pub(crate) fn verify(options: &Options, output: &mut Output) -> Result<(), Failure> {
    let verified = options.open(Missing::Refuse)?.verify()?;
    let human = || {
        let mut lines = vec![format!(
            "{}, {}",
            counted(verified.entities, "entity", "entities"),
            counted(verified.changes, "change", "changes")
        )];
        let named = verified.set_aside.iter();
        lines.extend(
            named.map(|(_, entity, hash, why)| format!("set aside: change {hash} of entity {entity}: {why}")),
        );
        if verified.rows_repaired > 0 {
            lines.push(format!(
                "repaired: {}, made again from what is stored",
                counted(verified.rows_repaired, "row", "rows")
            ));
        }
        if verified.waiting > 0 {
            lines.push(format!(
                "missing: what {} waits for; `headwater sync` fetches that",
                counted(verified.waiting, "change", "changes")
            ));
        }
        let alarms = verified.alarms.iter();
        lines.extend(
            alarms.map(|(_, entity, alarm)| format!("alarm: entity {entity}: {alarm}; please report this")),
        );
        lines.join("\n")
    };
    let alarms: Vec<_> = verified
        .alarms
        .iter()
        .map(|(space, entity, alarm)| {
            json!({ "space": space.to_string(), "entity": entity.to_string(), "alarm": alarm.to_string() })
        })
        .collect();
    let set_aside: Vec<_> = verified
        .set_aside
        .iter()
        .map(|(space, entity, hash, why)| {
            json!({ "space": space.to_string(), "entity": entity.to_string(), "hash": hash.to_string(), "reason": why })
        })
        .collect();
    let json = json!({
        "entities": verified.entities,
        "changes": verified.changes,
        "set_aside": set_aside,
        "rows_repaired": verified.rows_repaired,
        "waiting": verified.waiting,
        "alarms": alarms,
    });
    output.result(human, &json)?;
    if !verified.set_aside.is_empty() {
        return Err(Failure::Damaged(verified.set_aside.len()));
    }
    if verified.alarms.is_empty() { Ok(()) } else { Err(Failure::Alarms(verified.alarms.len())) }
}

pub(crate) fn quarantine(options: &Options, action: &Quarantine, output: &mut Output) -> Result<(), Failure> {
    let space = options.open_space(Missing::Refuse)?;
    let aside = space.set_aside()?;
    match action {
        Quarantine::Ls => aside.iter().try_for_each(|aside| {
            let human = || format!("{}  {}  {}", aside.record.hash, aside.record.entity, describe(aside));
            output.result(human, &entry(aside))
        }),
        Quarantine::Show { hash } => {
            let aside = find(&aside, hash)?;
            let mut shown = with_content(&space, aside)?;
            let payload: String = aside.record.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            shown["payload"] = payload.into();
            output.json_line(&shown)
        }
        Quarantine::Export { hash: Some(hash) } => {
            output.json_line(&with_content(&space, find(&aside, hash)?)?)
        }
        Quarantine::Export { hash: None } => {
            aside.iter().try_for_each(|aside| output.json_line(&with_content(&space, aside)?))
        }
        Quarantine::Apply { hash } => {
            let aside = find(&aside, hash)?;
            let (entity, hash) = (aside.record.entity, aside.record.hash);
            let receipt =
                space.reapply(entity, hash).map_err(|error| Failure::NotApplied(error.to_string()))?;
            let human = || match receipt.is_empty() {
                true => format!("entity {entity} has all that {hash} wrote; nothing changed"),
                false => format!("wrote what {hash} had written into entity {entity} again"),
            };
            let json = json!({ "applied": hash.to_string(), "entity": entity.to_string(), "changed": !receipt.is_empty() });
            output.result(human, &json)
        }
        Quarantine::Release { hash } => {
            let aside = find(&aside, hash)?;
            let (entity, hash): (_, ChangeHash) = (aside.record.entity, aside.record.hash);
            space.take_back(entity, hash).map_err(|error| Failure::NotReleased(error.to_string()))?;
            output.result(|| format!("released {hash}"), &json!({ "released": hash.to_string() }))
        }
    }
}

/// The one whose hash begins with these digits.
fn find<'a>(aside: &'a [SetAside], digits: &str) -> Result<&'a SetAside, Failure> {
    let mut found = aside.iter().filter(|aside| aside.record.hash.to_string().starts_with(digits));
    match (found.next(), found.next()) {
        (Some(aside), None) if !digits.is_empty() => Ok(aside),
        _ => Err(Failure::NotSetAside(digits.to_owned())),
    }
}

fn describe(aside: &SetAside) -> String {
    let who = match aside.direction {
        Direction::FromRelay => "this device could not use it",
        Direction::Refused => "the relay refused it",
        Direction::Quarantined => "everybody leaves it out",
        Direction::Damaged => "damaged on this device",
        Direction::OtherCollection => "its id is in another collection",
    };
    format!("{who}: {}", aside.reason.message)
}

fn entry(aside: &SetAside) -> serde_json::Value {
    json!({
        "hash": aside.record.hash.to_string(),
        "entity": aside.record.entity.to_string(),
        "collection": aside.record.collection.as_str(),
        "direction": format!("{:?}", aside.direction).to_lowercase(),
        "code": aside.reason.code,
        "reason": aside.reason.message,
        "time_ms": aside.time_ms,
    })
}

/// A change, and what it had written.
fn with_content(space: &Space, aside: &SetAside) -> Result<Json, Failure> {
    let mut shown = entry(aside);
    shown["content"] = json_of_content(&space.content(aside.record.entity, aside.record.hash)?);
    Ok(shown)
}

pub(crate) fn json_of_content(content: &Content) -> Json {
    match content {
        Content::Fields { set, removed, deletion } => json!({
            "set": json_from_map(set, JsonStyle::Kinds),
            "removed": removed,
            "deletion": deletion.map(|deletion| match deletion {
                Deletion::Deleted => "deleted",
                Deletion::Restored => "restored",
            }),
        }),
        Content::Operations { reason, listed, more } => json!({
            "reason": reason,
            "operations": listed.iter().map(operation).collect::<Vec<_>>(),
            "more": more,
        }),
        // Its bytes never came here, or are damaged; or it was not read.
        _ => Json::Null,
    }
}

fn operation(operation: &Operation) -> Json {
    let (action, value) = match &operation.action {
        Action::Put(value) => ("put", json_from_value(value, JsonStyle::Kinds)),
        Action::Make(ContainerKind::Map) => ("make", "map".into()),
        Action::Make(ContainerKind::List) => ("make", "list".into()),
        Action::Make(ContainerKind::Text) => ("make", "text".into()),
        Action::Make(ContainerKind::Counter) => ("make", "counter".into()),
        Action::Delete => ("delete", Json::Null),
        Action::Increment(by) => ("increment", (*by).into()),
        Action::Mark(name) => ("mark", name.as_str().into()),
        _ => ("unknown", Json::Null),
    };
    json!({ "object": operation.object, "key": operation.key, "action": action, "value": value })
}
