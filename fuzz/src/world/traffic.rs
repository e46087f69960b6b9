//! What is on its way, and what the sessions at both ends want done.

use headwater::SpaceId;
use headwater::sync::client::{self, CloseReason, Direction, Event, SessionState};
use headwater::sync::relay;
use headwater::wire::{ErrorCode, OpenMode, Retry};
use headwater_storage::OutboxSeq;

use super::World;
use crate::Random;
use crate::clash::is_clashing;
use crate::link::LinkId;
use crate::violation::{Promise, Violation};

/// Something that can arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToRelay(LinkId),
    ToClient(LinkId),
    /// From a space to the relay's end of a connection.
    Inbox(LinkId),
    /// From a space to the store of a relay.
    Append(usize, SpaceId),
    /// From the store of a relay to a space.
    Appended(usize, SpaceId),
}

impl World {
    /// Lets one thing that is on its way arrive. False if there is none.
    pub(super) fn deliver(&mut self, random: &mut Random) -> Result<bool, Violation> {
        let Some(way) = random.pick(&self.ways()).copied() else { return Ok(false) };
        self.outcome.steps += 1;
        self.pass(1)?;
        match way {
            Way::ToRelay(id) => {
                let Some(link) = self.links.get_mut(&id) else { return Ok(true) };
                let frame = link.to_relay.pop_front();
                if let Some(frame) = frame.filter(|_| !link.silent[0]) {
                    self.relay_input(id, relay::Input::Frame(&frame))?;
                }
                self.end_stream(id);
            }
            Way::ToClient(id) => {
                let Some(link) = self.links.get_mut(&id) else { return Ok(true) };
                let frame = link.to_client.pop_front();
                if let Some(frame) = frame.filter(|_| !link.silent[1]) {
                    self.client_input(id, client::Input::Frame(&frame))?;
                }
                self.end_stream(id);
            }
            Way::Inbox(id) => {
                let now = self.now();
                if let Some(server) = self.links.get_mut(&id).and_then(|link| link.server.as_mut())
                    && let Some(delivery) = server.inbox_receiver.try_recv()
                {
                    let lagged = matches!(delivery, headwater_relay::space::Delivery::Lagged);
                    self.outcome.faults += u64::from(lagged);
                    delivery.hand_over(now, &mut server.session);
                }
                self.settle(id)?;
            }
            Way::Append(index, space) => {
                let World { relays, history, .. } = self;
                if let Some(relay) = relays.get_mut(index) {
                    relay.append(space, history)?;
                }
                self.look_after_relay(index, random)?;
            }
            Way::Appended(index, space) => {
                if let Some(relay) = self.relays.get_mut(index) {
                    relay.end_append(space);
                }
            }
        }
        Ok(true)
    }

    fn ways(&self) -> Vec<Way> {
        let now = self.now();
        let mut ways = Vec::new();
        for (id, link) in &self.links {
            let relay_takes = link.server.is_some() && !link.is_full();
            // What nobody is there to take any more arrives nowhere, but it leaves the wire.
            if !link.to_relay.is_empty() && (relay_takes || link.server.is_none()) {
                ways.push(Way::ToRelay(*id));
            }
            if !link.to_client.is_empty() && (link.is_read(now) || link.client.is_none()) {
                ways.push(Way::ToClient(*id));
            }
            let inbox = link.server.as_ref().is_some_and(|server| !server.inbox_receiver.is_empty());
            if relay_takes && inbox {
                ways.push(Way::Inbox(*id));
            }
        }
        for (index, relay) in self.relays.iter().enumerate() {
            ways.extend(relay.can_append().map(|space| Way::Append(index, space)));
            ways.extend(relay.appended().map(|space| Way::Appended(index, space)));
        }
        ways
    }

