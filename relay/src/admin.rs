//! What the person who runs the relay can ask it: over a socket file beside its data, which only that person's account can open.
//!
//! One line of JSON asks, one line of JSON answers. A relay that is not running is asked through its files in the same way.

use std::io;
use std::path::Path;
use std::sync::Arc;

use headwater::ingest::{ChangeLimits, prevalidate_change};
use headwater_storage::{
    ChangeHash, CollectionName, EntityId, PageLimit, Quarantined, ReadError, Seq, SpaceId,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::alarms::Alarms;
use crate::config::Config;
use crate::damage;
use crate::examiner::{self, Released};
use crate::hub::Hub;
use crate::sql;
use crate::state::{Relay, until_draining};

/// The name of the socket file in the relay's folder.
pub const SOCKET: &str = "admin.sock";

const REQUEST_BYTES_MAX: u64 = 4096;
const PAGE: usize = 1000;
const ENTITIES_AT_ONCE: usize = 100;
const LISTED_MAX: usize = 100_000;
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPTS_APART: std::time::Duration = std::time::Duration::from_millis(100);

/// What to ask a relay.
///
/// ```
/// use headwater_relay::admin::Request;
/// let hash = headwater_storage::ChangeHash::from_bytes([1; 32]).to_string();
/// assert_ne!(Request::Release { hash }, Request::List);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The changes in quarantine.
    List,
    /// One change in quarantine, with all that is known of it.
    Show {
        /// The change.
        hash: String,
    },
    /// Walk all feeds, and ask replicas for whole copies of what is damaged.
    Verify,
    /// Entities as SQL shows them, a page of a space.
    Entities {
        /// The space.
        space: String,
        /// Of this collection only.
        collection: Option<String>,
        /// From the one after this entity on.
        after: Option<String>,
    },
    /// Take a change out of quarantine, if its entity loads with it by now.
    Release {
        /// The change.
        hash: String,
    },
}

/// What a relay answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The changes in quarantine, at most 100,000 of them.
    Listed(Vec<Entry>),
    /// One of them.
    Shown {
        /// What the list has of it.
        entry: Entry,
        /// Who made it, in hexadecimal digits: for Headwater's own changes the device id and 8 more bytes.
        actor: String,
        /// Its number among its actor's changes.
        number: u64,
        /// The changes it depends on.
        deps: Vec<String>,
        /// The device that pushed it.
        pushed_by: String,
        /// Its bytes, in hexadecimal digits.
        payload: String,
    },
    /// These changes are back.
    Released(Vec<String>),
    /// What a walk found.
    Verified {
        /// Rows that were looked at.
        rows: u64,
        /// Changes that are lost until a replica pushes them again: space, entity, hash, seq.
        damaged: Vec<(String, String, String, u64)>,
        /// Spaces whose feeds are not to be trusted at all, and why.
        broken: Vec<(String, String)>,
        /// Snapshots that were damaged, and are gone. Nothing is lost with them.
        snapshots_dropped: u64,
        /// Entities that are wrong in a way for which no change is at fault, found since the relay started: space, entity, what is
        /// wrong. Nothing is left out for it; report it as a bug.
        #[serde(default)]
        alarms: Vec<(String, String, String)>,
    },
    /// A page of entities.
    Entities {
        /// One JSON object for each.
        rows: Vec<serde_json::Value>,
        /// Where to go on, if there are more.
        next: Option<String>,
    },
    /// It was not done, for this reason.
    Refused(String),
}

/// A change in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The space.
    pub space: String,
    /// The entity.
    pub entity: String,
    /// The change.
    pub hash: String,
    /// Its place in the feed.
    pub seq: u64,
    /// When the verdict was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// The code of the reason; see the error table in `docs/protocol.md`.
    pub code: u16,
    /// The reason.
    pub reason: String,
}

/// Asks the relay whose data is in `folder`: the running one, or if none runs, its files.
///
/// # Errors
/// When neither can be reached; the message says why.
pub async fn ask(
    folder: &Path,
    request: &Request,
    config: impl AsyncFn() -> Result<Config, Box<dyn std::error::Error>>,
) -> Result<Reply, Box<dyn std::error::Error>> {
    let mut attempts = 0;
    loop {
        #[cfg(unix)]
        if let Some(reply) = ask_running(folder, request).await? {
            return Ok(reply);
        }
        attempts += 1;
        match config().await {
            Ok(config) => return Ok(ask_store(config, request.clone()).await),
            // One that holds the files and does not answer yet is starting.
            Err(_) if attempts < ATTEMPTS_MAX => tokio::time::sleep(ATTEMPTS_APART).await,
            Err(error) => return Err(error),
        }
    }
}

