//! What is in the feed of a relay that is gone.

use std::collections::BTreeMap;
use std::path::Path;

use headwater::{ChangeHash, EntityId, SpaceId};
use headwater_storage::{Bytes, NewFeed, PageLimit, RedbFeed, Seq};

/// entity -> its changes
pub(crate) type Changes = BTreeMap<EntityId, BTreeMap<ChangeHash, Bytes>>;

/// Opens the feed of a relay that is gone.
pub(crate) fn open_feed(data: &Path) -> RedbFeed {
    RedbFeed::open(data.join("feed.redb"), NewFeed { created_ms: 0 }).unwrap()
}

/// What a space's feed holds. Fails if a seq is missing, a change is there twice, or the chain of hashes does not hold.
pub(crate) fn read_feed(feed: &RedbFeed, space: SpaceId) -> Changes {
    let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
    let page = feed.read_by_seq(space, Seq::ZERO, limit).unwrap();
    assert_eq!(page.end, page.head);
    assert_eq!(feed.verify_chain(space, Seq::ZERO, usize::MAX).unwrap(), None, "the chain breaks");
    let mut entities = Changes::new();
    let mut expected = Seq::ZERO;
    for row in page.rows {
        expected = expected.next();
        assert_eq!(row.seq, expected, "the feed is not dense");
        let twice =
            entities.entry(row.record.entity).or_default().insert(row.record.hash, row.record.payload);
        assert_eq!(twice, None, "a change is there twice");
    }
    entities
}
