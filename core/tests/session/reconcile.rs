//! A relay whose feed is not the one that the replica knows.

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT};
use headwater::sync::client::Event;
use headwater::sync::relay::RelayConfig;
use headwater::wire::Frame;
use headwater_storage::{ChangeHash, ChangeRecord, CollectionName, PayloadKind};

use crate::pair::Pair;
use crate::records::{append, change, entity, new_feed};
use crate::replica::{FakeReplica, client_config};

/// A document with its changes, one field each.
struct Doc {
    of: u64,
    doc: Automerge,
}

impl Doc {
    fn new(of: u64, actor: u8) -> Self {
        let mut doc = Automerge::new();
        doc.set_actor(ActorId::from(&[actor; 24][..]));
        Self { of, doc }
    }

    fn write(&mut self, field: &str, value: i64) -> ChangeRecord {
        let mut transaction = self.doc.transaction();
        transaction.put(ROOT, field, value).unwrap();
        transaction.commit();
        let change = self.doc.get_last_local_change().unwrap();
        ChangeRecord {
            entity: entity(self.of),
            collection: CollectionName::new("notes").unwrap(),
            kind: PayloadKind::Change,
            hash: ChangeHash::from_bytes(change.hash().0),
            payload: change.raw_bytes().to_vec().into(),
        }
    }

    fn fork(&self, actor: u8) -> Self {
        let mut doc = self.doc.fork();
        doc.set_actor(ActorId::from(&[actor; 24][..]));
        Self { of: self.of, doc }
    }
}

/// Would go wrong: a relay that comes back from an older backup loses what was acknowledged, or its replicas stop syncing.
#[test]
fn a_restored_relay_gets_back_what_it_lacks_and_both_sides_are_even() {
    // Entity 1: the backup has its first half. 2: only the replica has it. 3: only the relay has it. 4: both, the same.
    // 5: both went on in different directions.
    let mut one = Doc::new(1, 1);
    let first: Vec<_> = (0..5).map(|number| one.write("a", number)).collect();
    let later: Vec<_> = (5..9).map(|number| one.write("a", number)).collect();
    let mut two = Doc::new(2, 1);
    let only_here: Vec<_> = (0..400).map(|number| two.write("b", number)).collect();
    let mut three = Doc::new(3, 2);
    let only_there: Vec<_> = (0..300).map(|number| three.write("c", number)).collect();
    let four = Doc::new(4, 1).write("d", 1);
    let mut five = Doc::new(5, 1);
    let common = five.write("e", 0);
    let mut five_there = five.fork(2);
    let here: Vec<_> = (0..30).map(|number| five.write("here", number)).collect();
    let there: Vec<_> = (0..30).map(|number| five_there.write("there", number)).collect();

    let old = new_feed();
    append(&old, 5, [first.clone(), vec![four.clone(), common.clone()]].concat());
    append(&old, 5, [later, only_here, here].concat());
    let mut pair = Pair::new(old, FakeReplica::default());
    pair.run();
    pair.assert_even();

    let restored = new_feed();
    append(&restored, 5, [first, vec![four, common]].concat());
    append(&restored, 5, [only_there, there].concat());
    let mut replica = std::mem::take(&mut pair.replica);
    replica.write(Doc::new(6, 1).write("f", 1));
    let mut pair = Pair::new(restored, replica);
    pair.run();
    pair.assert_even();
    let report = pair.report().unwrap();
    assert_eq!(report.1, 330, "what only the relay had came");
    assert!(report.0 > 4 + 400 + 30, "{report:?}");
    let messages =
        pair.from_client.iter().filter(|(frame, _)| matches!(frame, Frame::SyncMessage(_))).count();
    assert!((1..=10).contains(&messages), "{messages} messages");

    pair.reconnect();
    pair.run();
    assert_eq!(pair.report(), Some((0, 0, 0)), "the next time nothing is to be done");
}

