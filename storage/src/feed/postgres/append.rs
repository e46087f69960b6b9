//! An append on Postgres: one transaction, in two round trips.
//!
//! The first locks the spaces, in ascending order, and reads everything that the decision may ask for; the locks make what was
//! read stay true, and let seqs be given out without gaps. The second writes everything with one statement for each table, and
//! commits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::connect::{self, is_transient};
use super::rows::{self, from_i64, hash_of};
use super::write;
use crate::change::Refusal;
use crate::error::StoreError;
use crate::feed::append::{AuthorKey, ChangeKey, EntityState, Ledger, decide};
use crate::feed::{Append, AppendError, Appended};
use crate::id::{EntityId, FeedEpoch, SpaceId};
use crate::position::Watermark;

const ATTEMPTS_MAX: u32 = 8;

const LOCK: &str = "SELECT space, epoch, head_seq, head_chain FROM headwater.spaces
    WHERE space = ANY($1) ORDER BY space FOR UPDATE";
const NEW_SPACES: &str = "INSERT INTO headwater.spaces (space, epoch, head_seq, head_chain)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[]) ON CONFLICT (space) DO NOTHING";
const KNOWN: &str = "SELECT f.space, f.entity, f.hash, f.seq, f.lost_by IS NOT NULL
    FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS k (space, entity, hash)
    JOIN headwater.feed f ON f.space = k.space AND f.entity = k.entity AND f.hash = k.hash AND f.lost_by IS NULL";
const LOST: &str = "SELECT f.space, f.entity, f.hash FROM headwater.feed f WHERE f.space = ANY($1) AND f.lost_by IS NOT NULL";
const QUARANTINE: &str = "SELECT q.space, q.entity, q.hash, q.code, q.message
    FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS k (space, entity, hash)
    JOIN headwater.quarantine q ON q.space = k.space AND q.entity = k.entity AND q.hash = k.hash";
const ENTITIES: &str = "SELECT h.space, h.entity, h.last_seq, h.changes, h.collection, h.heads, h.last_op
    FROM unnest($1::uuid[], $2::uuid[]) AS k (space, entity)
    JOIN headwater.heads h ON h.space = k.space AND h.entity = k.entity";
const AUTHORS: &str = "SELECT a.space, a.entity, a.author, a.number
    FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS k (space, entity, author)
    JOIN headwater.authors a ON a.space = k.space AND a.entity = k.entity AND a.author = k.author";

