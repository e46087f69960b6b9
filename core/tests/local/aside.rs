//! What becomes of changes that are taken away: who hears of it, and how what they wrote comes back.

use automerge::legacy::{ObjectId, OpId};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Change, ObjType, ROOT, ReadDoc, ScalarValue};
use headwater::document::{Action, Content, Deletion};
use headwater::ingest::Verdict;
use headwater::replica::{MergeRequest, Notice, ReapplyError};
use headwater::{ChangeHash, EntityId, Map, Replica, SpaceId, Text, Value};
use headwater_storage::{Bytes, ChangeRecord, CollectionName, PayloadKind, Refusal};

use crate::pair::{SPACE, carry, changes, exchange, replica};

fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

fn bags(replica: &Replica) -> headwater::DynamicCollection {
    replica.space(SPACE).dynamic("bags").unwrap()
}

fn name() -> CollectionName {
    CollectionName::new("bags").unwrap()
}

fn fields(replica: &Replica, id: EntityId) -> Map {
    bags(replica).get(id).unwrap().unwrap().fields
}

/// A verdict on these changes, as the relay's feed brings it.
fn judge(replica: &Replica, entity: EntityId, quarantined: &[ChangeHash], released: &[ChangeHash]) {
    let reason = Refusal { code: 32, message: "it does harm".to_owned() };
    let quarantined = quarantined.iter().map(|hash| (*hash, reason.clone())).collect();
    let verdict = Verdict { at_ms: 1, quarantined, released: released.to_vec() };
    let request = MergeRequest { records: vec![verdict.record(entity, name())], position: None };
    replica.merge(space(), request).unwrap();
}

