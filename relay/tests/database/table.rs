//! What is in the database, as `psql` sees it: nothing of the code that wrote it is asked, except for the hash of the chain.

use std::collections::{BTreeMap, BTreeSet};

use headwater::{ChangeHash, EntityId, SpaceId};
use headwater_storage::testing::Postgres;
use headwater_storage::{Bytes, Watermark};

use crate::feed::Changes;

/// What a database holds of a space.
pub(crate) struct Table {
    pub(crate) changes: Changes,
    pub(crate) heads: BTreeMap<EntityId, BTreeSet<ChangeHash>>,
}

/// Reads a space's feed. Fails if a seq is missing, a change is there twice, or the head, the chain or the entities do not fit it.
pub(crate) fn read(server: &Postgres, database: &str, space: SpaceId) -> Table {
    // One statement, which sees one moment while relays go on writing.
    let sql = format!(
        "SELECT 'counts', count(*)::text, count(DISTINCT (entity, hash))::text, coalesce(min(seq), 1)::text,
            coalesce(max(seq), 0)::text FROM headwater.feed WHERE space = '{space}'
        UNION ALL SELECT 'head', epoch::text, head_seq::text, encode(head_chain, 'hex'), ''
            FROM headwater.spaces WHERE space = '{space}'
        UNION ALL SELECT 'entity', entity::text, last_seq::text, changes::text, encode(heads, 'hex')
            FROM headwater.heads WHERE space = '{space}'
        UNION ALL SELECT 'change', seq::text, entity::text, encode(hash, 'hex'), encode(payload, 'hex')
            FROM headwater.feed WHERE space = '{space}'"
    );
    let (mut counts, mut head, mut feed, mut entities) = (None, None, BTreeMap::new(), Vec::new());
    let rows = server.psql(database, &sql).unwrap();
    for row in rows.lines() {
        match fields::<5>(row) {
            ["counts", counted @ ..] => counts = Some(counted.map(|count| count.parse::<u64>().unwrap())),
            ["head", epoch, seq, chain, _] => head = Some((epoch, seq, chain)),
            ["change", seq, change @ ..] => drop(feed.insert(seq.parse::<u64>().unwrap(), change)),
            [_, entity @ ..] => entities.push(entity),
        }
    }
    let [count, distinct, first, last] = counts.unwrap();
    assert_eq!((count, distinct, first), (last, last, 1), "seqs are missing, or changes are there twice");

    let (mut changes, mut heads) = (Changes::new(), BTreeMap::new());
    let Some((epoch, head_seq, head_chain)) = head else {
        assert_eq!(count, 0, "changes without a head");
        return Table { changes, heads };
    };
    let (mut at, mut last_seqs) = (Watermark::start(space, epoch.parse().unwrap()), BTreeMap::new());
    for [entity, hash, payload] in feed.into_values() {
        let (entity, hash): (EntityId, ChangeHash) = (entity.parse().unwrap(), hash.parse().unwrap());
        at = at.extended(entity, hash);
        changes.entry(entity).or_default().insert(hash, Bytes::from(bytes(payload)));
        last_seqs.insert(entity, at.seq.get());
    }
    let reached = (at.seq.to_string(), at.chain.to_string());
    assert_eq!((reached.0.as_str(), reached.1.as_str()), (head_seq, head_chain), "the head, or the chain");

    for [entity, last, count, hashes] in entities {
        let entity: EntityId = entity.parse().unwrap();
        assert_eq!(last.parse(), Ok(last_seqs[&entity]), "the last seq of {entity}");
        assert_eq!(count.parse(), Ok(changes[&entity].len()), "the changes of {entity}");
        let hashes = bytes(hashes);
        let hashes = hashes.chunks_exact(32).map(|hash| ChangeHash::from_bytes(hash.try_into().unwrap()));
        heads.insert(entity, hashes.collect());
    }
    assert_eq!(heads.len(), changes.len(), "entities without heads");
    Table { changes, heads }
}

/// Ends all connections to a database but the one that asks. Says how many there were.
pub(crate) fn terminate(server: &Postgres, database: &str, of_which: &str) -> usize {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {of_which}"
    );
    server.psql(database, &sql).unwrap().parse().unwrap()
}

fn fields<const N: usize>(line: &str) -> [&str; N] {
    let fields: Vec<_> = line.split('|').collect();
    fields.try_into().unwrap_or_else(|fields| panic!("not {N} columns: {fields:?}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