    /// Time passes, and whoever waited for it is woken.
    pub(super) fn pass(&mut self, ms: u64) -> Result<(), Violation> {
        self.world_ms.fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
        let now = self.now();
        let is_due = |at: Option<headwater::sync::Time>| at.is_some_and(|at| at <= now);
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get(&id) else { continue };
            let client = link.client.as_ref().is_some_and(|client| is_due(client.session.timeout()));
            let server = link.server.as_ref().is_some_and(|server| is_due(server.session.timeout()));
            if client {
                self.client_input(id, client::Input::Timeout)?;
            }
            if server {
                self.relay_input(id, relay::Input::Timeout)?;
            }
        }
        Ok(())
    }

    pub(super) fn client_input(&mut self, id: LinkId, input: client::Input<'_>) -> Result<(), Violation> {
        let now = self.now();
        if let Some(client) = self.links.get_mut(&id).and_then(|link| link.client.as_mut()) {
            client.session.handle(now, input);
        }
        self.settle(id)
    }

    pub(super) fn relay_input(&mut self, id: LinkId, input: relay::Input<'_>) -> Result<(), Violation> {
        let now = self.now();
        if let Some(server) = self.links.get_mut(&id).and_then(|link| link.server.as_mut()) {
            server.session.handle(now, input);
        }
        self.settle(id)
    }

    /// Does everything that the sessions of one connection want done by now.
    pub(super) fn settle(&mut self, id: LinkId) -> Result<(), Violation> {
        while let Some(link) = self.links.get_mut(&id) {
            if let Some(output) = link.client.as_mut().and_then(|client| client.session.poll()) {
                self.client_output(id, output)?;
            } else if let Some(output) = link.server.as_mut().and_then(|server| server.session.poll()) {
                self.relay_output(id, output)?;
            } else {
                let within = link.is_within_bounds();
                Promise::MemoryIsBounded.hold(within, || format!("connection {id} of the world"))?;
                if link.client.is_none() && link.server.is_none() {
                    self.links.remove(&id);
                }
                break;
            }
        }
        Ok(())
    }

    fn client_output(&mut self, id: LinkId, output: client::Output) -> Result<(), Violation> {
        let now = self.now();
        match output {
            client::Output::Transmit(frame) => {
                self.sent(id, "relay", &frame);
                if let Some(link) = self.links.get_mut(&id) {
                    link.to_relay.push_back(frame);
                }
                Ok(())
            }
            client::Output::Event(event) => self.event(id, event),
            client::Output::Close { reason } => {
                self.tell(|| format!("  {id} client ends: {reason:?}"));
                let tampered = self.links.get(&id).is_some_and(|link| link.is_tampered);
                let relay_failing = self.relay_of(id).is_some_and(crate::relay::Relay::is_failing);
                let expected = match &reason {
                    CloseReason::Done | CloseReason::Timeout | CloseReason::Drained { .. } => true,
                    CloseReason::Refused { code, .. } => tampered || relay_failing || is_about_time(*code),
                    CloseReason::Protocol { .. } => tampered,
                };
                self.hang_up(id);
                Promise::GoesOn.hold(expected, || format!("the client: {reason:?}"))
            }
            call => {
                self.tell(|| {
                    format!("  {id} asks: {}", format!("{call:?}").chars().take(300).collect::<String>())
                });
                let World { links, devices, relays, history, .. } = self;
                let Some(link) = links.get_mut(&id) else { return Ok(()) };
                let Some(client) = link.client.as_mut() else { return Ok(()) };
                let Some(device) = devices.get_mut(client.device) else { return Ok(()) };
                if let client::Output::Acknowledge { space, acknowledged, refused, .. } = &call {
                    let is_clash = |seq: OutboxSeq| {
                        device.outbox_change(*space, seq).is_some_and(|(_, entity, _)| is_clashing(entity))
                    };
                    if let Some((_, refusal)) = refused.iter().find(|(seq, _)| !is_clash(*seq)) {
                        return Err(Violation::new(Promise::NothingIsRefused, format!("{refusal:?}")));
                    }
                    let fed = relays.get(link.relay).and_then(|relay| relay.known(*space));
                    for seq in acknowledged {
                        let change = device.outbox_change(*space, *seq);
                        let is_fed = change.is_some_and(|change| fed.is_some_and(|feed| feed.holds(&change)));
                        Promise::AcknowledgedIsFed.hold(is_fed, || format!("{seq:?}: {change:?}"))?;
                    }
                }
                let index = client.device;
                match device.answer(call, history)? {
                    Ok(Some(input)) => client.session.handle(now, input),
                    Ok(None) => {}
                    Err(_) => self.hang_up(id),
                }
                self.look_after_device(index)
            }
        }
    }

    fn event(&mut self, id: LinkId, event: Event) -> Result<(), Violation> {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        let Some(client) = &link.client else { return Ok(()) };
        let Some(device) = self.devices.get(client.device) else { return Ok(()) };
        match event {
            Event::Error { code, message, retry: Retry::Never, .. } => {
                Promise::GoesOn.hold(link.is_tampered, || format!("an error for good: {message} ({code})"))
            }
            Event::StateChanged(SessionState::UpToDate) | Event::Report { failed: None, .. }
                if client.direction != Direction::Push && !device.is_failing() =>
            {
                for (space, head) in &client.heads_at_open {
                    let position = device.position(*space).watermark;
                    let covers = match &position {
                        Some(position) => {
                            // A feed without changes is at its start, which the walk ends at without meeting it.
                            self.history.walk_back(position, Some(head), |_| Ok(()))?
                                || (head.seq.get() == 0 && head.epoch == position.epoch)
                        }
                        None => head.seq.get() == 0,
                    };
                    Promise::UpToDateIsComplete.hold(covers, || {
                        format!("the feed was at {head:?}, the replica is at {position:?}")
                    })?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn relay_output(&mut self, id: LinkId, output: relay::Output) -> Result<(), Violation> {
        let now = self.now();
        match output {
            relay::Output::Transmit(frame) => {
                self.sent(id, "client", &frame);
                if let Some(link) = self.links.get_mut(&id) {
                    link.to_client.push_back(frame);
                }
            }
            relay::Output::DeviceSeen { .. } => {}
            relay::Output::Greeted { device, .. } => {
                if let Some(server) = self.links.get_mut(&id).and_then(|link| link.server.as_mut()) {
                    server.device = Some(device);
                }
            }
            relay::Output::Append { space, push_id, entries } => {
                let World { links, relays, .. } = self;
                let Some(link) = links.get(&id) else { return Ok(()) };
                let (Some(relay), Some(server)) = (relays.get_mut(link.relay), &link.server) else {
                    return Ok(());
                };
                let Some(device) = server.device else { return Ok(()) };
                relay.push(space, (id, device, server.inbox.clone()), push_id, entries);
            }
            relay::Output::Close { code, message } => {
                let tampered = self.links.get(&id).is_some_and(|link| link.is_tampered);
                let expected = tampered || code.is_none_or(is_about_time);
                self.hang_up_relay(id);
                Promise::GoesOn.hold(expected, || format!("the relay: {message} ({code:?})"))?;
            }
            read => {
                let World { links, relays, .. } = self;
                let Some(link) = links.get_mut(&id) else { return Ok(()) };
                let (Some(relay), Some(server)) = (relays.get_mut(link.relay), link.server.as_mut()) else {
                    return Ok(());
                };
                if let relay::Output::Open { space, mode, .. } = &read {
                    let inbox = (*mode == OpenMode::Live).then(|| server.inbox.clone());
                    relay.subscribe(*space, id, inbox);
                    server.opened.push(*space);
                }
                if let Some(input) = relay.read(read)? {
                    if let relay::Input::Opened { space, head: Some(head), .. } = &input
                        && let Some(client) = link.client.as_mut()
                    {
                        client.heads_at_open.insert(*space, *head);
                    }
                    server.session.handle(now, input);
                }
            }
        }
        Ok(())
    }

    /// The client's end is gone; the relay's hears of it after what was sent, unless nothing reaches it.
    pub(super) fn hang_up(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.client = None;
        }
        self.end_stream(id);
    }

    /// The relay's end is gone; the client's hears of it after what was sent, unless nothing reaches it.
    fn hang_up_relay(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.server = None;
        if let Some(relay) = self.relays.get_mut(link.relay) {
            relay.forget(id);
        }
        self.end_stream(id);
    }

    /// An end whose peer is gone, and that has nothing more to come, goes too.
    fn end_stream(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.server.is_none() && link.to_client.is_empty() && !link.silent[1] {
            link.client = None;
        }
        let is_over = link.client.is_none() && !link.is_held_open;
        if is_over && link.to_relay.is_empty() && !link.silent[0] && link.server.is_some() {
            link.server = None;
            if let Some(relay) = self.relays.get_mut(link.relay) {
                relay.forget(id);
            }
        }
        if link.client.is_none() && link.server.is_none() {
            self.links.remove(&id);
        }
    }

    fn relay_of(&self, id: LinkId) -> Option<&crate::relay::Relay> {
        self.links.get(&id).and_then(|link| self.relays.get(link.relay))
    }
}

/// Whether a session gives up for this reason because nothing came for too long.
fn is_about_time(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::PeerSilent | ErrorCode::HelloTimeout)
}
