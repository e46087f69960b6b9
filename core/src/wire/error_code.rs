//! The one table of error codes, for [`Error`](super::Frame::Error) frames and for refused changes.

/// Whether it makes sense to try the same thing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same bytes will be refused again.
    Never,
    /// The cause can pass: try again later, with backoff.
    Later,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $number:literal $name:ident $retry:ident,)*) => {
        /// What went wrong, as a number that both sides know.
        ///
        /// ```
        /// use headwater::wire::{ErrorCode, Retry};
        /// assert_eq!(ErrorCode::MissingDeps.number(), 33);
        /// assert_eq!(ErrorCode::MissingDeps.retry(), Retry::Later);
        /// assert_eq!(ErrorCode::from_number(33), ErrorCode::MissingDeps);
        /// assert_eq!(ErrorCode::from_number(60_000), ErrorCode::Unknown(60_000));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
            /// A number that this version does not know. Read the message, and treat it as worth another try.
            Unknown(u16),
        }

        impl ErrorCode {
            /// Every code that this version knows, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code with this number.
            pub const fn from_number(number: u16) -> Self {
                match number {
                    $($number => Self::$name,)*
                    _ => Self::Unknown(number),
                }
            }

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            /// The name in `docs/protocol.md`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Unknown(_) => "Unknown",
                }
            }

            /// Whether trying again can help.
            pub const fn retry(self) -> Retry {
                match self {
                    $(Self::$name => Retry::$retry,)*
                    Self::Unknown(_) => Retry::Later,
                }
            }
        }
    };
}

error_codes! {
    /// The bytes are not a frame. A defect on the other side: report it.
    1 MalformedFrame Never,
    /// A frame of a type that this version does not know. Update the side that received it.
    2 UnknownFrame Never,
    /// A frame that does not belong here: from the wrong side, or at the wrong time. A defect: report it.
    3 UnexpectedFrame Never,
    /// A frame is larger than was agreed. Split it.
    4 FrameTooLarge Never,
    /// The two sides have no protocol version in common. Update the older one.
    5 UnsupportedVersion Never,
    /// No `Hello` came within the time for it. Connect again.
    6 HelloTimeout Later,
    /// The other side said nothing for too long. Connect again.
    7 PeerSilent Later,
    /// The token is missing, wrong or expired. Get a new one.
    8 Unauthenticated Never,
    /// The token does not allow this space. Ask its owner.
    9 Forbidden Never,
    /// More spaces are open on this connection than was agreed. Use another connection for the rest.
    10 TooManySpaces Never,
    /// More bytes or pushes are under way than was agreed. A defect: report it.
    11 FlowControl Never,
    /// The limits of the two sides leave no room to work. Change the configuration of one.
    12 LimitsUnusable Never,
    /// The space was not opened on this connection. A defect: report it.
    13 SpaceNotOpen Never,
    /// A change does not come right after the ones before it. Connect again; nothing is lost.
    14 GapInFeed Later,
    /// A frame was damaged, lost, doubled or out of order on its way. Connect again; nothing is lost.
    15 FrameDamaged Later,
    /// A change is larger than allowed. Split the edit.
    30 ChangeTooLarge Never,
    /// A change is damaged, not in canonical form, or does too much. It cannot be accepted.
    31 ChangeInvalid Never,
    /// A change's bytes do not have the hash that its header names. It cannot be accepted.
    32 HashMismatch Never,
    /// A change depends on others that the relay does not have. Push those first.
    33 MissingDeps Later,
    /// A change's payload is of a kind that the relay does not know. Update the relay.
    34 UnknownKind Never,
    /// The entity is in another collection. An entity never moves.
    35 WrongCollection Never,
    /// The change names an actor that belongs to someone else. It cannot be accepted.
    36 ForeignActor Never,
    /// Another change of the same actor has this change's number already. It cannot be accepted.
    37 NumberTaken Never,
    /// The change, or one that it depends on, is in quarantine: with it, the entity would not load any more. The message says why.
    38 Quarantined Never,
    /// The store cannot read or write just now. Try again later.
    50 StoreUnavailable Later,
    /// There is too much to do just now. Try again later.
    51 Overloaded Later,
    /// The relay is going away. Connect again, perhaps to another one.
    52 Draining Later,
    /// A defect on the side that sends this. Try again later and report it.
    53 Internal Later,
    /// An entity is not there to be compared or fetched. Go on without it.
    54 NoSuchEntity Never,
    /// A message of the sync protocol was refused. The entity is exchanged whole instead.
    55 SyncMessageRefused Never,
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}
