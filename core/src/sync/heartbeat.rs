//! Signs of life: a ping after some silence, and the end of a connection on which nothing comes any more.

use super::Time;

/// When to ask for a sign of life, and when to give up.
#[derive(Debug)]
pub(super) struct Heartbeat {
    ping_interval_ms: u64,
    dead_after_ms: u64,
    received: Time,
    pinged: Option<Time>,
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
        // A peer that names zero would have this side do nothing but ping.
        let ping_interval_ms = ping_interval_ms.max(1_000);
        Self {
            ping_interval_ms,
            dead_after_ms: dead_after_ms.max(ping_interval_ms.saturating_mul(2)),
            received: now,
            pinged: None,
            nonce: 0,
        }
    }

    pub(super) fn received(&mut self, now: Time) {
        self.received = now;
        self.pinged = None;
    }

    pub(super) fn timeout(&self) -> Time {
        let ping_at = self.pinged.unwrap_or(self.received).after_ms(self.ping_interval_ms);
        ping_at.min(self.received.after_ms(self.dead_after_ms))
    }

    pub(super) fn poll(&mut self, now: Time) -> Beat {
        if now >= self.received.after_ms(self.dead_after_ms) {
            return Beat::Dead;
        }
        if now >= self.pinged.unwrap_or(self.received).after_ms(self.ping_interval_ms) {
            self.pinged = Some(now);
            self.nonce = self.nonce.wrapping_add(1);
            return Beat::Ping { nonce: self.nonce };
        }
        Beat::Nothing
    }
}
