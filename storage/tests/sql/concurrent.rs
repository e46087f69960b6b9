//! Several people at once.

use std::time::Duration;

use crate::{Bed, refused};

/// Waits until some session waits for a lock.
async fn somebody_waits(bed: &Bed) {
    let client = bed.client().await;
    for _ in 0..2_000 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        if client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits");
}

/// Runs `first` and leaves its transaction open, `second` runs into its lock, then the first commits.
async fn overlapping(bed: &Bed, first: &str, second: &str) {
    let (one, two) = (bed.client().await, bed.client().await);
    one.batch_execute(&bed.sql(&format!("BEGIN; {first}"))).await.unwrap();
    let second = bed.sql(second);
    let waiting = tokio::spawn(async move { two.batch_execute(&second).await });
    somebody_waits(bed).await;
    one.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
}

/// Would lose the edit of whoever commits first: the second writes the whole row as it was before.
#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_that_write_different_keys_both_survive() {
    let bed = Bed::new().await;
    bed.insert(r#"{"name": "Guji", "rating": 1, "at": {"shop": "x", "price": 1}}"#);
    overlapping(
        &bed,
        r#"UPDATE headwater.entities SET data = jsonb_set(data || '{"rating": 5}', '{at,price}', '2')"#,
        r#"UPDATE headwater.entities SET data = jsonb_set(data || '{"note": "sweet"}', '{at,shop}', '"y"') - 'name'"#,
    )
    .await;
    let last = r#"{"at": {"shop": "y", "price": 2}, "note": "sweet", "rating": 5}"#;
    assert_eq!(bed.psql("SELECT data FROM headwater.entities"), last);
    let edits = bed.psql(
        "SELECT before, after, follows IS NOT NULL FROM headwater.inbox WHERE kind = 'patch' ORDER BY n",
    );
    let between = r#"{"at": {"shop": "x", "price": 2}, "name": "Guji", "rating": 5}"#;
    let first = r#"{"at": {"shop": "x", "price": 1}, "name": "Guji", "rating": 1}"#;
    assert_eq!(edits, format!("{first}|{between}|t\n{between}|{last}|t"));
}

/// Would give an edit a place in the inbox before the one that it builds on, if it had only asked for its place first.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_comes_after_the_one_that_it_follows() {
    let bed = Bed::new().await;
    bed.insert(r#"{"a": 1}"#);
    for number in 0..5 {
        let set = format!(r#"UPDATE headwater.entities SET data = data || '{{"k{number}": 1}}'"#);
        overlapping(&bed, &set, &set.replace("k", "j")).await;
    }
    let disordered =
        "SELECT count(*) FROM headwater.inbox i JOIN headwater.inbox f ON f.id = i.follows WHERE f.n >= i.n";
    assert_eq!(bed.psql(disordered), "0");
    let followed = "SELECT count(*), count(DISTINCT follows) FROM headwater.inbox WHERE follows IS NOT NULL";
    assert_eq!(bed.psql(followed), "10|10");
}

/// Would make two changes of one wish, if two people do the same at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_equal_edits_is_none() {
    let bed = Bed::new().await;
    bed.insert(r#"{"a": 1}"#);
    let set = r#"UPDATE headwater.entities SET data = data || '{"a": 2}'"#;
    overlapping(&bed, set, set).await;
    let delete = "DELETE FROM headwater.entities";
    overlapping(&bed, delete, delete).await;
    let kinds = bed.psql("SELECT string_agg(kind, ' ' ORDER BY n) FROM headwater.inbox");
    assert_eq!(kinds, "put patch delete");
}

/// Would let a transaction that asked for a fixed view of the world write over what it has not seen.
#[tokio::test]
async fn repeatable_read_is_refused_instead_of_merged() {
    let bed = Bed::new().await;
    bed.insert(r#"{"a": 1}"#);
    let one = bed.client().await;
    one.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM headwater.entities").await.unwrap();
    bed.psql(r#"UPDATE headwater.entities SET data = data || '{"b": 2}'"#);
    let (code, _) = refused(&one, r#"UPDATE headwater.entities SET data = data || '{"c": 3}'"#).await;
    assert_eq!(code, "40001");
    one.batch_execute("ROLLBACK").await.unwrap();
}

/// Would leave the relay asleep while edits wait, or wake it for edits that were rolled back.
#[tokio::test]
async fn a_commit_with_edits_notifies_once() {
    let bed = Bed::new().await;
    let config: tokio_postgres::Config = bed.url.parse().unwrap();
    let (client, mut connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let Ok(tokio_postgres::AsyncMessage::Notification(notification)) = message {
                let _gone =
                    sender.send((notification.channel().to_owned(), notification.payload().to_owned()));
            }
        }
    });
    client.batch_execute("LISTEN headwater_inbox; LISTEN the_end").await.unwrap();
    let insert = "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', '{}');";
    bed.psql(&format!("BEGIN; {insert} {insert} UPDATE headwater.entities SET deleted_at = now(); COMMIT"));
    bed.psql(&format!("BEGIN; {insert} ROLLBACK"));
    bed.psql("UPDATE headwater.entities SET data = data");
    bed.psql("NOTIFY the_end");
    let wait = Duration::from_secs(60);
    let first = tokio::time::timeout(wait, heard.recv()).await.unwrap().unwrap();
    assert_eq!(first, ("headwater_inbox".to_owned(), String::new()));
    let second = tokio::time::timeout(wait, heard.recv()).await.unwrap().unwrap();
    assert_eq!(second.0, "the_end");
}
