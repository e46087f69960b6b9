use bytes::Bytes;
use headwater::sync::check_sync_message;
use headwater::wire::{Frame, SyncMessage};

use super::client::Client;
use super::fixture::{collection, entity, space};

/// A message that the relay would not read for its size alone.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Any bytes as a message of Automerge's sync protocol to a relay that has the entity: it answers each with one that its own check
/// takes, or gives up, and the connection goes on. Each comes twice, since the first leaves a state behind.
pub fn sync_message(data: &[u8]) {
    if data.len() > MESSAGE_BYTES_MAX {
        return;
    }
    let mut client = Client::greeted();
    client.opens();
    for _ in 0..2 {
        let message = Bytes::copy_from_slice(data);
        let frame = SyncMessage { space: space(), entity: entity(), collection: collection(), message };
        client.says(&Frame::SyncMessage(frame).encode());
        let answers: Vec<Bytes> = client
            .heard()
            .into_iter()
            .filter_map(|frame| match frame {
                Frame::SyncMessage(answer) => Some(answer.message),
                Frame::Changes(_) => None,
                other => panic!("the answer is {other:?}"),
            })
            .collect();
        assert_eq!(answers.len(), 1, "one answer to one message");
        for answer in answers.iter().filter(|answer| !answer.is_empty()) {
            assert_eq!(check_sync_message(answer), Ok(()), "the relay says what it would not take");
        }
    }
    assert!(!client.is_closed());
}
