//! What an append writes: one statement for each table, with its rows as columns.

use deadpool_postgres::Object;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use tokio_postgres::types::ToSql;

use super::rows::{self, to_i64};
use crate::feed::append::Outcome;
use crate::feed::{Append, Appended};
use crate::position::Seq;

const PUT_ROWS: &str = "INSERT INTO headwater.feed
    (space, seq, entity, hash, kind, collection, origin, pushed_by, received_ms, chain, bytes, payload)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[], $5::smallint[], $6::text[], $7::uuid[], $8::text[],
    $9::bigint[], $10::bytea[], $11::bigint[], $12::bytea[])";
const PUT_ENTITIES: &str = "INSERT INTO headwater.heads (space, entity, last_seq, changes, collection, heads, last_op)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[], $7::bigint[])
    ON CONFLICT (space, entity) DO UPDATE SET last_seq = EXCLUDED.last_seq, changes = EXCLUDED.changes,
    collection = EXCLUDED.collection, heads = EXCLUDED.heads, last_op = COALESCE(EXCLUDED.last_op, headwater.heads.last_op)";
const PUT_AUTHORS: &str = "INSERT INTO headwater.authors (space, entity, author, number)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bigint[])
    ON CONFLICT (space, entity, author) DO UPDATE SET number = EXCLUDED.number";
const PUT_HEADS: &str = "UPDATE headwater.spaces s SET head_seq = n.head_seq, head_chain = n.head_chain
    FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS n (space, head_seq, head_chain) WHERE s.space = n.space";
const PUT_AUDIT: &str = "INSERT INTO headwater.audit (space, first_seq, last_seq, at_ms, device, address, pushed_by, changes)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::integer[])";
const PUT_QUARANTINE: &str = "INSERT INTO headwater.quarantine (space, entity, hash, verdict, at_ms, code, message)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bigint[], $5::bigint[], $6::integer[], $7::text[])
    ON CONFLICT (space, entity, hash) DO UPDATE SET verdict = EXCLUDED.verdict, at_ms = EXCLUDED.at_ms, code = EXCLUDED.code,
    message = EXCLUDED.message";
const DROP_QUARANTINE: &str = "DELETE FROM headwater.quarantine q
    USING unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS k (space, entity, hash)
    WHERE q.space = k.space AND q.entity = k.entity AND q.hash = k.hash";
const MARK_LOST: &str = "UPDATE headwater.feed f SET lost_by = k.verdict
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS k (space, seq, verdict) WHERE f.space = k.space AND f.seq = k.seq";
const DROP_SNAPSHOTS: &str =
    "DELETE FROM headwater.snapshots s USING unnest($1::uuid[], $2::uuid[]) AS k (space, entity)
    WHERE s.space = k.space AND s.entity = k.entity";

/// Sends everything at once: the answers come back in the same order, the commit's last.
pub(super) async fn all(
    client: &Object,
    appends: &[Append],
    outcome: &Outcome,
) -> Result<(), tokio_postgres::Error> {
    let writes = writes(appends, outcome);
    let mut prepared = Vec::with_capacity(writes.len());
    for (statement, _) in &writes {
        prepared.push(client.prepare_cached(statement).await?);
    }
    let mut sent: Vec<BoxFuture<'_, Result<(), tokio_postgres::Error>>> =
        Vec::with_capacity(writes.len() + 1);
    for (statement, (_, columns)) in prepared.iter().zip(&writes) {
        let send = async move {
            let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| &**column as _).collect();
            client.execute(statement, &parameters).await.map(|_rows| ())
        };
        sent.push(send.boxed());
    }
    // After a statement that failed, this one only ends the transaction; the failure is reported below.
    sent.push(client.batch_execute("COMMIT").boxed());
    join_all(sent).await.into_iter().collect()
}

type Column = Box<dyn ToSql + Sync + Send>;

fn column<T: ToSql + Sync + Send + 'static>(values: impl Iterator<Item = T>) -> Column {
    Box::new(values.collect::<Vec<T>>())
}

