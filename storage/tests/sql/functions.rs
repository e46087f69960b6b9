//! The functions for people.

use crate::Bed;

/// Would make an upsert fail halfway, overwrite the other keys, or leave the entity deleted.
#[tokio::test]
async fn put_creates_or_sets_keys_and_restores() {
    let bed = Bed::new().await;
    let id = bed.psql(r#"SELECT headwater.put(SPACE, 'bags', '{"a": 1}')"#);
    bed.psql(&format!("DELETE FROM headwater.entities WHERE id = '{id}'"));
    let same = bed.psql(&format!(r#"SELECT headwater.put(SPACE, 'bags', '{{"b": null}}', '{id}')"#));
    assert_eq!(same, id);
    let shown = bed.psql("SELECT data, deleted_at IS NULL FROM headwater.entities");
    assert_eq!(shown, r#"{"a": 1, "b": null}|t"#);
    let named = "0190163d-8694-739b-aea5-966c26f8ad91";
    let named = bed.psql(&format!(
        "SELECT headwater.put(space => SPACE, collection => 'bags', data => '{{}}', id => '{named}')"
    ));
    assert_eq!(named, "0190163d-8694-739b-aea5-966c26f8ad91");
    let (code, message) = bed.refused(&format!("SELECT headwater.put(SPACE, 'other', '{{}}', '{id}')")).await;
    assert_eq!((code.as_str(), message), ("23505", format!(r#"the entity {id} is in collection "bags""#)));
    assert_eq!(bed.refused("SELECT headwater.put(SPACE, 'bags', '[]')").await.0, "23514");
    let kinds = bed.psql("SELECT string_agg(kind, ' ' ORDER BY n) FROM headwater.inbox");
    assert_eq!(kinds, "put delete restore patch put");
}

/// Would create one entity twice, or fail, when two people put it at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_puts_of_one_id_become_one_entity() {
    let bed = Bed::new().await;
    let put = |key: &str| {
        let sql =
            r#"SELECT headwater.put(SPACE, 'bags', '{"KEY": 1}', '0190163d-8694-739b-aea5-966c26f8ad91')"#;
        bed.sql(&sql.replace("KEY", key))
    };
    let (one, two) = (bed.client().await, bed.client().await);
    one.batch_execute(&format!("BEGIN; {}", put("a"))).await.unwrap();
    let second = put("b");
    let waiting = tokio::spawn(async move { two.batch_execute(&second).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    one.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(bed.psql("SELECT data FROM headwater.entities"), r#"{"a": 1, "b": 1}"#);
    assert_eq!(bed.psql("SELECT string_agg(kind, ' ' ORDER BY n) FROM headwater.inbox"), "put patch");
}

/// Would let a typing error in an id pass for success.
#[tokio::test]
async fn functions_on_unknown_entities_fail() {
    let bed = Bed::new().await;
    for call in ["patch(SPACE, ID, '{}')", "unset(SPACE, ID, 'a')", "delete(SPACE, ID)", "restore(SPACE, ID)"]
    {
        let (code, message) =
            bed.refused(&format!("SELECT headwater.{}", call.replace("ID", "gen_random_uuid()"))).await;
        assert_eq!(code, "P0002", "{call}: {message}");
    }
    let id = bed.insert(r#"{"a": 1}"#);
    bed.psql("DELETE FROM headwater.entities");
    for call in ["patch(SPACE, ID, '{\"a\": 2}')", "unset(SPACE, ID, 'a')"] {
        let (code, message) =
            bed.refused(&format!("SELECT headwater.{}", call.replace("ID", &format!("'{id}'")))).await;
        assert_eq!(code, "P0002");
        assert!(message.contains("is deleted"), "{message}");
    }
}

/// Would do something else than what the function's name says.
#[tokio::test]
async fn patch_unset_delete_and_restore_do_what_they_say() {
    let bed = Bed::new().await;
    let id = bed.insert(r#"{"a": 1, "b": 2, "c": 3}"#);
    let call = |call: &str| bed.psql(&format!("SELECT headwater.{}", call.replace("ID", &format!("'{id}'"))));
    let data = || bed.psql("SELECT data, deleted_at IS NULL FROM headwater.entities");
    call(r#"patch(SPACE, ID, '{"a": null, "d": {"$text": "x"}}')"#);
    assert_eq!(data(), r#"{"a": null, "b": 2, "c": 3, "d": "x"}|t"#);
    call("unset(SPACE, ID, 'a', 'b', 'not there')");
    assert_eq!(data(), r#"{"c": 3, "d": "x"}|t"#);
    call("unset(SPACE, ID, VARIADIC ARRAY['c'])");
    call("delete(SPACE, ID)");
    call("delete(SPACE, ID)");
    assert_eq!(data(), r#"{"d": "x"}|f"#);
    call("restore(SPACE, ID)");
    call("restore(SPACE, ID)");
    assert_eq!(data(), r#"{"d": "x"}|t"#);
    let kinds = bed.psql("SELECT string_agg(kind, ' ' ORDER BY n) FROM headwater.inbox");
    assert_eq!(kinds, "put patch patch patch delete restore");
    assert_eq!(bed.refused(&format!("SELECT headwater.patch(SPACE, '{id}', '5')")).await.0, "23514");
}
