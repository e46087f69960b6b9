use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater::Environment;

/// Numbers that follow from a seed. Its own code, because those of a library may change with its version, and a seed must stay
/// worth writing down.
///
/// ```
/// use headwater_fuzz::Random;
/// let (mut a, mut b) = (Random::new(7), Random::new(7));
/// assert_eq!(a.below(1000), b.below(1000));
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// Another source of numbers, that follows from this one.
    #[must_use]
    pub fn split(&mut self) -> Random {
        Random { state: self.bits() }
    }

    /// 64 random bits (SplitMix64).
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        // The bias is far below what a test could notice.
        if end == 0 { 0 } else { (self.bits() % end as u64) as usize }
    }

    /// True in `percent` of 100 calls.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`. `None` only if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// A device's clock and randomness. The clock runs with the world's, but may be wrong by years.
///
/// ```
/// use headwater::Environment;
/// use headwater_fuzz::{Clock, Random};
/// let clock = Clock::new(Random::new(1), Default::default(), -1_000);
/// assert_eq!(clock.now_ms(), 1_700_000_000_000 - 1_000);
/// ```
#[derive(Clone, Debug)]
pub struct Clock {
    random: Arc<Mutex<Random>>,
    world_ms: Arc<AtomicU64>,
    wrong_by_ms: i64,
}

/// The time at which worlds begin.
const BEGINNING_MS: u64 = 1_700_000_000_000;

impl Clock {
    /// A clock that is `wrong_by_ms` ahead of `world_ms`, the milliseconds since the world began.
    pub fn new(random: Random, world_ms: Arc<AtomicU64>, wrong_by_ms: i64) -> Clock {
        Clock { random: Arc::new(Mutex::new(random)), world_ms, wrong_by_ms }
    }
}

impl Environment for Clock {
    fn now_ms(&self) -> u64 {
        BEGINNING_MS
            .saturating_add(self.world_ms.load(Ordering::Relaxed))
            .saturating_add_signed(self.wrong_by_ms)
    }

    fn random(&self) -> u128 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (u128::from(random.bits()) << 64) | u128::from(random.bits())
    }
}