/// Would go wrong: a relay that lost everything keeps its replicas' changes out.
#[test]
fn a_new_relay_gets_everything() {
    let feed = new_feed();
    let mut docs: Vec<Doc> = (0..40).map(|of| Doc::new(of, 1)).collect();
    append(&feed, 5, docs.iter_mut().flat_map(|doc| [doc.write("a", 1), doc.write("b", 2)]).collect());
    let mut pair = Pair::new(feed, FakeReplica::default());
    pair.run();
    let replica = std::mem::take(&mut pair.replica);
    let mut pair = Pair::new(new_feed(), replica);
    pair.run();
    pair.assert_even();
    assert_eq!(pair.report(), Some((80, 0, 0)), "and nothing comes back");
}

/// Would go wrong: payloads that Automerge cannot read (encrypted, or of another kind) end the comparison.
#[test]
fn entities_that_cannot_be_compared_are_exchanged_whole() {
    let feed = new_feed();
    append(&feed, 5, vec![change(1, 0), change(1, 1), change(2, 0)]);
    let mut pair = Pair::new(feed, FakeReplica::default());
    pair.run();
    let replica = std::mem::take(&mut pair.replica);
    let restored = new_feed();
    append(&restored, 6, vec![change(1, 0), change(1, 2)]);
    let mut pair = Pair::new(restored, replica);
    pair.run();
    pair.assert_even();
    assert_eq!(pair.feed_rows().len(), 4);
}

/// Would go wrong: what others write during the comparison is skipped, because the position is taken as that of its end.
#[test]
fn others_may_write_during_the_comparison() {
    let feed = new_feed();
    let mut docs: Vec<Doc> = (0..60).map(|of| Doc::new(of, 1)).collect();
    let common: Vec<_> = docs.iter_mut().map(|doc| doc.write("a", 1)).collect();
    append(&feed, 5, common.clone());
    let mut pair = Pair::new(feed, FakeReplica::default());
    pair.run();
    let mut replica = std::mem::take(&mut pair.replica);
    for doc in &mut docs {
        replica.write(doc.write("b", 2));
    }
    let restored = new_feed();
    append(&restored, 6, common);
    let mut pair = Pair::new(restored, replica);
    for number in 0..300 {
        pair.now += 1;
        pair.step();
        if number % 10 == 0 {
            pair.others_append(vec![change(1_000 + number, 0)]);
        }
    }
    pair.run();
    pair.assert_even();
}

/// Would go wrong: a relay that cannot store everything is taken to have it.
#[test]
fn a_comparison_that_the_relay_could_not_finish_is_done_again() {
    let feed = new_feed();
    let mut docs: Vec<Doc> = (0..5).map(|of| Doc::new(of, 1)).collect();
    append(&feed, 5, docs.iter_mut().map(|doc| doc.write("a", 1)).collect());
    let mut pair = Pair::new(feed, FakeReplica::default());
    pair.run();
    let known = pair.replica.position.clone();
    let replica = std::mem::take(&mut pair.replica);
    let mut pair = Pair::new(new_feed(), replica);
    pair.faults.appends_fail = true;
    pair.run();
    assert_eq!(pair.replica.position, known, "the position is not taken");
    assert!(pair.events.iter().any(|event| matches!(event, Event::Error { .. })));
    pair.faults.appends_fail = false;
    pair.advance(15_000);
    pair.assert_even();
}

/// Would go wrong: a comparison that breaks off leaves a position behind that it did not reach.
#[test]
fn a_comparison_that_breaks_off_anywhere_begins_again() {
    let feed = new_feed();
    let mut docs: Vec<Doc> = (0..30).map(|of| Doc::new(of, 1)).collect();
    let common: Vec<_> = docs.iter_mut().map(|doc| doc.write("a", 1)).collect();
    let more: Vec<_> = docs.iter_mut().map(|doc| doc.write("b", 1)).collect();
    for cut_at in (0..160).step_by(13) {
        let full = new_feed();
        append(&full, 5, [common.clone(), more.clone()].concat());
        let mut pair = Pair::new(full, FakeReplica::default());
        pair.run();
        let replica = std::mem::take(&mut pair.replica);
        let restored = new_feed();
        append(&restored, 5, common.clone());
        append(&restored, 5, (0..20).map(|of| change(500 + of, 0)).collect());
        let mut pair = Pair::new(restored, replica);
        for _ in 0..cut_at {
            pair.now += 1;
            pair.step();
        }
        pair.reconnect();
        pair.run();
        pair.assert_even();
    }
    drop(feed);
}

