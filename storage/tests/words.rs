//! Ids, names and positions: their text and CBOR forms.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use headwater_storage::{
    ChainHash, ChangeHash, CollectionName, EntityId, FeedEpoch, NameError, PayloadKind, Seq, SpaceId,
    Watermark,
};

fn round_trip<T>(value: &T) -> Vec<u8>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let bytes = minicbor::to_vec(value).unwrap();
    assert_eq!(&minicbor::decode::<T>(&bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        assert!(minicbor::decode::<T>(&bytes[..cut]).is_err());
    }
    bytes
}

/// Would make two versions misread each other's frames.
#[test]
fn words_have_one_cbor_form() {
    let space = SpaceId::from_name("home");
    let watermark = Watermark::start(space, FeedEpoch::from_bytes([1; 16]));
    assert_eq!(round_trip(&space).len(), 17);
    assert_eq!(round_trip(&ChangeHash::from_bytes([2; 32])).len(), 34);
    assert_eq!(round_trip(&Seq::new(5)), [5]);
    assert_eq!(round_trip(&CollectionName::new("bags").unwrap()), b"\x64bags");
    assert_eq!(round_trip(&PayloadKind::Snapshot), [1]);
    assert_eq!(round_trip(&watermark)[0], 0x83);
    assert!(
        minicbor::decode::<EntityId>(&minicbor::to_vec(ChangeHash::from_bytes([2; 32])).unwrap()).is_err()
    );
    assert!(minicbor::decode::<PayloadKind>(&[3]).is_err());
    assert!(minicbor::decode::<CollectionName>(b"\x62_a").is_err());
}

/// Would let a name that no file or URL can carry into every replica.
#[test]
fn collection_names_are_checked_at_their_limits() {
    assert_eq!(CollectionName::new(""), Err(NameError::Empty));
    assert!(CollectionName::new(&"x".repeat(128)).is_ok());
    assert_eq!(CollectionName::new(&"x".repeat(129)), Err(NameError::TooLong { len: 129 }));
    assert!(CollectionName::new(&"é".repeat(64)).is_ok());
    assert_eq!(CollectionName::new("_x"), Err(NameError::Reserved));
    assert!(CollectionName::new("x_").is_ok());
    for bad in ["a\0", "a\nb", "\u{7f}", "a\u{85}"] {
        assert_eq!(CollectionName::new(bad), Err(NameError::ControlCharacter));
    }
}

/// Would send devices that were told the same space name to different spaces after an update.
#[test]
fn named_spaces_and_chains_never_change() {
    assert_eq!(SpaceId::from_name("home").to_string(), "892f97ac-cebb-59fc-8c7f-53610cabe45d");
    let start = ChainHash::start(SpaceId::from_bytes([1; 16]), FeedEpoch::from_bytes([2; 16]));
    assert_eq!(start.to_string(), "a6d35c02164ff5f1f94301f9ff3dd63c2076e8f029b58b5a61370e57e7a2de4d");
    let next = start.extended(Seq::new(1), EntityId::from_bytes([3; 16]), ChangeHash::from_bytes([4; 32]));
    assert_eq!(next.to_string(), "062036b06e7cac8f23ca54a5de72fd1bb49ec24efb755376dd23dd7597357281");
    assert_eq!(next.to_string().parse(), Ok(next));
    assert!("xyz".parse::<ChangeHash>().is_err() && "é".repeat(32).parse::<ChangeHash>().is_err());
    assert!("+1".repeat(32).parse::<ChangeHash>().is_err());
}
