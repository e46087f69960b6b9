//! INSERT, UPDATE and DELETE on the view, and what they leave in the inbox.

use crate::{Bed, hash, row};
use headwater_storage::Seq;
use headwater_storage::sql::projection::{Span, write};

/// Would make a person wait for the relay to see what they inserted.
#[tokio::test]
async fn an_insert_is_there_at_once_and_waits_in_the_inbox() {
    let bed = Bed::new().await;
    let id = bed.insert(r#"{"name": "Guji", "note": {"$text": "sweet"}, "left": [{"$counter": 5}]}"#);
    let shown = bed.psql(
        "SELECT collection, data, conflicts, heads, version, seq, created_at = updated_at, deleted_at IS NULL, \
         updated_by, updated_device IS NULL FROM headwater.entities",
    );
    let data = r#"{"left": [5], "name": "Guji", "note": "sweet"}"#;
    assert_eq!(shown, format!("bags|{data}|{{}}|{{}}|0|0|t|t|postgres|t"));
    let edit = bed.psql(
        "SELECT entity, collection, kind, before IS NULL, after, base, follows IS NULL, role, done_at IS NULL \
         FROM headwater.inbox",
    );
    let after = r#"{"left": [{"$counter": 5}], "name": "Guji", "note": {"$text": "sweet"}}"#;
    assert_eq!(edit, format!("{id}|bags|put|t|{after}|{{}}|t|postgres|t"));
    assert_eq!(bed.psql("SELECT p.pending = i.id FROM headwater.projection p, headwater.inbox i"), "t");
}

/// Would give entities ids that other tools take for something else, or that do not sort by time.
#[tokio::test]
async fn a_made_id_is_a_uuid_of_version_7() {
    let bed = Bed::new().await;
    let ids: Vec<uuid::Uuid> =
        (0..3).map(|_| bed.psql("SELECT headwater.uuid_v7()").parse().unwrap()).collect();
    assert!(ids.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
    assert!(ids.is_sorted());
    let now: u64 = bed.psql("SELECT (extract(epoch FROM now()) * 1000)::bigint").parse().unwrap();
    let (seconds, _) = ids[0].get_timestamp().unwrap().to_unix();
    assert!(seconds.abs_diff(now / 1000) < 60);
}

/// Would accept a statement that nothing can come of, and say so only later, elsewhere.
#[tokio::test]
async fn inserts_that_cannot_work_are_refused_at_the_statement() {
    let bed = Bed::new().await;
    let insert =
        |columns: &str, values: &str| format!("INSERT INTO headwater.entities ({columns}) VALUES ({values})");
    let full = |values: &str| insert("space, collection, data", values);
    for (sql, code) in [
        (full("gen_random_uuid(), 'bags', '{}'"), "23503"),
        (insert("space, data", "SPACE, '{}'"), "23502"),
        (insert("collection, data", "'bags', '{}'"), "23502"),
        (insert("space, collection", "SPACE, 'bags'"), "23514"),
        (full("SPACE, '', '{}'"), "23514"),
        (full("SPACE, '_bags', '{}'"), "23514"),
        (full("SPACE, repeat('x', 129), '{}'"), "23514"),
        (full(r"SPACE, E'a\tb', '{}'"), "23514"),
        (full(r"SPACE, E'a\u0085b', '{}'"), "23514"),
        (full("SPACE, 'bags', '[]'"), "23514"),
        (full("SPACE, 'bags', 'null'"), "23514"),
        (insert("space, collection, data, version", "SPACE, 'bags', '{}', 3"), "0A000"),
        (insert("space, collection, data, deleted_at", "SPACE, 'bags', '{}', now()"), "0A000"),
    ] {
        let (found, message) = bed.refused(&sql).await;
        assert_eq!(found, code, "{sql}: {message}");
    }
    bed.psql(&full("SPACE, repeat('é', 64), '{}'"));
    let said = bed.psql_error(&full("gen_random_uuid(), 'bags', '{}'"));
    assert!(said.contains("there is no space") && said.contains("HINT:  The relay makes a space"), "{said}");
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "1");
}

/// Would put two entities into one, without anybody having meant it.
#[tokio::test]
async fn an_id_that_exists_is_refused() {
    let bed = Bed::new().await;
    let id = bed.insert("{}");
    let again = format!(
        "INSERT INTO headwater.entities (space, collection, id, data) VALUES (SPACE, 'x', '{id}', '{{}}')"
    );
    assert_eq!(bed.refused(&again).await.0, "23505");
    // The view cannot pass over it, either: it says so instead of doing something else.
    assert_eq!(bed.refused(&format!("{again} ON CONFLICT DO NOTHING")).await.0, "23505");
    bed.psql("DELETE FROM headwater.entities");
    assert_eq!(bed.refused(&again).await.0, "23505");
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "2");
}

