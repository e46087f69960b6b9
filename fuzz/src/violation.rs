/// A promise that a world found broken. Run its plan again to see how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {detail}")]
#[non_exhaustive]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// By whom, and how.
    pub detail: String,
}

/// What a world holds everybody to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Promise {
    /// A call fails only when the disk below it failed.
    #[error("a call failed although nothing broke")]
    Works,
    /// What a write or merge returned is there after a crash.
    #[error("a write that returned is gone")]
    WrittenIsKept,
    /// What the relay's store said is durable is there after a crash, at the same place.
    #[error("something durable is gone from a feed")]
    FeedIsKept,
    /// Each change is in a feed at most once, with the bytes that its author made, after what it depends on, without gaps.
    #[error("a feed holds what it must not")]
    FeedIsSound,
    /// What leaves an outbox is in the feed.
    #[error("a change was acknowledged that the feed does not hold")]
    AcknowledgedIsFed,
    /// A replica's position covers only what the replica holds.
    #[error("a replica's position covers what it does not hold")]
    PositionIsHeld,
    /// What was in the feed before a round began is at the replica when the round ends.
    #[error("a replica counts as up to date without what was there before")]
    UpToDateIsComplete,
    /// Nothing of a space reaches a connection that did not open it.
    #[error("something of a space reached a connection that did not open it")]
    SpacesAreApart,
    /// What a connection keeps in memory is bounded.
    #[error("a connection keeps more than it may")]
    MemoryIsBounded,
    /// A session gives up only when its connection was tampered with, or its time ran out.
    #[error("a session gave up although nothing broke")]
    GoesOn,
    /// A change that a replica made is used by all.
    #[error("a change of a replica was refused or set aside")]
    NothingIsRefused,
    /// A peer that breaks the protocol is closed, and changes nothing.
    #[error("a peer that broke the protocol was not turned away")]
    IntrudersAreTurnedAway,
    /// Once nothing breaks any more, everybody comes to rest.
    #[error("it does not come to rest")]
    ComesToRest,
    /// Once everybody rests, everybody holds the same: changes, heads, views, conflicts.
    #[error("two that rest differ")]
    Converges,
    /// What the authors of words meant is what became of them: what came is there once, what was taken out is gone, what a program
    /// wrote it reads.
    #[error("an edit came to something else than what its author meant")]
    IntentIsKept,
    /// Whoever heard of every patch knows what reads answer.
    #[error("what listeners were told is not what reads answer")]
    ListenersKnow,
    /// No input makes anything panic.
    #[error("it panicked")]
    NeverPanics,
}

impl Violation {
    pub(crate) fn new(promise: Promise, detail: impl Into<String>) -> Violation {
        Violation { promise, detail: detail.into() }
    }

    pub(crate) fn failed<E: std::fmt::Display>(call: &'static str) -> impl FnOnce(E) -> Violation {
        move |error| Violation::new(Promise::Works, format!("{call}: {error}"))
    }
}

impl Promise {
    /// Breaks it, unless it is kept.
    pub(crate) fn hold(self, kept: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
        if kept { Ok(()) } else { Err(Violation::new(self, detail())) }
    }
}
