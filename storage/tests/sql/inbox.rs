//! The edits on their way to the relay.

use headwater_storage::sql::inbox::{InboxKind, Settled, forget_settled, inbox, settle};
use headwater_storage::sql::projection::{Span, due, write};
use headwater_storage::sql::take_lease;
use headwater_storage::{ChangeHash, Seq};
use uuid::Uuid;

use crate::{Bed, entity, hash, row};

fn change(number: u64) -> Settled {
    Settled::Change(hash(number), Seq::new(number))
}

/// Would give the relay something else than what people wrote, or in an order in which it cannot be made.
#[tokio::test]
async fn edits_come_in_order_with_what_they_build_on() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let span = Span { since: Seq::ZERO, done: Seq::new(7) };
    write(&client, bed.space, &[row(entity(1), 7, r#"{"a": 1}"#)], &[], span).await.unwrap();
    bed.psql(r#"UPDATE headwater.entities SET data = data || '{"b": 2}'"#);
    bed.psql("DELETE FROM headwater.entities; UPDATE headwater.entities SET deleted_at = null");
    let made = bed.insert(r#"{"c": {"$counter": 3}}"#);
    let entries = inbox(&client, 10).await.unwrap();
    let kinds: Vec<&InboxKind> = entries.iter().map(|entry| &entry.kind).collect();
    let patch =
        InboxKind::Patch { before: r#"{"a": 1}"#.to_owned(), after: r#"{"a": 1, "b": 2}"#.to_owned() };
    let put = InboxKind::Put { after: r#"{"c": {"$counter": 3}}"#.to_owned() };
    assert_eq!(kinds, [&patch, &InboxKind::Delete, &InboxKind::Restore, &put]);
    let base: Vec<&[ChangeHash]> = entries.iter().map(|entry| &*entry.base).collect();
    let seen = [hash(7)];
    assert_eq!(base, [&seen[..], &seen[..], &seen[..], &[]]);
    let follows: Vec<Option<Uuid>> = entries.iter().map(|entry| entry.follows).collect();
    assert_eq!(follows, [None, Some(entries[0].id), Some(entries[1].id), None]);
    assert!(entries.iter().all(|entry| entry.follows_change.is_none() && entry.space == bed.space));
    assert_eq!((entries[3].entity, entries[3].role.as_str()), (made, "postgres"));
    let now: i64 = bed.psql("SELECT (extract(epoch FROM now()) * 1000)::bigint").parse().unwrap();
    assert!((now - entries[3].at_ms).abs() < 60_000);
    assert_eq!(inbox(&client, 2).await.unwrap(), entries[..2]);
}

/// Would take the second edit of a row as one that its author made without knowing the first.
#[tokio::test]
async fn an_edit_builds_on_the_change_of_the_one_before() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    bed.insert(r#"{"a": 1}"#);
    let first = bed.last_edit();
    let step = |number: u8| {
        bed.psql(&format!("UPDATE headwater.entities SET data = data || '{{\"a\": {number}}}'"));
        bed.last_edit()
    };
    let second = step(2);
    settle(&client, first, &change(1)).await.unwrap();
    let entries = inbox(&client, 10).await.unwrap();
    assert_eq!((entries[0].follows, entries[0].follows_change), (None, Some(hash(1))));
    // One that came to nothing, or failed, passes on what was before it, to what follows now and to what comes later.
    settle(&client, second, &Settled::Nothing).await.unwrap();
    let third = step(3);
    let fourth = step(4);
    settle(&client, third, &Settled::Failed("no".to_owned())).await.unwrap();
    let entries = inbox(&client, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].id, entries[0].follows, entries[0].follows_change), (fourth, None, Some(hash(1))));
}

/// Would project the entity again without the edits that are in the feed, because only the last one is looked at.
#[tokio::test]
async fn a_row_waits_for_the_changes_before_an_edit_that_came_to_nothing() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let id = bed.insert(r#"{"a": 1}"#);
    settle(&client, bed.last_edit(), &change(5)).await.unwrap();
    bed.psql(r#"UPDATE headwater.entities SET data = data || '{"a": 2}'"#);
    settle(&client, bed.last_edit(), &Settled::Nothing).await.unwrap();
    let span = |done| Span { since: Seq::ZERO, done: Seq::new(done) };
    let early = write(&client, bed.space, &[row(id, 4, "{}")], &[], span(4)).await.unwrap();
    assert_eq!((early.written, early.deferred), (0, 1));
    let right = write(&client, bed.space, &[row(id, 5, r#"{"a": 2}"#)], &[], span(5)).await.unwrap();
    assert_eq!((right.written, right.deferred), (1, 0));
}

/// Would let the second of two relays turn a success into a failure, or the other way round.
#[tokio::test]
async fn settling_twice_changes_nothing() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    bed.insert("{}");
    let id = bed.last_edit();
    settle(&client, id, &change(3)).await.unwrap();
    let shown = || bed.psql("SELECT change, failed, done_at, tip, seq FROM headwater.inbox");
    let before = shown();
    assert!(before.starts_with(&format!("{}||", hash(3))), "{before}");
    assert_eq!(settle(&client, id, &Settled::Failed("late".to_owned())).await.unwrap(), None);
    assert_eq!(settle(&client, id, &change(4)).await.unwrap(), None);
    assert_eq!(settle(&client, Uuid::from_u128(1), &change(4)).await.unwrap(), None);
    assert_eq!(shown(), before);
    assert!(inbox(&client, 10).await.unwrap().is_empty() && due(&client, 10).await.unwrap().is_empty());
}

/// Would let the inbox grow for ever, or forget what a later edit or the row still needs.
#[tokio::test]
async fn settled_edits_are_forgotten_when_nothing_needs_them() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let id = bed.insert("{}");
    let first = bed.last_edit();
    settle(&client, first, &change(1)).await.unwrap();
    let later: i64 = bed.psql("SELECT (extract(epoch FROM now()) * 1000)::bigint + 60000").parse().unwrap();
    // The row still shows it.
    assert_eq!(forget_settled(&client, later).await.unwrap(), 0);
    bed.psql(r#"UPDATE headwater.entities SET data = '{"a": 1}'"#);
    // The next edit builds on it.
    assert_eq!(forget_settled(&client, later).await.unwrap(), 0);
    settle(&client, bed.last_edit(), &change(2)).await.unwrap();
    assert_eq!(forget_settled(&client, 0).await.unwrap(), 0);
    assert_eq!(forget_settled(&client, later).await.unwrap(), 1);
    let span = Span { since: Seq::ZERO, done: Seq::new(2) };
    write(&client, bed.space, &[row(id, 2, r#"{"a": 1}"#)], &[], span).await.unwrap();
    assert_eq!(forget_settled(&client, i64::MAX).await.unwrap(), 1);
    assert!(due(&client, 10).await.unwrap().is_empty());
}

/// Would leave an operator no way to take back an edit, or show it in the row all the same.
#[tokio::test]
async fn deleting_an_open_edit_takes_it_back() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let span = Span { since: Seq::ZERO, done: Seq::new(1) };
    let state = [row(entity(1), 1, "{}")];
    write(&client, bed.space, &state, &[], span).await.unwrap();
    bed.psql(r#"UPDATE headwater.entities SET data = '{"a": 1}'; DELETE FROM headwater.inbox"#);
    assert_eq!(due(&client, 10).await.unwrap(), [(bed.space, entity(1))]);
    assert_eq!(write(&client, bed.space, &state, &[], span).await.unwrap().written, 1);
    assert_eq!(bed.psql("SELECT data FROM headwater.entities"), "{}");
}

/// Would stop all edits behind one that somebody broke by hand.
#[tokio::test]
async fn an_unreadable_edit_fails_alone() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    for _ in 0..4 {
        bed.insert("{}");
    }
    bed.psql("UPDATE headwater.inbox SET after = null WHERE n = 1; UPDATE headwater.inbox SET base = '{zz}' WHERE n = 2");
    bed.psql("UPDATE headwater.inbox SET collection = '_x' WHERE n = 3");
    assert_eq!(inbox(&client, 10).await.unwrap().len(), 1);
    let failed = bed.psql("SELECT count(*) FROM headwater.inbox WHERE failed LIKE 'not readable: %'");
    assert_eq!(failed, "3");
    assert_eq!(due(&client, 10).await.unwrap().len(), 3);
}

/// Would have two relays do the same work at once, or none after the one that did it is gone.
#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert!(take_lease(&client, "projection", one, 60_000).await.unwrap());
    assert!(!take_lease(&client, "projection", two, 60_000).await.unwrap());
    assert!(take_lease(&client, "inbox", two, u64::MAX).await.unwrap());
    assert!(take_lease(&client, "projection", one, 0).await.unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(take_lease(&client, "projection", two, 60_000).await.unwrap());
    assert!(!take_lease(&client, "projection", one, 60_000).await.unwrap());
}
