//! What else can be read: a view per collection, the audit log, the lag.

use crate::Bed;

/// Would show deleted entities, other collections, or fields under a name that is another column's.
#[tokio::test]
async fn a_collection_gets_a_view_with_a_column_per_field() {
    let bed = Bed::new().await;
    bed.insert(r#"{"name": "Guji", "rating": 4.5, "tags": ["a"], "id": "own", "Löwe \"x\"": null}"#);
    bed.insert(r#"{"name": "Yirga"}"#);
    bed.insert(r#"{"gone": 1}"#);
    bed.psql("DELETE FROM headwater.entities WHERE data ? 'gone'");
    bed.psql(r#"SELECT headwater.put(SPACE, 'other', '{"x": 1}')"#);
    assert_eq!(bed.psql("SELECT headwater.create_view('bags')"), "headwater_views.bags");
    let columns = "SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM pg_attribute \
                   WHERE attrelid = 'headwater_views.bags'::regclass AND attnum > 0";
    assert_eq!(
        bed.psql(columns),
        "id uuid, space uuid, Löwe \"x\" text, id_ text, name text, rating text, tags text, data jsonb, \
         created_at timestamp with time zone, updated_at timestamp with time zone"
    );
    let rows = bed.psql("SELECT name, rating::float8, tags, id_ FROM headwater_views.bags ORDER BY name");
    assert_eq!(rows, "Guji|4.5|[\"a\"]|own\nYirga|||");
    // It can be written as far as it shows what the entities have.
    bed.psql(r#"UPDATE headwater_views.bags SET data = data || '{"rating": 5}' WHERE name = 'Yirga'"#);
    bed.psql("DELETE FROM headwater_views.bags WHERE name = 'Guji'");
    assert_eq!(bed.psql("SELECT name, rating FROM headwater_views.bags"), "Yirga|5");
    assert_eq!(bed.refused("UPDATE headwater_views.bags SET rating = '1'").await.0, "0A000");
}

/// Would take the rights on a view away each time a field is added to it.
#[tokio::test]
async fn a_view_made_again_keeps_its_readers() {
    let bed = Bed::new().await;
    let role = format!("reader_{}", uuid::Uuid::new_v4().simple());
    bed.psql(&format!("CREATE ROLE {role}"));
    bed.insert(r#"{"a": 1}"#);
    bed.psql(&format!("SELECT headwater.create_view('bags', view_name => 'My Bags'); GRANT SELECT ON headwater_views.\"My Bags\" TO {role}"));
    let made = bed.psql("SELECT headwater.create_view('bags', ARRAY['b', 'a'], 'My Bags')");
    assert_eq!(made, "headwater_views.\"My Bags\"");
    assert_eq!(bed.psql("SELECT b IS NULL, a FROM headwater_views.\"My Bags\""), "t|1");
    let may = format!("SELECT has_table_privilege('{role}', 'headwater_views.\"My Bags\"', 'SELECT')");
    assert_eq!(bed.psql(&may), "t");
    assert_eq!(bed.psql("SELECT headwater.drop_view('My Bags'), headwater.drop_view('My Bags')"), "t|f");
    bed.psql(&format!("DROP ROLE {role}"));
}

/// Would run a name as SQL, or cut it to one that means something else.
#[tokio::test]
async fn names_of_views_are_checked_and_quoted() {
    let bed = Bed::new().await;
    bed.insert(r#"{"x'); DROP TABLE headwater.due; --": 1}"#);
    bed.psql("SELECT headwater.create_view('bags', view_name => 'v\"; DROP TABLE headwater.due; --')");
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.due"), "0");
    for (call, code) in [
        ("create_view('_x')", "23514"),
        ("create_view('bags', view_name => '')", "42602"),
        ("create_view('bags', view_name => repeat('x', 64))", "42602"),
        ("create_view('bags', ARRAY['a', NULL])", "42602"),
        ("create_view('bags', ARRAY[repeat('x', 64)])", "42602"),
        ("create_view('bags', ARRAY['a', 'a'])", "42701"),
        ("create_view('bags', ARRAY['id', 'id_'])", "42701"),
    ] {
        let (found, message) = bed.refused(&format!("SELECT headwater.{call}")).await;
        assert_eq!(found, code, "{call}: {message}");
    }
    assert_eq!(bed.psql("SELECT headwater.create_view('empty')"), "headwater_views.empty");
}

/// Would leave an operator without a sign that the projection or the inbox is stuck, or of who pushed what.
#[tokio::test]
async fn lag_and_audit_log_are_readable() {
    let bed = Bed::new().await;
    bed.psql("UPDATE headwater.spaces SET head_seq = 12");
    assert_eq!(bed.psql("SELECT head_seq, projected_seq, lag, unsettled FROM headwater.lag"), "12|0|12|0");
    bed.insert("{}");
    bed.psql("INSERT INTO headwater.progress VALUES (SPACE, 'projection', 10), (SPACE, 'other', 1)");
    assert_eq!(bed.psql("SELECT head_seq, projected_seq, lag, unsettled FROM headwater.lag"), "12|10|2|1");
    bed.psql(
        "INSERT INTO headwater.audit VALUES (SPACE, 1, 3, 1700000000123, '0190163d-8694-739b-aea5-966c26f8ad91', \
         '::1', 'ada', 3)",
    );
    let log = bed.psql("SELECT first_seq, last_seq, at AT TIME ZONE 'UTC', address, \"user\", changes FROM headwater.audit_log");
    assert_eq!(log, "1|3|2023-11-14 22:13:20.123|::1|ada|3");
}
