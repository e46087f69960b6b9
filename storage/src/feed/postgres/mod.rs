//! The feed on Postgres, or an engine that speaks its language: shared by any number of relays.
//!
//! Everything is in the schema `headwater`; `storage/migrations/feed` has the tables, `docs/storage.md` describes them. Reads are
//! single statements, which may be dropped at any time. Whatever takes several statements runs in a task of its own to its end.

mod append;
mod behind;
mod catch_up;
mod connect;
mod migrate;
mod read;
mod rows;
mod snapshot;
pub mod sql;
mod wake;
mod write;

use std::fmt;
use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use thiserror::Error;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

pub use self::connect::PostgresOptions;
use self::connect::full;
use self::wake::News;
pub use self::wake::{Wake, Wakes};
use super::cursor::Cursor;
use super::{Append, AppendError, Appended, ReadError, Standing};
use crate::error::StoreError;
use crate::id::{DeviceId, SpaceId};
use crate::position::{Position, Seq, Watermark};

/// A database could not be opened. Nothing has changed, except that migrations may have been made in part, which is done when it is
/// opened again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The URL cannot be used.
    #[error("the database's URL: {0}")]
    Url(String),
    /// The certificates to trust cannot be used.
    #[error("certificates: {0}")]
    Tls(String),
    /// It does not answer, or refuses this user.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The tables could not be made or moved on.
    #[error("the database's tables cannot be made: {0}")]
    Migration(String),
    /// A relay of before made the tables, for another document format. Export the entities with a device of that build, and import them
    /// with this one, by way of another database; nothing was touched.
    #[error(
        "the database has schema {found}, and this relay reads no older one than {supported}; nothing was touched: export the \
         entities with a device of the build of Headwater that made it, and import them through a relay of this build on a new database"
    )]
    SchemaTooOld {
        /// The schema that is there.
        found: i32,
        /// The oldest that this code can work with.
        supported: i32,
    },
    /// A newer relay has moved the tables on to a form that this one does not know. Run that version.
    #[error(
        "the database has schema {found}, which this relay, with {supported}, does not know; run a newer one"
    )]
    SchemaTooNew {
        /// The schema that is there.
        found: i32,
        /// The newest that this code knows.
        supported: i32,
    },
}

/// The feeds of all relays that share a database. Cheap to clone; all clones are the same store.
///
/// An error of the database is [`StoreError::Unavailable`]: what was being appended may or may not be stored, and offering it again
/// tells. Nothing has to be opened again.
///
/// ```no_run
/// use headwater_storage::{PostgresFeed, PostgresOptions, SpaceId};
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let feed = PostgresFeed::open(PostgresOptions::new("postgres://relay@127.0.0.1/headwater")).await?;
/// assert!(feed.head(SpaceId::from_name("home")).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresFeed {
    pool: Pool,
    options: Arc<PostgresOptions>,
    /// Tells other relays that a feed has grown.
    news: News,
    /// This process among those that share the database.
    instance: Uuid,
    ground: migrate::Ground,
}