fn last(replica: &Replica, id: EntityId) -> ChangeHash {
    changes(replica, id).pop().unwrap().0
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Map {
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

#[test]
fn whose_change_is_quarantined_hears_it_with_the_content_and_writes_it_again() {
    // Would take an acknowledged edit from everybody without a word, its author included.
    let (a, b) = (replica(), replica());
    let mut notices = [a.notices(), b.notices()];
    let id =
        bags(&a).insert(map([("name", "Guji".into()), ("notes", Value::Text("sweet".into()))])).unwrap().id;
    bags(&a).set(id, map([("count", Value::Counter(5))])).unwrap();
    exchange(&a, &b);
    let lost = map([
        ("name", "Guji natural".into()),
        ("notes", Value::Text("very sweet".into())),
        ("count", Value::Counter(7)),
        ("odd", Value::List(vec![Value::Float(f64::NAN), Value::Uint(u64::MAX)])),
    ]);
    bags(&a).set(id, lost.clone()).unwrap();
    let hash = last(&a, id);
    let wrote = Content::Fields { set: lost.clone(), removed: Vec::new(), deletion: None };
    carry(&a, &b);
    for replica in [&a, &b] {
        judge(replica, id, &[hash], &[]);
        assert_eq!(fields(replica, id)["name"].as_str(), Some("Guji"));
    }
    for (notices, is_own) in notices.iter_mut().zip([true, false]) {
        let Some(Ok(Notice::Quarantined(heard))) = notices.try_next() else { panic!("nobody is told") };
        assert_eq!((heard.hash, heard.entity, heard.is_own, heard.space), (hash, id, is_own, space()));
        assert!(heard.reason.contains("harm"));
        assert_eq!(heard.content, wrote);
        assert!(notices.try_next().is_none(), "once");
    }
    // Meanwhile somebody else goes on.
    bags(&b)
        .set(id, map([("notes", Value::Text("sweet, ripe".into())), ("count", Value::Counter(6))]))
        .unwrap();
    exchange(&a, &b);
    let receipt = a.space(SPACE).reapply(id, hash).unwrap();
    assert!(!receipt.is_empty());
    exchange(&a, &b);
    for replica in [&a, &b] {
        let now = fields(replica, id);
        assert_eq!(now["notes"], Value::Text("very sweet, ripe".into()), "text as text");
        assert_eq!(now["count"], Value::Counter(8), "a counter as a counter");
        assert_eq!((&now["name"], &now["odd"]), (&lost["name"], &lost["odd"]));
        assert_eq!(replica.verify().unwrap().rows_repaired, 0);
    }
    assert_eq!(a.space(SPACE).content(id, hash).unwrap(), wrote, "what it wrote stays what it wrote");
    // Once, on whichever device, and also when the file is read anew.
    for replica in [&a, &b] {
        let again = replica.space(SPACE).reapply(id, hash);
        assert!(matches!(again, Err(ReapplyError::Done(by)) if by == last(replica, id)), "{again:?}");
        assert_eq!(fields(replica, id)["count"], Value::Counter(8));
    }
    // A release is heard, too, and a verdict that comes twice is no news.
    judge(&a, id, &[hash], &[]);
    assert!(notices[0].try_next().is_none());
    judge(&a, id, &[], &[hash]);
    assert!(matches!(notices[0].try_next(), Some(Ok(Notice::Released { hash: back, .. })) if back == hash));
}

#[test]
fn an_entity_that_went_whole_is_created_again_change_by_change() {
    // Would leave a record that a verdict took away gone for good, with its content in the file and no way to
    // it.
    let a = replica();
    let id = bags(&a)
        .insert(map([("name", "Guji".into()), ("lot", 7.into()), ("tally", Value::Counter(3))]))
        .unwrap()
        .id;
    bags(&a).set(id, map([("tally", Value::Counter(5)), ("tags", Value::List(vec!["a".into()]))])).unwrap();
    bags(&a).unset(id, &["lot"]).unwrap();
    bags(&a).delete(id).unwrap();
    let all: Vec<ChangeHash> = changes(&a, id).into_iter().map(|(hash, _)| hash).collect();
    // The counter, which nobody made, and the four edits.
    assert_eq!(all.len(), 5);
    judge(&a, id, &all, &[]);
    assert!(bags(&a).meta(id).unwrap().is_none(), "it is gone");
    let home = a.space(SPACE);
    let removal = Content::Fields { set: Map::new(), removed: vec!["lot".to_owned()], deletion: None };
    assert_eq!(home.content(id, all[3]).unwrap(), removal);
    let Content::Fields { deletion, .. } = home.content(id, all[4]).unwrap() else { panic!() };
    assert_eq!(deletion, Some(Deletion::Deleted));
    for hash in &all[..3] {
        home.reapply(id, *hash).unwrap();
    }
    assert_eq!(fields(&a, id)["lot"], Value::Int(7));
    home.reapply(id, all[3]).unwrap();
    let tags = Value::List(vec!["a".into()]);
    let whole = map([("name", "Guji".into()), ("tally", Value::Counter(5)), ("tags", tags)]);
    assert_eq!(fields(&a, id), whole);
    home.reapply(id, all[4]).unwrap();
    assert!(bags(&a).get(id).unwrap().is_none(), "deleted again");
    let b = replica();
    carry(&a, &b);
    bags(&b).restore(id).unwrap();
    assert_eq!(fields(&b, id), whole);
}

/// A change by another program on the entity as `replica` has it, altered.
fn foreign(
    replica: &Replica,
    id: EntityId,
    edit: impl FnOnce(&mut AutoCommit),
    alter: impl FnOnce(&mut automerge::ExpandedChange),
) -> ChangeRecord {
    let mut copy = AutoCommit::new().with_actor(ActorId::from(&[9; 16][..]));
    let all =
        changes(replica, id).into_iter().map(|(_, payload)| Change::from_bytes(payload.to_vec()).unwrap());
    copy.apply_changes(all).unwrap();
    edit(&mut copy);
    let mut change = copy.get_last_local_change().unwrap().decode();
    alter(&mut change);
    change.hash = None;
    let change = Change::from(change);
    ChangeRecord {
        entity: id,
        collection: name(),
        kind: PayloadKind::Change,
        hash: ChangeHash::from_bytes(change.hash().0),
        payload: Bytes::copy_from_slice(change.raw_bytes()),
    }
}

fn merge(replica: &Replica, record: &ChangeRecord) -> u64 {
    let request = MergeRequest { records: vec![record.clone()], position: None };
    replica.merge(space(), request).unwrap().set_aside
}

#[test]
fn a_change_that_is_numbered_out_of_order_still_shows_what_it_wrote() {
    // Would answer "it cannot be read" where the numbers were the only harm.
    let a = replica();
    let mut notices = a.notices();
    let id =
        bags(&a).insert(map([("name", "Guji".into()), ("notes", Value::Text("sweet".into()))])).unwrap().id;
    let write = |copy: &mut AutoCommit| {
        copy.put(ROOT, "name", "poison").unwrap();
        let (_, notes) = copy.get(ROOT, "notes").unwrap().unwrap();
        copy.splice_text(&notes, 5, 0, "er").unwrap();
        let tags = copy.put_object(ROOT, "tags", ObjType::List).unwrap();
        copy.insert(&tags, 0, "x").unwrap();
    };
    // The operations that refer to each other have to move with their numbers.
    let record = foreign(&a, id, write, |change| {
        let (first, by) = (change.start_op.get(), change.actor_id.clone());
        let moved =
            |id: &OpId| if *id.actor() == by { OpId::new(id.counter() - first + 1, &by) } else { id.clone() };
        for operation in &mut change.operations {
            if let ObjectId::Id(id) = &mut operation.obj {
                *id = moved(id);
            }
            if let automerge::legacy::Key::Seq(automerge::legacy::ElementId::Id(id)) = &mut operation.key {
                *id = moved(id);
            }
        }
        change.start_op = std::num::NonZeroU64::MIN;
    });
    assert_eq!(merge(&a, &record), 1, "it is set aside");
    let Some(Ok(Notice::SetAside(heard))) = notices.try_next() else { panic!("nobody is told") };
    let wrote = map([
        ("name", "poison".into()),
        ("notes", Value::Text("sweeter".into())),
        ("tags", Value::List(vec!["x".into()])),
    ]);
    assert!(!heard.is_own);
    let Content::Fields { set, .. } = &heard.content else { panic!("{:?}", heard.content) };
    assert_eq!(set, &wrote);
    a.space(SPACE).reapply(id, record.hash).unwrap();
    assert_eq!(fields(&a, id), wrote);
}

#[test]
fn of_many_changes_that_go_at_once_only_the_first_are_read_for_their_notices() {
    // Would let whoever makes thousands of harmful changes hold up a replica for minutes: each is read with all of its entity.
    let a = replica();
    let id = bags(&a).insert(map([("n", Value::Int(0))])).unwrap().id;
    for n in 1..40 {
        bags(&a).set(id, map([("n", Value::Int(n))])).unwrap();
    }
    let all: Vec<ChangeHash> = changes(&a, id).into_iter().map(|(hash, _)| hash).collect();
    let mut notices = a.notices();
    judge(&a, id, &all, &[]);
    let heard: Vec<Content> = std::iter::from_fn(|| notices.try_next())
        .map(|notice| match notice {
            Ok(Notice::Quarantined(withdrawn)) => withdrawn.content,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(heard.len(), 40);
    assert_eq!(heard.iter().filter(|content| **content == Content::NotRead).count(), 8);
    assert_ne!(a.space(SPACE).content(id, all[39]).unwrap(), Content::NotRead);
}

#[test]
fn content_that_is_itself_the_harm_is_listed_and_refused() {
    // Would panic, write the harm again, or hide what can be read of it.
    let a = replica();
    let id = bags(&a).insert(map([("name", "Guji".into())])).unwrap().id;
    let deep = foreign(
        &a,
        id,
        |copy| {
            let mut object = ROOT;
            for _ in 0..70 {
                object = copy.put_object(&object, "k", ObjType::Map).unwrap();
            }
            copy.put(&object, "n", ScalarValue::Int(7)).unwrap();
        },
        |_| {},
    );
    let nowhere = foreign(
        &a,
        id,
        |copy| copy.put(ROOT, "x", 1).unwrap(),
        |change| {
            let nobody = OpId::new(7_777, &change.actor_id);
            change.operations.iter_mut().for_each(|operation| operation.obj = ObjectId::Id(nobody.clone()));
        },
    );
    for record in [&deep, &nowhere] {
        merge(&a, record);
        judge(&a, id, &[record.hash], &[]);
    }
    let home = a.space(SPACE);
    let Content::Operations { listed, more, .. } = home.content(id, deep.hash).unwrap() else { panic!() };
    assert_eq!((listed.len(), more), (71, 0));
    assert_eq!(listed[70].action, Action::Put(Value::Int(7)));
    assert!(matches!(home.reapply(id, deep.hash), Err(ReapplyError::TooDeep)));
    let shown = home.content(id, nowhere.hash).unwrap();
    match home.reapply(id, nowhere.hash) {
        Err(ReapplyError::Refused(_)) => assert!(matches!(shown, Content::Operations { .. }), "{shown:?}"),
        // The engine may take an operation on nothing silently; then there is nothing to write.
        Ok(receipt) => assert!(receipt.is_empty(), "{shown:?}"),
        Err(error) => panic!("{error}"),
    }
    let unknown = ChangeHash::from_bytes([5; 32]);
    judge(&a, id, &[unknown], &[]);
    assert_eq!(home.content(id, unknown).unwrap(), Content::Lost);
    assert!(matches!(home.reapply(id, unknown), Err(ReapplyError::Lost)));
    assert!(matches!(home.reapply(id, ChangeHash::from_bytes([6; 32])), Err(ReapplyError::NotThere)));
    assert_eq!(fields(&a, id), map([("name", "Guji".into())]));
}

#[test]
fn what_the_relay_refuses_is_heard_and_stays_in_use_here() {
    // Would let a person go on for weeks with edits that nobody else will ever see.
    let a = replica();
    let mut notices = a.notices();
    let id = bags(&a).insert(map([("notes", Value::Text(Text::from("sweet")))])).unwrap().id;
    let entry = a.outbox(space(), headwater_storage::OutboxSeq::ZERO, 1, usize::MAX).unwrap().remove(0);
    let reason = Refusal { code: 40, message: "no write grant".to_owned() };
    a.acknowledge(space(), Vec::new(), vec![(entry.seq, reason)], None).unwrap();
    let Some(Ok(Notice::Refused(heard))) = notices.try_next() else { panic!("nobody is told") };
    assert_eq!((heard.entity, heard.is_own), (id, true));
    assert!(matches!(heard.content, Content::Fields { ref set, .. } if set.contains_key("notes")));
    assert!(matches!(a.space(SPACE).reapply(id, heard.hash), Err(ReapplyError::InUse)));
}
