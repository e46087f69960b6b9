//! The verbs that talk to a relay: `sync` and `watch`.

use std::io;
use std::time::Instant;

use headwater::model::{JsonStyle, json_from_value};
use headwater::replica::{Notice, Notices, Withdrawn};
use headwater::{
    CollectionName, ConnectOptions, Connection, Origin, Patch, PatchKind, Patches, Phase, Replica, Status,
    SyncOptions,
};
use serde_json::{Value as Json, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch as latest;
use tokio::task::JoinHandle;

use crate::args::{Options, Watch};
#[cfg(unix)]
use crate::beside::Beside;
use crate::care::json_of_content;
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::{Format, Output, counted, tell};
use crate::record::ID_FIELD;
use crate::stop::Signals;

pub(crate) fn sync(options: &Options, output: &mut Output) -> Result<(), Failure> {
    let url = relay_url(options)?;
    let replica = options.open(Missing::Create)?;
    let space = replica.space(options.space.as_str());
    let started = Instant::now();
    let report = runtime()?.block_on(replica.sync(url, SyncOptions::new([space.id()])))?;
    let elapsed = started.elapsed();
    let human = || {
        format!(
            "pushed {}, pulled {}, rejected {}; {} bytes sent, {} received, in {:.0?}",
            counted(report.pushed, "change", "changes"),
            report.pulled,
            report.rejected,
            report.bytes_sent,
            report.bytes_received,
            elapsed
        )
    };
    let json = json!({
        "pushed": report.pushed,
        "pulled": report.pulled,
        "rejected": report.rejected,
        "pending": space.pending()?,
        "bytes_sent": report.bytes_sent,
        "bytes_received": report.bytes_received,
        "elapsed_ms": elapsed.as_millis() as u64,
    });
    output.result(human, &json)?;
    match report.rejected {
        0 => Ok(()),
        rejected => Err(Failure::Rejected { rejected }),
    }
}

pub(crate) fn watch(options: &Options, watch: &Watch, output: &mut Output) -> Result<(), Failure> {
    let url = relay_url(options)?;
    let replica = options.open_to_stay(Missing::Create)?;
    runtime()?.block_on(async {
        let space = replica.space(options.space.as_str()).id();
        // Before the connection, so that nothing that it brings is missed.
        let mut news = News { patches: replica.patches(), notices: replica.notices() };
        let connect = ConnectOptions::new([space]);
        let mut connection = replica.connect(url, connect)?;
        tell_status(output.format(), &connection.status());
        let (tell, told) = latest::channel(connection.status());
        let answering = answer_status(options, &replica, told, output.format())?;
        let printed = print_news(&replica, watch, &mut news, &mut connection, &tell, output).await;
        if let Some(answering) = answering {
            answering.abort();
            // What is dropped with the task is the socket.
            let _is_gone = answering.await.is_err();
        }
        connection.disconnect().await;
        printed
    })
}

/// Answers `headwater status` while the watch runs. Without it the watch is as good, so a socket that cannot
/// be had is only mentioned.
#[cfg(unix)]
fn answer_status(
    options: &Options,
    replica: &Replica,
    status: latest::Receiver<Status>,
    format: Format,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let path = options.replica_path()?;
    match Beside::listen(&path) {
        Ok(beside) => Ok(Some(tokio::spawn(beside.serve(replica.clone(), path, status)))),
        Err(error) => {
            if format == Format::Human {
                tell(format_args!("`headwater status` cannot ask this watch: {error}"));
            }
            Ok(None)
        }
    }
}

/// There is no such socket on this system.
#[cfg(not(unix))]
fn answer_status(
    _options: &Options,
    _replica: &Replica,
    _status: latest::Receiver<Status>,
    _format: Format,
) -> Result<Option<JoinHandle<()>>, Failure> {
    Ok(None)
}

/// What a watch prints.
struct News {
    patches: Patches,
    notices: Notices,
}

/// Prints what changes and what goes wrong until ctrl-c or SIGTERM, and passes on how the connection is.
async fn print_news(
    replica: &Replica,
    watch: &Watch,
    news: &mut News,
    connection: &mut Connection,
    tell: &latest::Sender<Status>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut phase = connection.status().phase;
    let mut signals = Signals::listen()?;
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            patch = news.patches.next() => match patch {
                Some(Ok(patch)) if concerns(&patch, watch.collection.as_ref()) => print_patch(replica, &patch, output)?,
                Some(Ok(_)) => continue,
                Some(Err(missed)) => {
                    let json = json!({ "kind": "missed", "missed": missed.missed });
                    let human = || {
                        let missed = counted(missed.missed, "change", "changes");
                        format!("missed {missed}; `headwater ls` shows what is there now")
                    };
                    output.result(human, &json)?;
                }
                None => return Ok(()),
            },
            notice = news.notices.next() => match notice {
                Some(Ok(notice)) => print_notice(&notice, watch.collection.as_ref(), output)?,
                Some(Err(missed)) => {
                    let json = json!({ "kind": "missed_notices", "missed": missed.missed });
                    let human = || {
                        let missed = counted(missed.missed, "notice", "notices");
                        format!("missed {missed}; `headwater quarantine ls` shows what is kept apart")
                    };
                    output.result(human, &json)?;
                }
                None => return Ok(()),
            },
            status = connection.status_changed() => {
                tell.send_replace(status.clone());
                if status.phase == Phase::Error {
                    return Err(Failure::Connection(status.error.unwrap_or_default()));
                }
                if status.phase != phase {
                    phase = status.phase;
                    tell_status(output.format(), &status);
                }
                continue;
            }
        }
        // Whoever reads this waits for each line.
        output.flush()?;
    }
}

