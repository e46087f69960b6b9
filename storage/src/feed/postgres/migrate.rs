//! The schema: made and moved on by whichever relay comes first.
//!
//! Each version says which older relays may still run on it, so that relays are replaced one after the other: first all of them
//! learn the new schema, and only a later version takes away what the old ones needed.

use std::time::Duration;

use deadpool_postgres::Pool;
use refinery::Runner;
use tokio_postgres::Client;

use super::DatabaseError;
use super::connect::{PostgresOptions, full};
use crate::id::DeviceId;

mod feed {
    refinery::embed_migrations!("migrations/feed");
}

mod sql {
    refinery::embed_migrations!("migrations/sql");
}

/// What the relay finds.
#[derive(Clone, Copy)]
pub(super) struct Ground {
    pub(super) has_sql: bool,
    pub(super) sql_device: DeviceId,
}

/// The newest schema that this code knows.
const VERSION: i32 = 2;
/// The oldest schema that this code can work with. Feeds of the one before hold documents of another format.
const OLDEST_SCHEMA: i32 = 2;
/// The newest of the schema for people who read and write with SQL.
const SQL_VERSION: i32 = 5;
/// The oldest code that can work with that schema, by the newest schema that it knows.
const OLDEST_CODE: i32 = 2;
/// The same of the schema for people.
const OLDEST_SQL_CODE: i32 = 4;

const HISTORY: &str = "headwater.feed_schema";
const SQL_HISTORY: &str = "headwater.sql_schema";
/// From this version on a view can be read with the rights of whoever reads it.
const SQL_SERVER_MIN: i32 = 150_000;
const ATTEMPTS_MAX: u32 = 20;

/// Made before anything else, by any number of relays at once.
const GROUND: &str = "
    CREATE SCHEMA IF NOT EXISTS headwater;
    CREATE TABLE IF NOT EXISTS headwater.meta (name text PRIMARY KEY, value text NOT NULL);
    INSERT INTO headwater.meta (name, value) VALUES ('migrating', '') ON CONFLICT (name) DO NOTHING;
    INSERT INTO headwater.meta (name, value) VALUES ('sql_device', gen_random_uuid()::text) ON CONFLICT (name) DO NOTHING;
";

/// Moves the schema on to this code's version. Relays that start together do so one after the other.
pub(super) async fn run(options: &PostgresOptions, pool: &Pool) -> Result<Ground, DatabaseError> {
    let mut lock = connect(options).await?;
    let mut attempts = 0;
    while let Err(error) = lock.batch_execute(GROUND).await {
        attempts += 1;
        // Two relays that make the same thing at the same time: one of them is told so.
        if error.is_closed() || attempts > ATTEMPTS_MAX {
            return Err(DatabaseError::Migration(full(&error)));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failed = |error: tokio_postgres::Error| DatabaseError::Migration(full(&error));
    let held = lock.transaction().await.map_err(failed)?;
    let row = "SELECT value FROM headwater.meta WHERE name = 'migrating' FOR UPDATE";
    held.query_one(row, &[]).await.map_err(failed)?;
    let mut worker = connect(options).await?;
    let migrated = migrate(&mut worker).await;
    held.rollback().await.map_err(failed)?;
    let has_sql = migrated?;
    // Whatever the pool had prepared may be about an older schema.
    pool.retain(|_, _| false);
    let device = "SELECT value FROM headwater.meta WHERE name = 'sql_device'";
    let device: String = worker.query_one(device, &[]).await.map_err(failed)?.get(0);
    let sql_device =
        device.parse().map_err(|_| DatabaseError::Migration("meta has no sql_device".to_owned()))?;
    Ok(Ground { has_sql, sql_device })
}

/// Says whether there is SQL for people.
async fn migrate(client: &mut Client) -> Result<bool, DatabaseError> {
    let failed = |error: tokio_postgres::Error| DatabaseError::Migration(full(&error));
    let has_sql = has_sql(client).await.map_err(failed)?;
    let found = version(client, HISTORY).await.map_err(failed)?;
    let found_sql = version(client, SQL_HISTORY).await.map_err(failed)?;
    if (1..OLDEST_SCHEMA).contains(&found) {
        return Err(DatabaseError::SchemaTooOld { found, supported: OLDEST_SCHEMA });
    }
    for (found, supported, oldest) in
        [(found, VERSION, "oldest_code"), (found_sql, SQL_VERSION, "oldest_sql_code")]
    {
        if found <= supported {
            continue;
        }
        let row = client
            .query_opt("SELECT value FROM headwater.meta WHERE name = $1", &[&oldest])
            .await
            .map_err(failed)?;
        let oldest: i32 = row.and_then(|row| row.get::<_, String>(0).parse().ok()).unwrap_or(i32::MAX);
        if oldest > supported {
            return Err(DatabaseError::SchemaTooNew { found, supported });
        }
    }
    if found > VERSION || found_sql > SQL_VERSION {
        tracing::warn!(found, found_sql, "the schema is newer than this relay, and still fits it");
        return Ok(has_sql);
    }
    apply(client, feed::migrations::runner(), HISTORY).await?;
    if has_sql {
        apply(client, sql::migrations::runner(), SQL_HISTORY).await?;
    } else {
        tracing::info!("this engine has no SQL for entities; that takes PostgreSQL 15");
    }
    let set = "INSERT INTO headwater.meta (name, value) VALUES ($1, $2)
               ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value";
    for (name, oldest) in [("oldest_code", OLDEST_CODE), ("oldest_sql_code", OLDEST_SQL_CODE)] {
        client.execute(set, &[&name, &oldest.to_string()]).await.map_err(failed)?;
    }
    Ok(has_sql)
}

/// Whether the engine is one that the triggers and views for people run on.
async fn has_sql(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_one("SELECT version(), current_setting('server_version_num', true)", &[]).await?;
    let (engine, number): (String, Option<String>) = (row.get(0), row.get(1));
    let is_postgres = engine.starts_with("PostgreSQL") && !engine.contains("-YB-");
    Ok(is_postgres
        && number.and_then(|number| number.parse().ok()).is_some_and(|number: i32| number >= SQL_SERVER_MIN))
}

async fn apply(client: &mut Client, mut runner: Runner, history: &str) -> Result<(), DatabaseError> {
    let done = runner.set_migration_table_name(history).run_async(client).await;
    let done = done.map_err(|error| DatabaseError::Migration(full(&error)))?;
    for migration in done.applied_migrations() {
        tracing::info!(history, %migration, "migrated");
    }
    Ok(())
}

/// The version of the schema that is there; 0 if there is none.
async fn version(client: &Client, history: &str) -> Result<i32, tokio_postgres::Error> {
    let (schema, table) = history.split_once('.').unwrap_or(("public", history));
    let there = "SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = $2";
    if client.query_opt(there, &[&schema, &table]).await?.is_none() {
        return Ok(0);
    }
    let row = client.query_one(&format!("SELECT max(version) FROM {history}"), &[]).await?;
    Ok(row.get::<_, Option<i32>>(0).unwrap_or(0))
}

/// A connection without time limits, for work that is done once.
async fn connect(options: &PostgresOptions) -> Result<Client, DatabaseError> {
    let (client, connection) = options
        .config()?
        .connect(options.tls()?)
        .await
        .map_err(|error| DatabaseError::Unreachable(full(&error)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database ended");
        }
    });
    // One of them only holds the lock.
    let patient =
        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
    client.batch_execute(patient).await.map_err(|error| DatabaseError::Unreachable(full(&error)))?;
    Ok(client)
}
