//! How fast frames of one connection are taken in.

use std::time::Duration;

use tokio::time::Instant;

/// So many frames a second, and so many at once after a rest. Frames above that are not refused: they are read later, and the client's
/// writes wait meanwhile.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The time that one frame stands for.
    each: Duration,
    burst: Duration,
    /// When all frames so far would have been taken in at an even pace.
    even_at: Instant,
}

impl Pace {
    /// A rate of 0 counts as 1 a second.
    pub(crate) fn new(per_second_max: u32, burst_max: u32, now: Instant) -> Pace {
        let each = Duration::from_secs(1) / per_second_max.max(1);
        Pace { each, burst: each.saturating_mul(burst_max.max(1)), even_at: now }
    }

    /// Takes note of a frame.
    pub(crate) fn took_one(&mut self, now: Instant) {
        self.even_at = self.even_at.max(now) + self.each;
    }

    /// When the next frame may be read.
    pub(crate) fn next_at(&self) -> Instant {
        (self.even_at + self.each).checked_sub(self.burst).unwrap_or(self.even_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_one_at_a_time() {
        // Would let one client keep a core busy, or slow honest ones down.
        let start = Instant::now() + Duration::from_secs(60);
        let mut pace = Pace::new(50, 200, start);
        for frame in 0..200 {
            assert!(pace.next_at() <= start, "frame {frame}");
            pace.took_one(start);
        }
        assert_eq!(pace.next_at(), start + Duration::from_millis(20));
        pace.took_one(start + Duration::from_millis(20));
        assert_eq!(pace.next_at(), start + Duration::from_millis(40));
        // After a rest of a second there is room for fifty more.
        let later = start + Duration::from_millis(1020);
        for frame in 0..50 {
            assert!(pace.next_at() <= later, "frame {frame}");
            pace.took_one(later);
        }
        assert!(pace.next_at() > later);
    }
}