fn concerns(patch: &Patch, collection: Option<&CollectionName>) -> bool {
    collection.is_none_or(|collection| *collection == patch.collection)
}

fn print_patch(replica: &Replica, patch: &Patch, output: &mut Output) -> Result<(), Failure> {
    let record = replica.space(patch.space).dynamic(patch.collection.as_str())?.get(patch.entity)?;
    // The values now, which can be newer than the patch; a field that was removed, or is so by now, is null.
    let value = |name: &String| {
        let value = record.as_ref().and_then(|record| record.fields.get(name));
        value.map_or(Json::Null, |value| json_from_value(value, JsonStyle::Plain))
    };
    let fields: serde_json::Map<String, Json> = patch
        .fields
        .iter()
        .filter(|name| *name != ID_FIELD)
        .map(|name| (name.clone(), value(name)))
        .collect();
    let kind = match patch.kind {
        PatchKind::Created => "created",
        PatchKind::Updated => "updated",
        PatchKind::Deleted => "deleted",
        PatchKind::Restored => "restored",
        PatchKind::Withdrawn => "withdrawn",
        _ => "changed",
    };
    let origin = match patch.origin {
        Origin::Local => "local",
        Origin::Remote => "remote",
    };
    let human = || {
        let set: Vec<String> = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{kind} {} {}{}", patch.collection, patch.entity, set.concat())
    };
    let json = json!({
        "kind": kind, "collection": patch.collection.as_str(), "id": patch.entity.to_string(), "fields": fields, "origin": origin,
    });
    output.result(human, &json)
}

/// Prints that a change is taken away or comes back, or that something is wrong with an entity.
fn print_notice(
    notice: &Notice,
    collection: Option<&CollectionName>,
    output: &mut Output,
) -> Result<(), Failure> {
    let is_other = |of: &CollectionName| collection.is_some_and(|collection| collection != of);
    let (kind, withdrawn) = match notice {
        Notice::Quarantined(withdrawn) => ("quarantined", withdrawn),
        Notice::Refused(withdrawn) => ("refused", withdrawn),
        Notice::SetAside(withdrawn) => ("set_aside", withdrawn),
        Notice::Released { collection, .. } if is_other(collection) => return Ok(()),
        Notice::Released { collection, entity, hash, .. } => {
            let json = json!({
                "kind": "released", "collection": collection.as_str(), "id": entity.to_string(), "hash": hash.to_string(),
            });
            return output
                .result(|| format!("released {collection} {entity}: change {hash} is used again"), &json);
        }
        // It does not say in which collection the entity is.
        Notice::Alarm { entity, alarm, .. } => {
            let json = json!({ "kind": "alarm", "id": entity.to_string(), "alarm": alarm.to_string() });
            return output.result(|| format!("alarm {entity}: {alarm}; please report this"), &json);
        }
        _ => return Ok(()),
    };
    let Withdrawn { collection, entity, hash, reason, is_own, content, .. } = withdrawn;
    if is_other(collection) {
        return Ok(());
    }
    let json = json!({
        "kind": kind, "collection": collection.as_str(), "id": entity.to_string(), "hash": hash.to_string(),
        "reason": reason, "own": is_own, "content": json_of_content(content),
    });
    let human = || {
        let kind = kind.replace('_', " ");
        let whose = if *is_own { "this device's change" } else { "change" };
        format!(
            "{kind} {collection} {entity}: {whose} {hash}: {reason}; `headwater quarantine show` has what it wrote"
        )
    };
    output.result(human, &json)
}

/// Tells people how the connection is; programs read the exit code and the changes.
fn tell_status(format: Format, status: &Status) {
    if format == Format::Json {
        return;
    }
    let what = match status.phase {
        Phase::Offline => "offline",
        Phase::Connecting => "connecting",
        Phase::Syncing => "syncing",
        Phase::UpToDate => "up to date, waiting for changes (ctrl-c ends)",
        _ => "not connected",
    };
    match &status.error {
        Some(error) => tell(format_args!("{what}: {error}")),
        None => tell(what),
    }
}

fn relay_url(options: &Options) -> Result<&str, Failure> {
    options.relay.as_deref().filter(|url| !url.is_empty()).ok_or(Failure::NoRelay)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