/// Would lose the first of two edits of one transaction, or have the second overwrite it.
#[tokio::test]
async fn two_updates_of_one_transaction_build_on_each_other() {
    let bed = Bed::new().await;
    let id = bed.insert(r#"{"name": "Guji"}"#);
    bed.psql(
        "BEGIN; UPDATE headwater.entities SET data = data || '{\"rating\": 1}'; \
         UPDATE headwater.entities SET data = (data || '{\"rating\": 2}') - 'name'; COMMIT",
    );
    let edits = bed.psql(
        "SELECT i.kind, i.before, i.after, i.follows = f.id FROM headwater.inbox i \
         LEFT JOIN headwater.inbox f ON f.n = (SELECT max(n) FROM headwater.inbox e WHERE e.n < i.n) ORDER BY i.n",
    );
    let edits: Vec<&str> = edits.lines().collect();
    assert_eq!(edits[1], r#"patch|{"name": "Guji"}|{"name": "Guji", "rating": 1}|t"#);
    assert_eq!(edits[2], r#"patch|{"name": "Guji", "rating": 1}|{"rating": 2}|t"#);
    let shown = bed.psql("SELECT id, data FROM headwater.entities");
    assert_eq!(shown, format!(r#"{id}|{{"rating": 2}}"#));
}

/// Would base an edit on a state that its author did not see, so that it overwrites what others did.
#[tokio::test]
async fn an_edit_names_the_heads_that_its_author_saw() {
    let bed = Bed::new().await;
    let span = Span { since: Seq::ZERO, done: Seq::new(4) };
    let entity = crate::entity(7);
    write(&bed.client().await, bed.space, &[row(entity, 4, r#"{"a": 1}"#)], &[], span).await.unwrap();
    bed.psql("UPDATE headwater.entities SET data = data || '{\"b\": 2}'");
    let edit = bed.psql("SELECT kind, before, after, base, follows IS NULL FROM headwater.inbox");
    assert_eq!(edit, format!(r#"patch|{{"a": 1}}|{{"a": 1, "b": 2}}|{{{}}}|t"#, hash(4)));
    let shown = bed.psql("SELECT version, seq, updated_by FROM headwater.entities");
    assert_eq!(shown, "4|4|postgres");
}

/// Would pretend that a column can be written, and drop what was written to it.
#[tokio::test]
async fn only_data_and_deletion_can_be_updated() {
    let bed = Bed::new().await;
    let id = bed.insert("{}");
    for (column, value) in [
        ("space", "gen_random_uuid()"),
        ("collection", "'x'"),
        ("id", "gen_random_uuid()"),
        ("conflicts", "'[]'"),
        ("heads", "'{x}'"),
        ("version", "9"),
        ("seq", "9"),
        ("created_at", "now()"),
        ("updated_at", "null"),
        ("updated_by", "'me'"),
        ("updated_device", "gen_random_uuid()"),
    ] {
        let (code, message) = bed.refused(&format!("UPDATE headwater.entities SET {column} = {value}")).await;
        assert_eq!(
            (code.as_str(), message),
            ("0A000", format!(r#"the column "{column}" cannot be written"#))
        );
    }
    for bad in ["null", "'[1]'", "'7'"] {
        assert_eq!(bed.refused(&format!("UPDATE headwater.entities SET data = {bad}")).await.0, "23514");
    }
    bed.psql(&format!("UPDATE headwater.entities SET data = data, deleted_at = null WHERE id = '{id}'"));
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.inbox"), "1");
}

/// Would lose entities for good on a DELETE, or write a change for each repeated one.
#[tokio::test]
async fn a_deleted_entity_stays_visible_and_can_be_restored() {
    let bed = Bed::new().await;
    bed.insert(r#"{"a": 1}"#);
    bed.psql("DELETE FROM headwater.entities; DELETE FROM headwater.entities");
    assert_eq!(bed.psql("SELECT deleted_at IS NOT NULL, data FROM headwater.entities"), r#"t|{"a": 1}"#);
    bed.psql("UPDATE headwater.entities SET deleted_at = null, data = data || '{\"b\": 2}'");
    assert_eq!(bed.psql("SELECT deleted_at IS NULL, data FROM headwater.entities"), r#"t|{"a": 1, "b": 2}"#);
    bed.psql("UPDATE headwater.entities SET deleted_at = now(), data = data - 'a'");
    let kinds = bed.psql("SELECT string_agg(kind, ' ' ORDER BY n) FROM headwater.inbox");
    assert_eq!(kinds, "put delete restore patch patch delete");
    assert_eq!(bed.refused("UPDATE headwater.entities SET deleted_at = '2020-01-01'").await.0, "0A000");
}

/// Would leave statements of another program half done, if RETURNING or COPY did not work on the view.
#[tokio::test]
async fn returning_and_copy_work() {
    let bed = Bed::new().await;
    let made = bed.psql(
        "INSERT INTO headwater.entities (space, collection, data) \
         VALUES (SPACE, 'bags', '{\"n\": {\"$counter\": 2}}') RETURNING data, version, updated_by",
    );
    assert_eq!(made, r#"{"n": 2}|0|postgres"#);
    let made = bed.psql("UPDATE headwater.entities SET data = data || '{\"n\": 3}' RETURNING data");
    assert_eq!(made, r#"{"n": 3}"#);
    let deleted = bed.psql("DELETE FROM headwater.entities RETURNING data");
    assert_eq!(deleted, r#"{"n": 3}"#);
    bed.psql(
        "COPY headwater.entities (space, collection, data) \
         FROM PROGRAM $$printf '892f97ac-cebb-59fc-8c7f-53610cabe45d\\tbags\\t{\"a\":1}\\n'$$",
    );
    assert_eq!(bed.psql("SELECT data FROM headwater.entities WHERE data ? 'a'"), r#"{"a": 1}"#);
}