/// Asks a store that nobody else has open, or that may be used beside others.
pub async fn ask_store(config: Config, request: Request) -> Reply {
    answer(&Relay::offline(config), request).await
}

/// Asks the relay that runs. `None` if none does.
#[cfg(unix)]
async fn ask_running(folder: &Path, request: &Request) -> Result<Option<Reply>, Box<dyn std::error::Error>> {
    let stream = match tokio::net::UnixStream::connect(folder.join(SOCKET)).await {
        Ok(stream) => stream,
        // No relay runs, or one ended without clearing up.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut answer = String::new();
    BufReader::new(read).read_line(&mut answer).await?;
    Ok(Some(serde_json::from_str(&answer)?))
}

/// Answers on `path` until the relay drains.
#[cfg(unix)]
pub(crate) async fn serve(relay: Arc<Relay>, path: std::path::PathBuf) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // One that was killed leaves its socket behind; the store's lock says that no other runs.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let mut draining = relay.draining.clone();
    loop {
        let accepted = tokio::select! {
            () = until_draining(&mut draining) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = accepted?;
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let answered = async {
            BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
            let reply = match serde_json::from_str(&line) {
                Ok(request) => answer(&relay, request).await,
                Err(error) => Reply::Refused(format!("not a request: {error}")),
            };
            let mut line = serde_json::to_vec(&reply)?;
            line.push(b'\n');
            write.write_all(&line).await
        };
        let answered = tokio::select! {
            () = until_draining(&mut draining) => break,
            answered = answered => answered,
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "an admin connection ended early");
        }
    }
    // The next relay makes its own.
    let _left_behind = std::fs::remove_file(&path).is_err();
    Ok(())
}

async fn answer(relay: &Relay, request: Request) -> Reply {
    let answered = match request {
        Request::List => list(relay).await.map(Reply::Listed),
        Request::Show { hash } => show(relay, &hash).await,
        Request::Verify => verify(relay).await,
        Request::Release { hash } => release(relay, &hash).await,
        Request::Entities { space, collection, after } => entities(relay, &space, collection, after).await,
    };
    answered.unwrap_or_else(|error| Reply::Refused(error.to_string()))
}

async fn list(relay: &Relay) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    for space in relay.config.store.spaces().await? {
        let mut after = None;
        loop {
            let page = relay.config.store.quarantined(space, after, PAGE).await?;
            after = page.last().map(|last| (last.entity, last.hash));
            entries.extend(page.iter().map(|change| entry(space, change)));
            if page.len() < PAGE || entries.len() >= LISTED_MAX {
                break;
            }
        }
    }
    entries.truncate(LISTED_MAX);
    Ok(entries)
}

fn entry(space: SpaceId, change: &Quarantined) -> Entry {
    Entry {
        space: space.to_string(),
        entity: change.entity.to_string(),
        hash: change.hash.to_string(),
        seq: change.seq.unwrap_or(Seq::ZERO).get(),
        at_ms: change.at_ms,
        code: change.reason.code,
        reason: change.reason.message.clone(),
    }
}

/// Where a change in quarantine is. The first digits of its hash are enough, if no other begins with them.
async fn find(
    relay: &Relay,
    hash: &str,
) -> Result<Result<(Entry, SpaceId, EntityId, ChangeHash), Reply>, ReadError> {
    let mut found =
        list(relay).await?.into_iter().filter(|entry| !hash.is_empty() && entry.hash.starts_with(hash));
    Ok(match (found.next(), found.next()) {
        (Some(entry), None) => match (entry.space.parse(), entry.entity.parse(), entry.hash.parse()) {
            (Ok(space), Ok(entity), Ok(hash)) => Ok((entry, space, entity, hash)),
            _ => Err(Reply::Refused("the list is damaged".to_owned())),
        },
        (Some(_), Some(_)) => Err(Reply::Refused(format!("several changes in quarantine begin with {hash}"))),
        (None, _) => Err(Reply::Refused(format!("no change in quarantine begins with {hash:?}"))),
    })
}