/// Why an attempt came to nothing.
enum Failed {
    Database(tokio_postgres::Error),
    Store(StoreError),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Stores all appends in one transaction. Must not be dropped before it ends: run it in a task of its own.
pub(super) async fn append_all(
    pool: &Pool,
    appends: Vec<Append>,
    answer_max: Duration,
) -> Result<Vec<Appended>, AppendError> {
    let mut attempts = 0;
    loop {
        let client = connect::client(pool).await?;
        let error = match timeout(answer_max, attempt(&client, &appends)).await {
            Ok(Ok(appended)) => return Ok(appended),
            Ok(Err(error)) => error,
            Err(_) => return Err(connect::silent(client).into()),
        };
        // A connection that cannot say that it has rolled back is not used again.
        if !matches!(timeout(answer_max, client.batch_execute("ROLLBACK")).await, Ok(Ok(()))) {
            drop(Object::take(client));
        }
        attempts += 1;
        match error {
            Failed::Database(error) if is_transient(&error) && attempts < ATTEMPTS_MAX => {
                tracing::debug!(%error, attempts, "an append is tried again");
            }
            Failed::Database(error) => return Err(StoreError::from(error).into()),
            Failed::Store(error) => return Err(error.into()),
        }
    }
}

async fn attempt(client: &Object, appends: &[Append]) -> Result<Vec<Appended>, Failed> {
    let (mut ledger, mut is_begun, mut made) = (DatabaseLedger::default(), false, false);
    let wanted = Wanted::of(appends);
    loop {
        ledger.load(client, &wanted, is_begun).await?;
        is_begun = true;
        let new: BTreeMap<SpaceId, FeedEpoch> = appends
            .iter()
            .rev()
            .filter(|append| !ledger.heads.contains_key(&append.space))
            .map(|append| (append.space, append.epoch_if_new))
            .collect();
        if new.is_empty() {
            break;
        }
        // Made by this transaction, or by another relay meanwhile: either way it is there and locked when it is read again.
        make_spaces(client, &new).await?;
        made = true;
    }
    let outcome = decide(&ledger, appends.to_vec())?;
    if outcome.is_empty() && !made {
        client.batch_execute("COMMIT").await?;
    } else {
        write::all(client, appends, &outcome).await?;
    }
    Ok(outcome.appended)
}

async fn make_spaces(client: &Object, new: &BTreeMap<SpaceId, FeedEpoch>) -> Result<(), Failed> {
    let starts = new.iter().map(|(space, epoch)| (*space, Watermark::start(*space, *epoch)));
    let (mut spaces, mut epochs, mut seqs, mut chains) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (space, start) in starts {
        spaces.push(space.as_uuid());
        epochs.push(start.epoch.as_uuid());
        seqs.push(0_i64);
        chains.push(start.chain.as_bytes().to_vec());
    }
    let statement = client.prepare_cached(NEW_SPACES).await?;
    client.execute(&statement, &[&spaces, &epochs, &seqs, &chains]).await?;
    Ok(())
}

/// Everything that a decision about some appends may ask for.
struct Wanted {
    spaces: Vec<Uuid>,
    changes: Columns,
    entities: Columns,
    authors: Columns,
}

/// Keys as columns: space, entity, and a hash or an author.
#[derive(Default)]
struct Columns {
    spaces: Vec<Uuid>,
    entities: Vec<Uuid>,
    names: Vec<Vec<u8>>,
}

impl Columns {
    fn of(keys: BTreeSet<(SpaceId, EntityId, Vec<u8>)>) -> Self {
        let mut columns = Self::default();
        for (space, entity, name) in keys {
            columns.spaces.push(space.as_uuid());
            columns.entities.push(entity.as_uuid());
            columns.names.push(name);
        }
        columns
    }
}

impl Wanted {
    fn of(appends: &[Append]) -> Self {
        let (mut spaces, mut changes, mut entities, mut authors) =
            <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
        for append in appends {
            spaces.insert(append.space.as_uuid());
            for entry in &append.entries {
                let entity = entry.record.entity;
                entities.insert((append.space, entity, Vec::new()));
                for hash in entry.deps.iter().chain([&entry.record.hash]) {
                    changes.insert((append.space, entity, hash.as_bytes().to_vec()));
                }
                if let Some(numbers) = &entry.numbers {
                    authors.insert((append.space, entity, numbers.author.to_vec()));
                }
            }
        }
        let spaces = spaces.into_iter().collect();
        Self {
            spaces,
            changes: Columns::of(changes),
            entities: Columns::of(entities),
            authors: Columns::of(authors),
        }
    }
}

/// What the database has, as far as it was wanted.
#[derive(Default)]
struct DatabaseLedger {
    heads: BTreeMap<SpaceId, Watermark>,
    known: BTreeMap<ChangeKey, u64>,
    lost: BTreeSet<ChangeKey>,
    quarantine: BTreeMap<ChangeKey, Refusal>,
    entities: BTreeMap<(SpaceId, EntityId), EntityState>,
    authors: BTreeMap<AuthorKey, u64>,
}

impl DatabaseLedger {
    /// Locks and reads, all in one round trip.
    async fn load(&mut self, client: &Object, wanted: &Wanted, is_begun: bool) -> Result<(), Failed> {
        let Wanted { spaces, changes, entities, authors } = wanted;
        let [lock, known, lost, quarantine, of_entities, of_authors] =
            prepare(client, [LOCK, KNOWN, LOST, QUARANTINE, ENTITIES, AUTHORS]).await?;
        let begin = async {
            match is_begun {
                true => Ok(()),
                false => client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await,
            }
        };
        let lock_parameters: [&(dyn ToSql + Sync); 1] = [spaces];
        let change_parameters: [&(dyn ToSql + Sync); 3] =
            [&changes.spaces, &changes.entities, &changes.names];
        let entity_parameters: [&(dyn ToSql + Sync); 2] = [&entities.spaces, &entities.entities];
        let author_parameters: [&(dyn ToSql + Sync); 3] =
            [&authors.spaces, &authors.entities, &authors.names];
        // Sent in this order; each statement sees what was committed before it began, and all but the first begin under the locks.
        let (begun, locked, known, lost, quarantine, entities, authors) = tokio::join!(
            biased;
            begin,
            client.query(&lock, &lock_parameters),
            client.query(&known, &change_parameters),
            client.query(&lost, &lock_parameters),
            client.query(&quarantine, &change_parameters),
            client.query(&of_entities, &entity_parameters),
            client.query(&of_authors, &author_parameters),
        );
        begun?;
        for row in locked? {
            let space = SpaceId::from_uuid(row.get(0));
            self.heads.insert(space, rows::watermark(&row, 1)?);
        }
        for row in known? {
            self.known.insert(change_key(&row)?, from_i64(row.get(3))?);
        }
        for row in lost? {
            self.lost.insert(change_key(&row)?);
        }
        for row in quarantine? {
            let code = u16::try_from(row.get::<_, i32>(3))
                .map_err(|_| StoreError::corrupt("a quarantine's code"))?;
            self.quarantine.insert(change_key(&row)?, Refusal { code, message: row.get(4) });
        }
        for row in entities? {
            let key = (SpaceId::from_uuid(row.get(0)), EntityId::from_uuid(row.get(1)));
            let state = EntityState {
                last: from_i64(row.get(2))?,
                block: 0,
                count: from_i64(row.get(3))?,
                collection: rows::collection(row.get(4))?,
                heads: rows::heads(row.get(5))?,
            };
            if let Some(last_op) = row.get::<_, Option<i64>>(6) {
                self.authors.insert((key.0, key.1, Vec::new()), from_i64(last_op)?);
            }
            self.entities.insert(key, state);
        }
        for row in authors? {
            let author: Vec<u8> = row.get(2);
            let key = (SpaceId::from_uuid(row.get(0)), EntityId::from_uuid(row.get(1)), author);
            self.authors.insert(key, from_i64(row.get(3))?);
        }
        Ok(())
    }
}

impl Ledger for DatabaseLedger {
    fn head(&self, space: SpaceId) -> Result<Option<Watermark>, StoreError> {
        Ok(self.heads.get(&space).copied())
    }

