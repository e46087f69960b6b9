//! Signs of life: a ping after some silence, and the end of a connection on which nothing comes any more.

use super::Time;

/// Pings closer to each other than this, in milliseconds, would only keep both sides awake.
const PING_INTERVAL_MS_MIN: u64 = 100;

/// How long a connection may be silent while it is checked, in milliseconds. Far above a round trip, and well below what a person
/// waits for.
pub(super) const CHECK_MS_MAX: u64 = 3_000;

/// When to ask for a sign of life, and when to give up.
#[derive(Debug)]
pub(super) struct Heartbeat {
    ping_interval_ms: u64,
    dead_after_ms: u64,
    received: Time,
    pinged: Option<Time>,
    nonce: u64,
    check: Option<Check>,
}

/// There is a reason to doubt the connection. It ends with the answer to a ping that was sent for it: what else comes may have been
/// under way before.
#[derive(Debug, Clone, Copy)]
struct Check {
    since: Time,
    nonce: u64,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    Ping { nonce: u64 },
    Dead,
}

impl Heartbeat {
    pub(super) fn new(now: Time, ping_interval_ms: u64, dead_after_ms: u64) -> Self {
        let ping_interval_ms = ping_interval_ms.max(PING_INTERVAL_MS_MIN);
        Self {
            ping_interval_ms,
            dead_after_ms: dead_after_ms.max(ping_interval_ms.saturating_mul(2)),
            received: now,
            pinged: None,
            nonce: 0,
            check: None,
        }
    }

    pub(super) fn received(&mut self, now: Time) {
        self.received = now;
        self.pinged = None;
    }

    /// Takes the answer to a ping.
    pub(super) fn answered(&mut self, nonce: u64) {
        self.check.take_if(|check| nonce >= check.nonce && nonce <= self.nonce);
    }

    /// Doubts the connection from now on: a ping with this nonce has to go out at once. Asked again while it doubts already, it does
    /// not wait for longer.
    pub(super) fn check(&mut self, now: Time) -> u64 {
        let nonce = self.ping(now);
        let since = self.check.map_or(now, |check| check.since);
        self.check = Some(Check { since, nonce });
        nonce
    }

    pub(super) fn timeout(&self) -> Time {
        self.ping_at().min(self.dead_at())
    }

    pub(super) fn poll(&mut self, now: Time) -> Beat {
        if now >= self.dead_at() {
            return Beat::Dead;
        }
        if now >= self.ping_at() {
            return Beat::Ping { nonce: self.ping(now) };
        }
        Beat::Nothing
    }

    fn ping(&mut self, now: Time) -> u64 {
        self.pinged = Some(now);
        self.nonce = self.nonce.wrapping_add(1);
        self.nonce
    }

    fn ping_at(&self) -> Time {
        self.pinged.unwrap_or(self.received).after_ms(self.ping_interval_ms)
    }

    fn dead_at(&self) -> Time {
        let dead_at = self.received.after_ms(self.dead_after_ms);
        match self.check {
            // While something comes, such as a long page before the answer, there is life.
            Some(check) => dead_at.min(check.since.max(self.received).after_ms(CHECK_MS_MAX)),
            None => dead_at,
        }
    }
}
