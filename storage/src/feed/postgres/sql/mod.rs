//! The entities in SQL: rows made from the feed, and edits that people write with SQL.
//!
//! The tables are those of `storage/migrations/sql`. Two flows meet in a row of `headwater.projection`. [`projection::write`] puts
//! the state there that the feed has. An edit from SQL is laid over it at once, and stands in the row as `pending`, until its
//! change has come back through the feed; until then the row is not overwritten, so nobody sees their own edit vanish. Rows that could
//! not be written when it was their turn are noted in `headwater.due`, and given again by [`projection::due`].
//!
//! Everything is one statement, so it is done whole or not at all. None waits for a transaction that a person left open, but for
//! [`projection::reset`], and for one that inserted an entity with an id that came from a device at the same time.

pub mod inbox;
mod lease;
pub mod projection;
mod text;

use std::error::Error as _;

use thiserror::Error;

pub use self::lease::take_lease;

use crate::id::ChangeHash;
use crate::position::Seq;

/// The SQL side could not do what it was asked. Nothing has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The database refused, or is gone. Try again later, on another connection; if it refuses again, the message says why.
    #[error("the database failed: {}", said(.0))]
    Database(#[from] tokio_postgres::Error),
    /// A row is not as Headwater writes it. Somebody changed it by hand: repair or delete it.
    #[error("headwater.{table} has a row that is not readable: {what}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The row, and what is wrong with it.
        what: String,
    },
}

/// The driver's own message is only "db error".
fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => said.to_string(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// SQL has no unsigned numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seq(number: i64) -> Seq {
    Seq::new(u64::try_from(number).unwrap_or(0))
}

/// Hashes that stand in a row as hexadecimal text.
fn hashes(texts: &[String], table: &'static str) -> Result<Vec<ChangeHash>, SqlError> {
    let parse = |text: &String| {
        text.parse().map_err(|error| SqlError::Unreadable { table, what: format!("{error}") })
    };
    texts.iter().map(parse).collect()
}