    fn entity(&self, space: SpaceId, entity: EntityId) -> Result<Option<EntityState>, StoreError> {
        Ok(self.entities.get(&(space, entity)).cloned())
    }

    fn seq(&self, change: &ChangeKey) -> Result<Option<u64>, StoreError> {
        Ok(self.known.get(change).copied())
    }

    fn number_of(&self, author: &AuthorKey) -> Result<Option<u64>, StoreError> {
        Ok(self.authors.get(author).copied())
    }

    fn quarantined(&self, change: &ChangeKey) -> Result<Option<Refusal>, StoreError> {
        Ok(self.quarantine.get(change).cloned())
    }

    fn was_lost(&self, change: &ChangeKey) -> Result<bool, StoreError> {
        Ok(self.lost.contains(change))
    }
}

fn change_key(row: &Row) -> Result<ChangeKey, StoreError> {
    Ok((SpaceId::from_uuid(row.get(0)), EntityId::from_uuid(row.get(1)), hash_of(row.get(2))?))
}

async fn prepare<const N: usize>(client: &Object, statements: [&str; N]) -> Result<[Statement; N], Failed> {
    let mut prepared = Vec::with_capacity(N);
    for statement in statements {
        prepared.push(client.prepare_cached(statement).await?);
    }
    <[Statement; N]>::try_from(prepared).map_err(|_| Failed::Store(StoreError::Stopped))
}
