//! Time as the session knows it: a number that the caller passes in.

/// Milliseconds on a clock that never goes back. Where it starts does not matter.
///
/// ```
/// use headwater::sync::Time;
/// let now = Time::from_millis(1_000);
/// assert_eq!(now.after_ms(500).since(now), 500);
/// assert_eq!(now.since(now.after_ms(500)), 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment with this number.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of this moment.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `ms` milliseconds after this one.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The milliseconds from `earlier` to this moment, 0 if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long to wait before the next attempt: exponential with full jitter.
///
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
///
/// ```
/// use headwater::sync::Backoff;
/// let mut backoff = Backoff::default();
/// assert!(backoff.next_ms(u64::MAX) <= 500);
/// assert!(backoff.next_ms(u64::MAX) <= 1_000);
/// backoff.reset();
/// assert_eq!(backoff.next_ms(0), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The most to wait before the second attempt, in milliseconds.
    pub base_ms: u64,
    /// The most to ever wait, in milliseconds.
    pub max_ms: u64,
    attempt: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(500, 30_000)
    }
}

impl Backoff {
    /// A backoff between these bounds, in milliseconds.
    #[must_use]
    pub const fn new(base_ms: u64, max_ms: u64) -> Self {
        Self { base_ms, max_ms, attempt: 0 }
    }

    /// How long to wait now, in milliseconds. `random` is any number that the caller drew.
    pub fn next_ms(&mut self, random: u64) -> u64 {
        let doubled = 1u64.checked_shl(self.attempt).unwrap_or(u64::MAX);
        let ceiling_ms = self.base_ms.saturating_mul(doubled).min(self.max_ms);
        self.attempt = self.attempt.saturating_add(1);
        random % ceiling_ms.saturating_add(1).max(1)
    }

    /// Call it when an attempt worked.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}