async fn show(relay: &Relay, hash: &str) -> Result<Reply, ReadError> {
    let (entry, space, entity, hash) = match find(relay, hash).await? {
        Ok(found) => found,
        Err(reply) => return Ok(reply),
    };
    let after = Seq::new(entry.seq.saturating_sub(1));
    let limit = PageLimit { entries_max: 1, bytes_max: 0 };
    let page = relay.config.store.read_entity(space, entity, after, limit).await?;
    let Some(row) = page.rows.into_iter().find(|row| row.record.hash == hash) else {
        return Ok(Reply::Refused("the feed does not have it".to_owned()));
    };
    let header = prevalidate_change(&row.record.payload, &ChangeLimits::default());
    let (actor, number, deps) = match &header {
        Ok(header) => (hex(&header.actor), header.seq, header.deps.iter().map(ToString::to_string).collect()),
        Err(_) => (String::new(), 0, Vec::new()),
    };
    let (pushed_by, payload) = (row.origin.to_string(), hex(&row.record.payload));
    Ok(Reply::Shown { entry, actor, number, deps, pushed_by, payload })
}

async fn verify(relay: &Relay) -> Result<Reply, ReadError> {
    let verified = damage::verify(relay).await?;
    let damaged = verified
        .damaged
        .iter()
        .map(|(space, row)| (space.to_string(), row.entity.to_string(), row.hash.to_string(), row.seq.get()));
    let alarms = relay.alarms.list().into_iter();
    let alarms =
        alarms.map(|(space, entity, alarm)| (space.to_string(), entity.to_string(), alarm.to_string()));
    Ok(Reply::Verified {
        rows: verified.rows,
        damaged: damaged.collect(),
        broken: verified.broken.into_iter().map(|(space, why)| (space.to_string(), why)).collect(),
        snapshots_dropped: verified.snapshots_dropped,
        alarms: alarms.collect(),
    })
}

async fn release(relay: &Relay, hash: &str) -> Result<Reply, ReadError> {
    let (_, space, entity, hash) = match find(relay, hash).await? {
        Ok(found) => found,
        Err(reply) => return Ok(reply),
    };
    Ok(match examiner::release(relay, space, entity, hash).await? {
        Released::Changes(hashes) => Reply::Released(hashes.iter().map(ToString::to_string).collect()),
        Released::StillHarmful(reason) => {
            Reply::Refused(format!("the entity does not load with it: {reason}"))
        }
        Released::NotThere => Reply::Refused("it is not in quarantine any more".to_owned()),
    })
}

async fn entities(
    relay: &Relay,
    space: &str,
    collection: Option<String>,
    after: Option<String>,
) -> Result<Reply, ReadError> {
    let collection = match collection.map(|name| CollectionName::new(&name)).transpose() {
        Ok(collection) => collection,
        Err(error) => return Ok(Reply::Refused(error.to_string())),
    };
    let after = match after.map(|entity| entity.parse()).transpose() {
        Ok(after) => after,
        Err(error) => return Ok(Reply::Refused(format!("not an entity: {error}"))),
    };
    let space = SpaceId::from_name(space);
    let store = &relay.config.store;
    let (rows, next) = sql::entities(store, space, collection.as_ref(), after, ENTITIES_AT_ONCE).await?;
    let rows = rows.into_iter().map(|row| {
        let json = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        serde_json::json!({
            "space": space.to_string(), "collection": row.collection.as_str(), "id": row.entity.to_string(),
            "data": json(&row.data), "conflicts": json(&row.conflicts), "version": row.version, "seq": row.seq.get(),
            "heads": row.heads.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "created_ms": row.created_ms, "updated_ms": row.updated_ms, "deleted_ms": row.deleted_ms,
            "updated_device": row.updated_device.map(|device| device.to_string()),
        })
    });
    Ok(Reply::Entities { rows: rows.collect(), next: next.map(|entity| entity.to_string()) })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}").is_ok();
        text
    })
}

impl Relay {
    /// A relay that serves nobody.
    pub(crate) fn offline(config: Config) -> Relay {
        let (_stop, draining) = tokio::sync::watch::channel(false);
        let (alive, _gone) = tokio::sync::mpsc::channel(1);
        let hub = Hub::new(&config);
        Relay {
            config,
            hub,
            alarms: Alarms::default(),
            draining,
            started: tokio::time::Instant::now(),
            alive,
        }
    }
}
