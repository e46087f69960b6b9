//! A proxy between a client and a relay that notes every frame, and counts round trips by what caused what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use headwater::wire::{Frame, Limits, Seal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

/// Time that the relay's frames take to the client. Long enough for whatever the client sends without waiting for them to be sent
/// before they arrive; too short a time could only make the count too high.
const LATENCY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Relay,
}

/// One binary message that passed.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) from: From,
    pub(crate) frame: Frame,
    pub(crate) bytes: usize,
    /// The round trips that had to be over before it was sent, and its own.
    round_trip: usize,
}

/// Takes one connection after the other, and passes them on to a relay.
pub(crate) struct Sniffer {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Sniffer {
    pub(crate) async fn start(relay: SocketAddr) -> Sniffer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&passed);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                pass(stream, relay, &notes).await;
            }
        });
        Sniffer { address, passed }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) fn has(&self, is_it: impl Fn(&Passed) -> bool) -> bool {
        self.passed.lock().unwrap().iter().any(is_it)
    }

    /// What passed since the last call.
    pub(crate) fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut self.passed.lock().unwrap())
    }
}

/// How many times the client had to wait for the relay.
pub(crate) fn round_trips(passed: &[Passed]) -> usize {
    passed
        .iter()
        .filter(|passed| passed.from == From::Relay)
        .map(|passed| passed.round_trip)
        .max()
        .unwrap_or(0)
}

async fn pass(stream: TcpStream, relay: SocketAddr, notes: &Mutex<Vec<Passed>>) {
    stream.set_nodelay(true).unwrap();
    let mut client = accept_async(stream).await.unwrap();
    let (mut upstream, _) = connect_async(format!("ws://{relay}/sync")).await.unwrap();
    // Answers that are on their way to the client, each with the time at which it arrives.
    let (delayed, mut arriving) = mpsc::unbounded_channel();
    let mut next = None;
    let (mut delivered, mut forwarded) = (0, 0);
    let (mut from_client, mut from_relay) = (Seal::default(), Seal::default());
    let mut note = |from, message: &Message, round_trip| {
        if let Message::Binary(bytes) = message {
            let seal = if from == From::Client { &mut from_client } else { &mut from_relay };
            let frame = Frame::decode(seal.open(bytes).unwrap(), &Limits::default()).unwrap();
            notes.lock().unwrap().push(Passed { from, frame, bytes: bytes.len(), round_trip });
        }
    };
    loop {
        tokio::select! {
            Some(Ok(message)) = client.next() => {
                forwarded = delivered + 1;
                note(From::Client, &message, forwarded);
                if upstream.send(message).await.is_err() { return }
            }
            Some(Ok(message)) = upstream.next() => {
                delayed.send((tokio::time::Instant::now() + LATENCY, message, forwarded)).unwrap();
            }
            Some((message, round_trip)) = arrived(&mut arriving, &mut next) => {
                delivered = round_trip;
                note(From::Relay, &message, round_trip);
                if client.send(message).await.is_err() { return }
            }
            else => return,
        }
    }
}

/// The next answer, once it is due.
async fn arrived(
    arriving: &mut mpsc::UnboundedReceiver<(tokio::time::Instant, Message, usize)>,
    next: &mut Option<(tokio::time::Instant, Message, usize)>,
) -> Option<(Message, usize)> {
    if next.is_none() {
        *next = arriving.recv().await;
    }
    // Kept in `next` while it is on its way: whoever stops waiting here must not lose it.
    let due = next.as_ref()?.0;
    tokio::time::sleep_until(due).await;
    next.take().map(|(_, message, round_trip)| (message, round_trip))
}