/// Would go wrong: a catch-up by entity goes on in a feed that was restored meanwhile, and what moved to the end of the old feed is
/// skipped for good.
#[test]
fn a_cursor_of_before_a_restore_is_of_no_use() {
    use headwater::sync::relay::RelayConfig;
    let small = RelayConfig { page_entries_max: 5, by_entity_behind_min: 1, ..RelayConfig::default() };
    let feed = new_feed();
    append(&feed, 5, (0..20).map(|of| change(of, 0)).collect());
    append(&feed, 5, (0..5).map(|of| change(of, 1)).collect());
    // The first pages of a catch-up: the entities that did not change again.
    let limit = headwater_storage::PageLimit { entries_max: 10, bytes_max: usize::MAX };
    let page =
        feed.read_by_entity(crate::records::space(), headwater_storage::Seq::ZERO, None, limit).unwrap();
    assert!(page.cursor.is_some());
    let mut replica = FakeReplica::default();
    let position = headwater_storage::Position { watermark: None, cursor: page.cursor };
    replica.merge(page.rows.into_iter().map(|row| row.record).collect(), Some(position));
    // The backup was made before the first five entities changed again, which is why they were not given yet.
    let restored = new_feed();
    append(&restored, 5, (0..20).map(|of| change(of, 0)).collect());
    let config = crate::replica::client_config(&replica);
    let mut pair = Pair::with(restored, replica, config, small);
    pair.run();
    pair.assert_even();
}

/// Would go wrong: a change leaves the outbox before the watermark covers it, and a relay that is restored to in between never
/// gets it again, because both sides take themselves for even.
#[test]
fn what_no_watermark_covers_yet_is_pushed_again_to_a_restored_relay() {
    let feed = new_feed();
    append(&feed, 5, vec![change(1, 0)]);
    let mut pair = Pair::new(feed, FakeReplica::default());
    pair.run();
    pair.faults.merges_wait = true;
    pair.others_append(vec![change(2, 0)]);
    pair.run();
    pair.write(change(3, 0));
    pair.run();
    assert_eq!(pair.feed_rows().len(), 3, "pushed and acknowledged");
    assert_eq!(pair.replica.outbox.len(), 1, "while its watermark is still before it");
    let replica = std::mem::take(&mut pair.replica);
    let restored = new_feed();
    append(&restored, 5, vec![change(1, 0)]);
    let mut pair = Pair::new(restored, replica);
    pair.run();
    pair.assert_even();
    assert_eq!(pair.feed_rows().len(), 2);
}

/// Would go wrong: an app that adds up its reports counts a change twice that a comparison pushed and the outbox still has, or one
/// that was acknowledged, and pushed again after a reconnect.
#[test]
fn every_push_counts_once() {
    let mut replica = FakeReplica::default();
    replica.write(change(1, 0));
    let mut pair = Pair::new(new_feed(), replica);
    pair.run();
    assert_eq!(pair.report(), Some((1, 0, 0)));
    // A relay that is new: the comparison pushes both, and one of them waits in the outbox too.
    pair.feed = new_feed();
    pair.reconnect();
    pair.replica.write(change(2, 0));
    pair.run();
    assert_eq!(pair.report(), Some((2, 0, 0)));
    pair.assert_even();

    // Acknowledged and counted while the pull fails, so that it stays in the outbox, and acknowledged again by the next session.
    let feed = new_feed();
    append(&feed, 5, vec![change(3, 0)]);
    let mut replica = FakeReplica::default();
    replica.write(change(4, 0));
    let mut pair = Pair::new(feed.clone(), replica);
    pair.faults.merges_fail = true;
    pair.run();
    assert_eq!((pair.report(), pair.replica.outbox.len()), (Some((1, 0, 0)), 1));
    let replica = std::mem::take(&mut pair.replica);
    let mut config = client_config(&replica);
    config.counted.clone_from(pair.client.counted());
    let mut pair = Pair::with(feed, replica, config, RelayConfig::default());
    pair.run();
    pair.assert_even();
    assert_eq!(pair.report(), Some((0, 1, 0)));
    assert!(pair.client.counted().is_empty(), "what has left the outbox is forgotten");
}
