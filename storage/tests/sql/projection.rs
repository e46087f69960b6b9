//! What the relay writes, beside people who write.

use headwater_storage::sql::inbox::{Settled, settle};
use headwater_storage::sql::projection::{Span, Written, due, progress, reset, rows, write};
use headwater_storage::{CollectionName, DeviceId, ProjectedEntity, Seq, SpaceId};

use crate::{Bed, entity, hash, row};

fn span(since: u64, done: u64) -> Span {
    Span { since: Seq::new(since), done: Seq::new(done) }
}

fn written(written: u64, deferred: u64, progress: u64) -> Written {
    Written { written, removed: 0, deferred, progress: Some(Seq::new(progress)) }
}

/// Would show something else in SQL than what the relay made of the feed.
#[tokio::test]
async fn a_row_reads_as_it_was_written() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let full = ProjectedEntity {
        conflicts: r#"{"/a": [{"at": 1, "value": 2}]}"#.to_owned(),
        heads: vec![hash(1), hash(2)],
        deleted_ms: Some(1_700_000_000_003),
        updated_by: Some("ada".to_owned()),
        updated_device: Some(DeviceId::from_bytes([9; 16])),
        ..row(entity(1), 2, r#"{"a": [1, "x", null], "b": 1.10}"#)
    };
    let bare =
        ProjectedEntity { heads: vec![], created_ms: None, updated_ms: None, ..row(entity(2), 3, "{}") };
    let other =
        ProjectedEntity { collection: CollectionName::new("other").unwrap(), ..row(entity(3), 4, "{}") };
    let batch = [full.clone(), bare.clone(), other.clone()];
    assert_eq!(write(&client, bed.space, &batch, &[], span(0, 4)).await.unwrap(), written(3, 0, 4));
    assert_eq!(rows(&client, bed.space, None, None, 10).await.unwrap(), batch);
    assert_eq!(rows(&client, bed.space, Some(&full.collection), None, 1).await.unwrap(), batch[..1]);
    assert_eq!(rows(&client, bed.space, Some(&full.collection), Some(entity(1)), 10).await.unwrap(), [bare]);
    assert_eq!(rows(&client, bed.space, None, Some(entity(2)), 10).await.unwrap(), [other]);
    assert!(rows(&client, SpaceId::from_name("work"), None, None, 10).await.unwrap().is_empty());
    let shown = bed.psql("SELECT deleted_at AT TIME ZONE 'UTC', updated_by FROM headwater.entities LIMIT 1");
    assert_eq!(shown, "2023-11-14 22:13:20.003|ada");
}

