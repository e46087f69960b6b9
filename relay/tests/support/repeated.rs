//! Replicas whose writes are the same in every run.

use std::sync::atomic::{AtomicU64, Ordering};

use headwater::Environment;

use crate::kills::varied;

/// The same time and the same random numbers in every run, so that what replicas write has the same bytes.
pub(crate) struct Repeated {
    seed: u64,
    drawn: AtomicU64,
}

impl Repeated {
    pub(crate) fn new(seed: u64) -> Repeated {
        Repeated { seed, drawn: AtomicU64::new(0) }
    }
}

impl Environment for Repeated {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn random(&self) -> u128 {
        let round = self.seed << 32 | self.drawn.fetch_add(1, Ordering::Relaxed);
        u128::from(varied(round, u64::MAX)) << 64 | u128::from(varied(!round, u64::MAX))
    }
}
