//! Entities in SQL, on a database that has what that takes: rows that people read, and edits that people write.
//!
//! One relay of those that share the database does this at a time, by a lease; another takes over when it ends. Both sides can be
//! done twice without harm: a row is written once for each position of its entity, and an edit becomes the same change whoever makes
//! it.

mod project;
mod write_back;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_storage::sql::{SqlError, inbox, take_lease};
use headwater_storage::{PostgresFeed, ReadError, StoreError};

pub use self::project::{entities, rebuild};
use crate::state::{Relay, until_draining};

/// Under which name the lease is.
const LEASE: &str = "sql";
/// How long a relay that has died keeps others from taking over.
const LEASE_MS: u64 = 5_000;
/// How long it is relied on before it is renewed.
const LEASE_RENEWED_AFTER: Duration = Duration::from_millis(LEASE_MS / 5);
/// How often to look for work without having been told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often what is no longer needed is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What went wrong in this work. It is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The feed could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tables for SQL could not be used.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The store is on a file, or on an engine that has no SQL for entities.
    #[error("this store has no SQL for entities; that takes PostgreSQL 15")]
    NoSql,
}

/// Works until the relay drains. Returns at once on a store that is no database; on one without SQL it only forgets what is old.
pub(crate) async fn run(relay: Arc<Relay>) {
    let Some(database) = relay.config.store.database().cloned() else { return };
    let mut lease = Lease::default();
    let mut draining = relay.draining.clone();
    let mut growing = relay.hub.growing();
    let mut forgotten: Option<tokio::time::Instant> = None;
    loop {
        // Whatever is running is done to its end, so that no transaction is left half way.
        let worked = work(&relay, &database, &mut lease).await;
        if let Err(error) = &worked {
            tracing::warn!(%error, "the entities in SQL are behind; tried again");
        }
        let is_mine = matches!(worked, Ok(true));
        if is_mine && forgotten.is_none_or(|at| at.elapsed() > FORGET_EVERY) {
            forgotten = Some(tokio::time::Instant::now());
            if let Err(error) = forget(&relay, &database).await {
                tracing::warn!(%error, "what is no longer needed could not be forgotten");
            }
        }
        tokio::select! {
            () = until_draining(&mut draining) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            changed = growing.changed(), if is_mine => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Makes changes of what was written, and rows of what has changed. Says whether that is this relay's work.
async fn work(relay: &Relay, database: &PostgresFeed, lease: &mut Lease) -> Result<bool, Failed> {
    if !database.has_sql() {
        // What is old may be forgotten by any of them.
        return Ok(true);
    }
    let is_mine = lease.hold(database).await?;
    if is_mine {
        write_back::run(relay, database, lease).await?;
        project::run(relay, database, lease).await?;
    }
    Ok(is_mine)
}

/// This relay's lease. Renewing it is a commit, so it is done well before it ends and not for every piece of work.
#[derive(Default)]
struct Lease {
    renewed: Option<tokio::time::Instant>,
}

impl Lease {
    /// Whether this relay has it.
    async fn hold(&mut self, database: &PostgresFeed) -> Result<bool, Failed> {
        if self.renewed.is_some_and(|at| at.elapsed() < LEASE_RENEWED_AFTER) {
            return Ok(true);
        }
        let asked = tokio::time::Instant::now();
        let is_mine = take_lease(&database.client().await?, LEASE, database.instance(), LEASE_MS).await?;
        self.renewed = is_mine.then_some(asked);
        Ok(is_mine)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

async fn forget(relay: &Relay, database: &PostgresFeed) -> Result<(), Failed> {
    let before = |days: u64| now_ms().saturating_sub(days.saturating_mul(DAY_MS));
    database.forget_audit(before(relay.config.audit_days)).await?;
    if !database.has_sql() {
        return Ok(());
    }
    let client = database.client().await?;
    let inbox_before = i64::try_from(before(relay.config.sql_inbox_days)).unwrap_or(i64::MAX);
    inbox::forget_settled(&client, inbox_before).await?;
    Ok(())
}