/// The statements with their columns, in the order in which they have to run.
fn writes(appends: &[Append], outcome: &Outcome) -> Vec<(&'static str, Vec<Column>)> {
    let mut writes = Vec::new();
    let heads = &outcome.spaces;
    let judged = &outcome.judged;
    let lost = || judged.iter().flat_map(|one| one.judgement.damaged.iter().map(move |row| (one, row)));
    if lost().next().is_some() {
        // Before the rows: a change that is lost may come back in the same transaction.
        writes.push((
            MARK_LOST,
            vec![
                column(lost().map(|(one, _)| one.space.as_uuid())),
                column(lost().map(|(_, row)| to_i64(row.seq.get()))),
                column(lost().map(|(one, _)| to_i64(one.seq.get()))),
            ],
        ));
    }
    let rows = &outcome.rows;
    if !rows.is_empty() {
        let records = || rows.iter().map(|new| &new.row.record);
        writes.push((
            PUT_ROWS,
            vec![
                column(rows.iter().map(|new| new.space.as_uuid())),
                column(rows.iter().map(|new| to_i64(new.row.seq.get()))),
                column(records().map(|record| record.entity.as_uuid())),
                column(records().map(|record| record.hash.as_bytes().to_vec())),
                column(records().map(|record| i16::from(record.kind.code()))),
                column(records().map(|record| record.collection.as_str().to_owned())),
                column(rows.iter().map(|new| new.row.origin.as_uuid())),
                column(pushers(appends, &outcome.appended).into_iter()),
                column(rows.iter().map(|new| to_i64(new.received_ms))),
                column(rows.iter().map(|new| new.links.chain.as_bytes().to_vec())),
                column(records().map(|record| to_i64(record.payload.len() as u64))),
                column(records().map(|record| record.payload.to_vec())),
            ],
        ));
        let entities = &outcome.entities;
        writes.push((
            PUT_ENTITIES,
            vec![
                column(entities.keys().map(|(space, _)| space.as_uuid())),
                column(entities.keys().map(|(_, entity)| entity.as_uuid())),
                column(entities.values().map(|(state, _)| to_i64(state.last))),
                column(entities.values().map(|(state, _)| to_i64(state.count))),
                column(entities.values().map(|(state, _)| state.collection.as_str().to_owned())),
                column(entities.values().map(|(state, _)| rows::heads_value(&state.heads))),
                column(entities.keys().map(|(space, entity)| {
                    outcome.authors.get(&(*space, *entity, Vec::new())).map(|last_op| to_i64(*last_op))
                })),
            ],
        ));
        let audited =
            || appends.iter().zip(&outcome.appended).filter(|(_, appended)| !appended.rows().is_empty());
        let first = |appended: &Appended| appended.rows().first().map_or(Seq::ZERO, |row| row.seq);
        writes.push((
            PUT_AUDIT,
            vec![
                column(audited().map(|(append, _)| append.space.as_uuid())),
                column(audited().map(|(_, appended)| to_i64(first(appended).get()))),
                column(audited().map(|(_, appended)| to_i64(appended.head().seq.get()))),
                column(audited().map(|(append, _)| to_i64(append.received_ms))),
                column(audited().map(|(append, _)| append.origin.as_uuid())),
                column(audited().map(|(append, _)| append.pusher.address.clone())),
                column(audited().map(|(append, _)| append.pusher.user.clone())),
                column(
                    audited().map(|(_, appended)| i32::try_from(appended.rows().len()).unwrap_or(i32::MAX)),
                ),
            ],
        ));
    }
    // Those of length 0 stand with their entities.
    let authors = || outcome.authors.iter().filter(|((_, _, author), _)| !author.is_empty());
    if authors().next().is_some() {
        writes.push((
            PUT_AUTHORS,
            vec![
                column(authors().map(|((space, _, _), _)| space.as_uuid())),
                column(authors().map(|((_, entity, _), _)| entity.as_uuid())),
                column(authors().map(|((_, _, author), _)| author.clone())),
                column(authors().map(|(_, number)| to_i64(*number))),
            ],
        ));
    }
    writes.push((
        PUT_HEADS,
        vec![
            column(heads.keys().map(|space| space.as_uuid())),
            column(heads.values().map(|head| to_i64(head.seq.get()))),
            column(heads.values().map(|head| head.chain.as_bytes().to_vec())),
        ],
    ));
    if judged.is_empty() {
        return writes;
    }
    let out = || {
        judged
            .iter()
            .flat_map(|one| one.judgement.quarantined.iter().map(move |(hash, why)| (one, hash, why)))
    };
    writes.push((
        PUT_QUARANTINE,
        vec![
            column(out().map(|(one, _, _)| one.space.as_uuid())),
            column(out().map(|(one, _, _)| one.entity.as_uuid())),
            column(out().map(|(_, hash, _)| hash.as_bytes().to_vec())),
            column(out().map(|(one, _, _)| to_i64(one.seq.get()))),
            column(out().map(|(one, _, _)| to_i64(one.received_ms))),
            column(out().map(|(_, _, why)| i32::from(why.code))),
            // Text of this engine holds no zero characters.
            column(out().map(|(_, _, why)| why.message.replace('\0', ""))),
        ],
    ));
    let back = || judged.iter().flat_map(|one| one.judgement.released.iter().map(move |hash| (one, hash)));
    writes.push((
        DROP_QUARANTINE,
        vec![
            column(back().map(|(one, _)| one.space.as_uuid())),
            column(back().map(|(one, _)| one.entity.as_uuid())),
            column(back().map(|(_, hash)| hash.as_bytes().to_vec())),
        ],
    ));
    // They were made of other changes than those that count from now on.
    writes.push((
        DROP_SNAPSHOTS,
        vec![
            column(judged.iter().map(|one| one.space.as_uuid())),
            column(judged.iter().map(|one| one.entity.as_uuid())),
        ],
    ));
    writes
}

/// Who pushed each row of a transaction, in the order of the rows.
fn pushers(appends: &[Append], appended: &[Appended]) -> Vec<Option<String>> {
    let of_each = appends.iter().zip(appended);
    of_each
        .flat_map(|(append, appended)| appended.rows().iter().map(|_| append.pusher.user.clone()))
        .collect()
}