impl PostgresFeed {
    /// Connects, and makes the tables or moves them on if they are older. Any number of relays may do so at once.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn open(options: PostgresOptions) -> Result<Self, DatabaseError> {
        let pool = options.pool()?;
        let ground = migrate::run(&options, &pool).await?;
        let options = Arc::new(options);
        let instance = Uuid::new_v4();
        let news = News::start(Arc::clone(&options), instance);
        Ok(Self { pool, options, news, instance, ground })
    }

    /// How it was opened.
    pub fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// This process among those that share the database: a random number.
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// Whether entities can be read and written with SQL. Only Postgres itself, from version 15 on, has what that takes.
    pub fn has_sql(&self) -> bool {
        self.ground.has_sql
    }

    /// The device that edits from SQL are said to come from: one for each database.
    pub fn sql_device(&self) -> DeviceId {
        self.ground.sql_device
    }

    /// What other relays append to the database, and that somebody has written SQL, from now on.
    pub fn wakes(&self) -> Wakes {
        Wakes::start(Arc::clone(&self.options), self.instance)
    }

    /// Stores everything in one transaction: all of it is durable when this returns, or none of it is stored. The receipts
    /// are in the order of the appends.
    ///
    /// Dropping the call does not stop it.
    ///
    /// # Errors
    /// When the database fails; see [`PostgresFeed`].
    pub async fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
        let (pool, news, answer_max) = (self.pool.clone(), self.news.clone(), self.options.answer_max());
        let appended = tokio::spawn(async move {
            let appended = append::append_all(&pool, appends, answer_max).await?;
            for one in appended.iter().filter(|one| !one.rows().is_empty()) {
                news.tell(one.space(), one.head().seq);
            }
            Ok(appended)
        });
        appended.await.map_err(|_| StoreError::Stopped)?
    }

    /// The end of a feed. `None` if the space has no feed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn head(&self, space: SpaceId) -> Result<Option<Watermark>, StoreError> {
        let head = "SELECT epoch, head_seq, head_chain FROM headwater.spaces WHERE space = $1";
        let row = self.query_opt(head, &[&space.as_uuid()]).await?;
        row.map(|row| rows::watermark(&row, 0)).transpose()
    }

    /// Whether the database takes writes.
    ///
    /// # Errors
    /// When it does not: because it fails, or because it is read-only, as a standby is.
    pub async fn look(&self) -> Result<(), StoreError> {
        let writable = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";
        let row = self.query_opt(writable, &[]).await?;
        if row.is_some_and(|row| row.get::<_, bool>(0)) {
            return Err(StoreError::Unavailable("it is read-only".to_owned()));
        }
        Ok(())
    }

    /// The ends of those of `spaces` that have a feed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heads_of(&self, spaces: &[SpaceId]) -> Result<Vec<(SpaceId, Watermark)>, StoreError> {
        let heads = "SELECT space, epoch, head_seq, head_chain FROM headwater.spaces WHERE space = ANY($1)";
        let spaces: Vec<Uuid> = spaces.iter().map(SpaceId::as_uuid).collect();
        let rows = self.query(heads, &[&spaces]).await?;
        rows.iter().map(|row| Ok((SpaceId::from_uuid(row.get(0)), rows::watermark(row, 1)?))).collect()
    }

    /// The spaces that have a feed, in ascending order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spaces(&self) -> Result<Vec<SpaceId>, StoreError> {
        let rows = self.query("SELECT space FROM headwater.spaces ORDER BY space", &[]).await?;
        Ok(rows.iter().map(|row| SpaceId::from_uuid(row.get(0))).collect())
    }

    /// Whether a replica that is at `watermark` can go on from there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check(&self, space: SpaceId, watermark: &Watermark) -> Result<Standing, StoreError> {
        let check = "SELECT s.epoch, s.head_seq, s.head_chain,
            (SELECT f.chain FROM headwater.feed f WHERE f.space = s.space AND f.seq = $2),
            EXISTS (SELECT 1 FROM headwater.feed l WHERE l.space = s.space AND l.lost_by > $2 AND NOT EXISTS (
                SELECT 1 FROM headwater.feed k
                WHERE k.space = l.space AND k.entity = l.entity AND k.hash = l.hash AND k.lost_by IS NULL))
            FROM headwater.spaces s WHERE s.space = $1";
        let at = rows::to_i64(watermark.seq.get());
        let Some(row) = self.query_opt(check, &[&space.as_uuid(), &at]).await? else {
            return Ok(Standing::NoSuchSpace);
        };
        let head = rows::watermark(&row, 0)?;
        if watermark.epoch != head.epoch || watermark.seq > head.seq {
            return Ok(Standing::Diverged);
        }
        if watermark.seq == Seq::ZERO {
            return Ok(Standing::Known);
        }
        let chain = rows::chain(
            row.get::<_, Option<&[u8]>>(3)
                .ok_or_else(|| StoreError::corrupt("headwater.feed ends before its head"))?,
        )?;
        // What is lost is sent by whoever compares heads.
        let lacks_any: bool = row.get(4);
        Ok(if lacks_any || chain != watermark.chain { Standing::Diverged } else { Standing::Known })
    }

    /// Whether a replica that is at `position` can go on from there: its watermark and its cursor both belong to this feed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check_position(&self, space: SpaceId, position: &Position) -> Result<Standing, StoreError> {
        let standing = match &position.watermark {
            Some(watermark) => self.check(space, watermark).await?,
            None => Standing::Known,
        };
        let Some(cursor) = position.cursor.as_deref().filter(|_| standing == Standing::Known) else {
            return Ok(standing);
        };
        let base = position.watermark.map_or(Seq::ZERO, |watermark| watermark.seq);
        let Some(head) = self.head(space).await? else { return Ok(Standing::NoSuchSpace) };
        match self.check_cursor(space, &head, base, cursor).await {
            Ok(()) => Ok(Standing::Known),
            Err(ReadError::Cursor(_)) => Ok(Standing::Diverged),
            Err(ReadError::NoSuchSpace { .. }) => Ok(Standing::NoSuchSpace),
            Err(ReadError::Store(error)) => Err(error),
        }
    }

    /// Whether a cursor that began at `base` belongs to this feed.
    async fn check_cursor(
        &self,
        space: SpaceId,
        head: &Watermark,
        base: Seq,
        cursor: &[u8],
    ) -> Result<(), ReadError> {
        let cursor = Cursor::parse(cursor, base.get())?;
        let reached = rows::to_i64(cursor.reached_in(head)?.get());
        let chain = "SELECT chain FROM headwater.feed WHERE space = $1 AND seq = $2";
        let row = self.query_opt(chain, &[&space.as_uuid(), &reached]).await?;
        let row = row.ok_or_else(|| StoreError::corrupt("headwater.feed ends before its head"))?;
        Ok(cursor.belongs_to(&rows::chain(row.get(0))?)?)
    }

    /// The head of a feed that has to be there.
    async fn existing(&self, space: SpaceId) -> Result<Watermark, ReadError> {
        self.head(space).await?.ok_or(ReadError::NoSuchSpace { space })
    }

    /// A connection of the pool, for [`sql`].
    ///
    /// # Errors
    /// When the database does not answer in time.
    pub async fn client(&self) -> Result<Object, StoreError> {
        connect::client(&self.pool).await
    }

    async fn query(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client().await?;
        let answer = async {
            let statement = client.prepare_cached(statement).await?;
            client.query(&statement, parameters).await
        };
        match timeout(self.options.answer_max(), answer).await {
            Ok(rows) => Ok(rows?),
            Err(_) => Err(connect::silent(client)),
        }
    }

    async fn query_opt(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, parameters).await?.into_iter().next())
    }

    async fn execute(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let answer = async {
            let statement = client.prepare_cached(statement).await?;
            client.execute(&statement, parameters).await
        };
        match timeout(self.options.answer_max(), answer).await {
            Ok(rows) => Ok(rows?),
            Err(_) => Err(connect::silent(client)),
        }
    }
}

impl fmt::Debug for PostgresFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresFeed").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(full(&error))
    }
}
