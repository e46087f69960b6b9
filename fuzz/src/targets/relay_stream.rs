use headwater::wire::SEAL_BYTES;

use super::client::Client;

/// Lengths that stand for something else than a message.
const TIME_PASSES: u16 = 0xffff;
const RELAY_DRAINS: u16 = 0xfffe;
const OTHERS_PUSH: u16 = 0xfffd;
const DAMAGED: u16 = 0xfffc;

/// What a client says after its seals are taken off, one message after the other, each behind its length in two bytes. The first
/// byte says whether it says hello and opens a space in the right way before. The relay's session answers with frames that decode,
/// never with more than so many, and is silent once it closed.
pub fn relay_stream(data: &[u8]) {
    let Some((how, mut rest)) = data.split_first() else { return };
    let mut client = if how & 1 == 1 { Client::greeted() } else { Client::connected() };
    client.feed_is_long = how & 2 == 2;
    client.store_fails = how & 4 == 4;
    if how & 9 == 9 {
        client.opens();
    }
    while let Some((length, after)) = rest.split_first_chunk() {
        rest = after;
        match u16::from_be_bytes(*length) {
            TIME_PASSES => client.waits(),
            RELAY_DRAINS => client.relay_drains(),
            OTHERS_PUSH => client.others_push(),
            DAMAGED => client.says_damaged(&rest[..rest.len().min(SEAL_BYTES as usize)]),
            length => {
                let frame;
                (frame, rest) = rest.split_at(rest.len().min(usize::from(length)));
                client.says(frame);
            }
        }
        let _frames = client.heard();
    }
}
