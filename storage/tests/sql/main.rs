//! The entities in SQL, on a real Postgres: what people can do, what the relay does beside them, and who may do what.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(unix)]

mod access;
mod concurrent;
mod document;
mod functions;
mod inbox;
mod projection;
mod values;
mod views;
mod writing;

use std::str::FromStr;

use deadpool_postgres::{Client, Manager, Pool};
use headwater_storage::testing::Postgres;
use headwater_storage::{
    ChangeHash, CollectionName, EntityId, PostgresFeed, PostgresOptions, ProjectedEntity, Seq, SpaceId,
};
use tokio_postgres::NoTls;
use uuid::Uuid;

/// A database of its own with one space.
struct Bed {
    server: &'static Postgres,
    url: String,
    pool: Pool,
    space: SpaceId,
}

impl Bed {
    async fn new() -> Bed {
        let server = Postgres::shared().unwrap();
        let url = server.database().unwrap();
        PostgresFeed::open(PostgresOptions::new(&url)).await.unwrap();
        let config = tokio_postgres::Config::from_str(&url).unwrap();
        let pool = Pool::builder(Manager::new(config, NoTls)).max_size(8).build().unwrap();
        let bed = Bed { server, url, pool, space: SpaceId::from_name("home") };
        bed.add_space(bed.space).await;
        bed
    }

    async fn add_space(&self, space: SpaceId) {
        let sql = format!("INSERT INTO headwater.spaces VALUES ('{space}', gen_random_uuid(), 0, '')");
        self.client().await.batch_execute(&sql).await.unwrap();
    }

    async fn client(&self) -> Client {
        self.pool.get().await.unwrap()
    }

    /// Runs SQL as a person would; `SPACE` stands for the space.
    fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.url, &self.sql(sql)).unwrap()
    }

    /// What psql says of SQL that fails.
    fn psql_error(&self, sql: &str) -> String {
        self.server.psql(&self.url, &self.sql(sql)).unwrap_err().to_string()
    }

    fn sql(&self, sql: &str) -> String {
        sql.replace("SPACE", &format!("'{}'", self.space))
    }

    /// The code and the message with which SQL is refused.
    async fn refused(&self, sql: &str) -> (String, String) {
        let client = self.client().await;
        refused(&client, &self.sql(sql)).await
    }

    /// Adds an entity as a person would.
    fn insert(&self, data: &str) -> EntityId {
        let sql = "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', $j$DATA$j$) RETURNING id";
        EntityId::from_uuid(self.psql(&sql.replace("DATA", data)).parse().unwrap())
    }

    /// The last edit of the inbox.
    fn last_edit(&self) -> Uuid {
        self.psql("SELECT id FROM headwater.inbox ORDER BY n DESC LIMIT 1").parse().unwrap()
    }
}

async fn refused(client: &tokio_postgres::Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

/// A row that was made from the feed.
fn row(entity: EntityId, seq: u64, data: &str) -> ProjectedEntity {
    ProjectedEntity {
        entity,
        collection: CollectionName::new("bags").unwrap(),
        data: data.to_owned(),
        conflicts: "{}".to_owned(),
        heads: vec![hash(seq)],
        version: seq,
        seq: Seq::new(seq),
        created_ms: Some(1_700_000_000_001),
        updated_ms: Some(1_700_000_000_002),
        deleted_ms: None,
        updated_by: None,
        updated_device: None,
    }
}

fn hash(number: u64) -> ChangeHash {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    ChangeHash::from_bytes(bytes)
}

fn entity(number: u8) -> EntityId {
    EntityId::from_bytes([number; 16])
}