/// Would bring back an older state, or write one twice, when a relay repeats a batch or a slow one comes late.
#[tokio::test]
async fn each_state_of_an_entity_is_written_once() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let first = [row(entity(1), 5, r#"{"a": 5}"#), row(entity(2), 6, "{}")];
    assert_eq!(write(&client, bed.space, &first, &[], span(0, 6)).await.unwrap(), written(2, 0, 6));
    let versions = || bed.psql("SELECT string_agg(xmin::text, ' ' ORDER BY id) FROM headwater.projection");
    let before = versions();
    assert_eq!(write(&client, bed.space, &first, &[], span(0, 6)).await.unwrap(), written(0, 0, 6));
    let late = [row(entity(1), 4, r#"{"a": 4}"#)];
    assert_eq!(write(&client, bed.space, &late, &[], span(0, 4)).await.unwrap(), written(0, 0, 6));
    assert_eq!(versions(), before);
    // An entity that comes twice in one batch counts as its newest state.
    let twice = [row(entity(1), 8, r#"{"a": 8}"#), row(entity(1), 7, r#"{"a": 7}"#)];
    assert_eq!(write(&client, bed.space, &twice, &[], span(6, 8)).await.unwrap(), written(1, 0, 8));
    assert_eq!(bed.psql("SELECT data, seq FROM headwater.entities ORDER BY id LIMIT 1"), r#"{"a": 8}|8"#);
    assert_eq!(progress(&client, bed.space).await.unwrap(), Seq::new(8));
    assert!(due(&client, 10).await.unwrap().is_empty());
}

/// Would leave the row of an entity of which nothing is left, or remove it for a relay that has not seen the latest.
#[tokio::test]
async fn rows_of_entities_that_are_no_more_go() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    write(&client, bed.space, &[row(entity(1), 1, "{}"), row(entity(2), 9, "{}")], &[], span(0, 9))
        .await
        .unwrap();
    let gone = [entity(1), entity(2), entity(3)];
    let done = write(&client, bed.space, &[], &gone, span(0, 8)).await.unwrap();
    assert_eq!(done, Written { removed: 1, ..written(0, 0, 9) });
    assert_eq!(rows(&client, bed.space, None, None, 10).await.unwrap(), [row(entity(2), 9, "{}")]);
}

/// Would make what a person wrote vanish until the relay has got to it.
#[tokio::test]
async fn an_edit_stays_in_the_row_until_it_comes_back_through_the_feed() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let data = || bed.psql("SELECT data, seq FROM headwater.entities");
    write(&client, bed.space, &[row(entity(1), 1, r#"{"a": 1}"#)], &[], span(0, 1)).await.unwrap();
    bed.psql(r#"UPDATE headwater.entities SET data = data || '{"b": 2}'"#);
    // A device's change comes before the relay has got to the edit.
    let device = [row(entity(1), 2, r#"{"a": 2}"#)];
    assert_eq!(write(&client, bed.space, &device, &[], span(1, 2)).await.unwrap(), written(0, 1, 2));
    assert_eq!(data(), r#"{"a": 1, "b": 2}|1"#);
    assert!(due(&client, 10).await.unwrap().is_empty());

    // The edit's change is the fourth. What the feed had before it does not show it.
    let again = settle(&client, bed.last_edit(), &Settled::Change(hash(4), Seq::new(4))).await.unwrap();
    assert_eq!(again, Some((bed.space, entity(1))));
    assert_eq!(due(&client, 10).await.unwrap(), [(bed.space, entity(1))]);
    let before = [row(entity(1), 3, r#"{"a": 3}"#)];
    assert_eq!(write(&client, bed.space, &before, &[], span(2, 3)).await.unwrap(), written(0, 1, 3));
    assert_eq!(data(), r#"{"a": 1, "b": 2}|1"#);
    let with = [row(entity(1), 4, r#"{"a": 3, "b": 2}"#)];
    assert_eq!(write(&client, bed.space, &with, &[], span(3, 4)).await.unwrap(), written(1, 0, 4));
    assert_eq!(data(), r#"{"a": 3, "b": 2}|4"#);
    assert_eq!(bed.psql("SELECT pending IS NULL FROM headwater.projection"), "t");
    assert!(due(&client, 10).await.unwrap().is_empty());
    assert_eq!(write(&client, bed.space, &with, &[], span(3, 4)).await.unwrap(), written(0, 0, 4));
}

/// Would lose a state for good: the edit's change was in the feed, and projected, before anybody noted that it was settled.
#[tokio::test]
async fn a_state_that_was_passed_over_is_asked_for_again() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let id = bed.insert(r#"{"a": 1}"#);
    let state = [row(id, 1, r#"{"a": 1, "from": "feed"}"#)];
    assert_eq!(write(&client, bed.space, &state, &[], span(0, 1)).await.unwrap(), written(0, 1, 1));
    let again = settle(&client, bed.last_edit(), &Settled::Change(hash(1), Seq::new(1))).await.unwrap();
    assert_eq!(again, Some((bed.space, id)));
    // Out of its turn, up to the head: the progress does not move.
    assert_eq!(write(&client, bed.space, &state, &[], span(1, 1)).await.unwrap(), written(1, 0, 1));
    assert_eq!(bed.psql("SELECT data ->> 'from' FROM headwater.entities"), "feed");
    assert!(due(&client, 10).await.unwrap().is_empty());
}

/// Would show forever what a person wrote and no device ever gets.
#[tokio::test]
async fn an_edit_that_fails_goes_from_the_row() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let state = [row(entity(1), 1, r#"{"a": 1}"#)];
    write(&client, bed.space, &state, &[], span(0, 1)).await.unwrap();
    for settled in [Settled::Failed("too large \0".to_owned()), Settled::Nothing] {
        bed.psql(r#"UPDATE headwater.entities SET data = data || '{"b": 2}'"#);
        assert_eq!(write(&client, bed.space, &state, &[], span(0, 1)).await.unwrap(), written(0, 1, 1));
        let again = settle(&client, bed.last_edit(), &settled).await.unwrap();
        assert_eq!(again, Some((bed.space, entity(1))));
        assert_eq!(due(&client, 10).await.unwrap(), [(bed.space, entity(1))]);
        // The same state as before the edit: the row does not have it any more.
        assert_eq!(write(&client, bed.space, &state, &[], span(1, 1)).await.unwrap(), written(1, 0, 1));
        assert_eq!(rows(&client, bed.space, None, None, 10).await.unwrap(), state);
        assert!(due(&client, 10).await.unwrap().is_empty());
    }
    // And of an insert that failed nothing is left.
    let id = bed.insert("{}");
    settle(&client, bed.last_edit(), &Settled::Failed("no".to_owned())).await.unwrap();
    assert_eq!(due(&client, 10).await.unwrap(), [(bed.space, id)]);
    let done = write(&client, bed.space, &[], &[id], span(1, 1)).await.unwrap();
    assert_eq!(done, Written { removed: 1, ..written(0, 0, 1) });
    assert_eq!(rows(&client, bed.space, None, None, 10).await.unwrap(), state);
    assert!(due(&client, 10).await.unwrap().is_empty());
}

/// Would stop the projection of a space for as long as somebody leaves a transaction open, or overwrite what they wrote in it.
#[tokio::test]
async fn a_row_that_somebody_is_editing_holds_nobody_up() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let state = |seq: u64| [row(entity(1), seq, "{}"), row(entity(2), seq, "{}")];
    write(&client, bed.space, &state(1), &[], span(0, 1)).await.unwrap();
    let person = bed.client().await;
    let edit =
        format!("BEGIN; UPDATE headwater.entities SET data = '{{\"mine\": 1}}' WHERE id = '{}'", entity(1));
    person.batch_execute(&edit).await.unwrap();
    assert_eq!(write(&client, bed.space, &state(2), &[], span(1, 2)).await.unwrap(), written(1, 1, 2));
    person.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(due(&client, 10).await.unwrap(), [(bed.space, entity(1))]);
    person.batch_execute(&edit).await.unwrap();
    assert_eq!(
        write(&client, bed.space, &state(2), &[entity(1)], span(2, 2)).await.unwrap(),
        written(0, 1, 2)
    );
    person.batch_execute("COMMIT").await.unwrap();
    assert!(due(&client, 10).await.unwrap().is_empty());
    assert_eq!(bed.psql("SELECT data, seq FROM headwater.entities ORDER BY id LIMIT 1"), r#"{"mine": 1}|1"#);
}

/// Would leave a hole behind a rebuild: a batch that was on its way says that everything before it is there.
#[tokio::test]
async fn a_reset_is_safe_beside_a_batch_and_beside_people() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let batch = [row(entity(1), 1, "{}"), row(entity(2), 2, "{}"), row(entity(3), 3, "{}")];
    write(&client, bed.space, &batch, &[], span(0, 3)).await.unwrap();
    bed.psql(&format!("DELETE FROM headwater.entities WHERE id = '{}'", entity(2)));
    bed.psql(&format!("DELETE FROM headwater.entities WHERE id = '{}'", entity(3)));
    settle(&client, bed.last_edit(), &Settled::Change(hash(9), Seq::new(4))).await.unwrap();
    assert_eq!(reset(&client, bed.space).await.unwrap(), 2);
    assert_eq!(bed.psql("SELECT count(*), bool_and(deleted_at IS NOT NULL) FROM headwater.entities"), "1|t");
    assert_eq!(progress(&client, bed.space).await.unwrap(), Seq::ZERO);

    let late = write(&client, bed.space, &[row(entity(4), 5, "{}")], &[], span(4, 5)).await.unwrap();
    assert_eq!(late, Written { progress: None, ..written(1, 0, 0) });
    assert_eq!(progress(&client, bed.space).await.unwrap(), Seq::ZERO);
    assert_eq!(write(&client, bed.space, &batch, &[], span(0, 3)).await.unwrap(), written(2, 1, 3));
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.entities"), "4");
}

/// Would let one entity with odd contents stop the projection of all others.
#[tokio::test]
async fn data_that_postgres_refuses_stops_nobody() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let batch = [
        row(entity(1), 1, r#"{"a\u0000": "x\u0000y", "b": "\\u0000"}"#),
        row(entity(2), 2, "{ this is no JSON"),
        ProjectedEntity {
            updated_by: Some("a\0da".to_owned()),
            created_ms: Some(i64::MAX),
            ..row(entity(3), 3, "{}")
        },
    ];
    assert_eq!(write(&client, bed.space, &batch, &[], span(0, 3)).await.unwrap(), written(3, 0, 3));
    let shown = bed.psql("SELECT data, conflicts, updated_by, extract(year FROM created_at) FROM headwater.entities ORDER BY id");
    let shown: Vec<&str> = shown.lines().collect();
    let replaced = r#"{"a": "xy", "b": "\\u0000"}|{"/_replaced": [{"times": 2, "value": "U+0000"}]}||2023"#;
    assert_eq!(shown[0], replaced);
    assert!(shown[1].starts_with(r#"{}|{"/_refused": "#), "{}", shown[1]);
    assert_eq!(shown[2], "{}|{}|ada|9999");
    assert_eq!(write(&client, bed.space, &batch, &[], span(0, 3)).await.unwrap(), written(0, 0, 3));
}

/// Would mix up the spaces of one database.
#[tokio::test]
async fn spaces_are_apart() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let other = SpaceId::from_name("work");
    bed.add_space(other).await;
    write(&client, bed.space, &[row(entity(1), 9, r#"{"of": "home"}"#)], &[], span(0, 9)).await.unwrap();
    write(&client, other, &[row(entity(1), 1, r#"{"of": "work"}"#)], &[], span(0, 1)).await.unwrap();
    write(&client, other, &[], &[entity(1)], span(1, 20)).await.unwrap();
    assert_eq!(reset(&client, other).await.unwrap(), 0);
    assert_eq!(progress(&client, bed.space).await.unwrap(), Seq::new(9));
    assert_eq!(
        rows(&client, bed.space, None, None, 10).await.unwrap(),
        [row(entity(1), 9, r#"{"of": "home"}"#)]
    );
}

/// Would overwrite an edit that is committed between the look at a row and its lock, and show it never again.
#[tokio::test(flavor = "multi_thread")]
async fn no_edit_is_overwritten_by_a_batch_that_runs_beside_it() {
    let bed = Bed::new().await;
    let client = bed.client().await;
    let batch = |seq: u64| (1..=250).map(|number| row(entity(number), seq, "{}")).collect::<Vec<_>>();
    write(&client, bed.space, &batch(1), &[], span(0, 1)).await.unwrap();
    let mut people = Vec::new();
    for part in 0..3 {
        let person = bed.client().await;
        people.push(tokio::spawn(async move {
            for number in (1..=250).filter(|number| number % 3 == part) {
                let edit = format!(
                    "UPDATE headwater.entities SET data = '{{\"mine\": 1}}' WHERE id = '{}'",
                    entity(number)
                );
                person.batch_execute(&edit).await.unwrap();
            }
        }));
    }
    let mut seq = 1;
    while !people.iter().all(|person| person.is_finished()) {
        seq += 1;
        write(&client, bed.space, &batch(seq), &[], span(seq - 1, seq)).await.unwrap();
    }
    for person in people {
        person.await.unwrap();
    }
    let shown = bed.psql("SELECT count(*) FROM headwater.entities WHERE data ? 'mine'");
    assert_eq!(shown, "250");
    // As soon as they are settled, every one of them is asked for.
    bed.psql("UPDATE headwater.inbox SET done_at = now(), seq = 1");
    write(&client, bed.space, &batch(seq + 1), &[], span(seq, seq + 1)).await.unwrap();
    assert_eq!(bed.psql("SELECT count(*) FROM headwater.projection WHERE pending IS NULL"), "250");
    assert!(due(&client, 10).await.unwrap().is_empty());
}
