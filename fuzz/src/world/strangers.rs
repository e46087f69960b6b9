//! Connections whose client is not one of ours: of another version, or of ill will.

use headwater::sync::client::Direction;
use headwater::wire::{
    Ack, AckResult, Fetch, Frame, Hello, Limits, ListHeads, Open, OpenMode, Ping, Probe, Push, SEAL_BYTES,
    Seal, Seen, SyncMessage, Welcome,
};
use headwater_storage::{
    Bytes, ChangeRecord, CollectionName, DeviceId, EntityId, PayloadKind, Position, Seq, SpaceId,
};

use super::World;
use crate::Random;
use crate::link::{Link, Purpose};
use crate::violation::{Promise, Violation};

/// A version of the protocol that nobody speaks yet.
const FUTURE_VERSION: u16 = 9;

/// What somebody means to harm.
struct Target {
    relay: usize,
    space: SpaceId,
    collection: CollectionName,
}

impl World {
    /// Somebody connects who does not keep to the protocol.
    pub(super) fn attack(&mut self, relay: usize, random: &mut Random) -> Result<(), Violation> {
        let mut link = Link::without_client(relay, random, self.now());
        (link.is_tampered, link.is_held_open) = (true, true);
        let space = *random.pick(&self.spaces).unwrap_or(&SpaceId::from_name("home"));
        let collection = CollectionName::new(crate::edits::TYPED).map_err(Violation::failed("name"))?;
        let target = &Target { relay, space, collection };
        let mut sending = Seal::default();
        let mut say = |link: &mut Link, frame: &[u8]| link.to_relay.push_back(sending.seal(frame));
        if random.chance(90) {
            say(&mut link, &hello(1, 1, random).encode());
        }
        if random.chance(80) {
            let mode = *random
                .pick(&[OpenMode::Live, OpenMode::Once, OpenMode::PushOnly])
                .unwrap_or(&OpenMode::Live);
            let position = Position { watermark: None, cursor: random.chance(30).then(|| noise(random, 60)) };
            say(&mut link, &Frame::Open(Open { space, position, mode }).encode());
        }
        for _ in 0..=random.below(8) {
            match random.below(5) {
                // Sealed as it should be, and no frame.
                0 => say(&mut link, &noise(random, 200)),
                // A frame with a flipped bit.
                1 => {
                    let mut bytes = self.frame_of_ill_will(target, random).encode().to_vec();
                    let place = random.below(bytes.len());
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte ^= 1 << random.below(8);
                    }
                    say(&mut link, &bytes);
                }
                _ => say(&mut link, &self.frame_of_ill_will(target, random).encode()),
            }
        }
        if random.chance(50) {
            // Without a seal: this connection must end.
            link.to_relay.push_back(noise(random, 100));
            link.must_end = true;
        }
        self.outcome.faults += 1;
        self.add_link(link).map(|_| ())
    }

    /// A frame that can be read, and that no client of ours would send.
    fn frame_of_ill_will(&self, target: &Target, random: &mut Random) -> Frame {
        let space = target.space;
        let entity = EntityId::from_bytes([random.below(4) as u8; 16]);
        match random.below(11) {
            0 => Frame::Seen(Seen { space, frames: random.bits(), seq: Seq::new(random.bits()) }),
            1 => Frame::Fetch(Fetch { space, entities: vec![entity; 1 + random.below(20)] }),
            2 => Frame::ListHeads(ListHeads { space, after: Some(entity) }),
            3 => Frame::Probe(Probe { space: SpaceId::from_name("elsewhere"), nonce: random.bits() }),
            4 => Frame::Ping(Ping { nonce: random.bits() }),
            5 => hello(1, 1, random),
            6 => Frame::Welcome(Welcome {
                version: 2,
                relay_name: String::new(),
                relay_version: String::new(),
                limits: Limits::default(),
            }),
            7 => Frame::Ack(Ack {
                space,
                push_id: random.bits(),
                results: vec![AckResult::Accepted(Seq::new(1)); random.below(4)],
                watermark: None,
                cursor: None,
            }),
            8 => {
                let collection = target.collection.clone();
                Frame::SyncMessage(SyncMessage { space, entity, collection, message: noise(random, 80) })
            }
            _ => {
                let entries = (0..=random.below(6)).map(|_| self.forged(target, random)).collect();
                Frame::Push(Push { space, push_id: random.bits(), entries })
            }
        }
    }

    /// A change of somebody with other bytes, or bytes that are no change.
    fn forged(&self, target: &Target, random: &mut Random) -> ChangeRecord {
        let fed = self.relays.get(target.relay).and_then(|relay| relay.known(target.space));
        let stolen = fed.and_then(|feed| random.pick(feed.rows()).copied());
        let (entity, hash) = stolen.map_or_else(
            || (EntityId::from_bytes([7; 16]), headwater::ChangeHash::from_bytes([9; 32])),
            |(_, entity, hash)| (entity, hash),
        );
        let payload = stolen.and_then(|change| self.history.bytes_of(&change));
        let mut payload = payload.map_or_else(|| noise(random, 100).to_vec(), |bytes| bytes.to_vec());
        let place = random.below(payload.len());
        if let Some(byte) = payload.get_mut(place) {
            *byte ^= 1 << random.below(8);
        }
        let (collection, payload) = (target.collection.clone(), payload.into());
        ChangeRecord { entity, collection, kind: PayloadKind::Change, hash, payload }
    }

    /// A replica connects that speaks other versions of the protocol too, or only others.
    pub(super) fn connect_foreign(
        &mut self,
        device: usize,
        relay: usize,
        random: &mut Random,
    ) -> Result<(), Violation> {
        let purpose = if random.chance(50) { Purpose::Stay } else { Purpose::SyncOnce(Direction::Both) };
        let Some(id) = self.open(device, relay, purpose, random)? else { return Ok(()) };
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(first) = link.to_relay.front_mut() else { return Ok(()) };
        let frame = first.slice(..first.len() - SEAL_BYTES as usize);
        let Ok(Frame::Hello(mut hello)) = Frame::decode(&frame, &Limits::default()) else { return Ok(()) };
        hello.version_max = FUTURE_VERSION;
        if random.chance(50) {
            hello.version_min = FUTURE_VERSION;
            (link.is_tampered, link.must_end) = (true, true);
        }
        *first = Seal::default().seal(&Frame::Hello(hello).encode());
        self.outcome.faults += 1;
        Ok(())
    }

    /// Whoever had to be turned away was, as far as what they said has arrived.
    pub(super) fn intruders_are_turned_away(&self) -> Result<(), Violation> {
        let now = self.now();
        for (id, link) in &self.links {
            let heard = link.to_relay.is_empty() && !link.silent[0] && link.is_read(now);
            Promise::IntrudersAreTurnedAway
                .hold(!(link.must_end && heard && link.server.is_some()), || format!("connection {id}"))?;
        }
        Ok(())
    }
}

fn hello(version_min: u16, version_max: u16, random: &mut Random) -> Frame {
    Frame::Hello(Hello {
        version_min,
        version_max,
        device: DeviceId::from_bytes([random.below(256) as u8; 16]),
        client_name: "a stranger".to_owned(),
        client_version: "0".to_owned(),
        token: random.chance(30).then(|| noise(random, 40)),
        limits: Limits::default(),
    })
}

fn noise(random: &mut Random, len_max: usize) -> Bytes {
    let len = random.below(len_max + 1);
    (0..len).map(|_| random.below(256) as u8).collect()
}
