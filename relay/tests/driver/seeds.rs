//! Which seeds a test runs, and what it says when one fails.
//!
//! - `HEADWATER_TURMOIL_SEEDS=500`: so many seeds in each test.
//! - `HEADWATER_TURMOIL_SEED=7`: this one only.

/// Runs `scenario` over the seeds that were asked for, or over `usual` of them.
pub(crate) fn each_seed(test: &'static str, usual: u64, scenario: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds = match (number("HEADWATER_TURMOIL_SEED"), number("HEADWATER_TURMOIL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(usual),
    };
    for seed in seeds {
        let _told = Telling { test, seed };
        scenario(seed);
    }
}

/// Says which seed it was if the test fails while this is alive.
struct Telling {
    test: &'static str,
    seed: u64,
}

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Telling { test, seed } = self;
            eprintln!(
                "seed {seed} failed; to repeat: HEADWATER_TURMOIL_SEED={seed} cargo test -p headwater-relay --test driver {test}"
            );
        }
    }
}

/// Numbers that follow from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// SplitMix64. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number of `range`, whose ends both can come.
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }
}
