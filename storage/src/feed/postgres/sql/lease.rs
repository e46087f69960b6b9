use deadpool_postgres::Client;
use uuid::Uuid;

use super::{SqlError, signed};

/// Takes the lease `name`, or keeps it, for `ms` milliseconds from now on the database's clock. False if somebody else has it.
///
/// A lease keeps relays from doing the same work, no more: one that was held up may still be at it when the next one begins. What is
/// done under a lease must be right without it.
///
/// # Errors
/// See [`SqlError`].
pub async fn take_lease(client: &Client, name: &str, holder: Uuid, ms: u64) -> Result<bool, SqlError> {
    let statement = client.prepare_cached(TAKE).await?;
    let taken = client.execute(&statement, &[&name, &holder, &signed(ms).min(LEASE_MS_MAX)]).await?;
    Ok(taken > 0)
}

/// A year: beyond any use, and well within what a timestamp holds.
const LEASE_MS_MAX: i64 = 365 * 24 * 60 * 60 * 1000;

const TAKE: &str = "
INSERT INTO headwater.leases AS l (name, holder, until)
VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond')
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE l.holder = excluded.holder OR l.until < clock_timestamp()";
