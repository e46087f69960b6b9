use std::path::PathBuf;

use headwater::sync::relay::RelayConfig;
use headwater_storage::FeedStore;

/// What a relay needs to run. Every limit names its unit.
///
/// ```
/// use headwater_relay::{Config, Exposure};
/// use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, RedbFeed, WriterLimits};
/// let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 })?;
/// let config = Config::new(FeedStore::redb(feed, WriterLimits::default())?);
/// assert_eq!(config.exposure, Exposure::LoopbackOnly);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where the feeds are kept.
    pub store: FeedStore,
    /// The socket file for whoever runs the relay; see [`crate::admin`]. Only on Unix.
    pub admin_socket: Option<PathBuf>,
    /// Which addresses may be served.
    pub exposure: Exposure,
    /// The protocol's limits, advertised in the handshake.
    pub session: RelayConfig,
    /// Connections at the same time. Further ones are closed at once.
    pub connections_max: usize,
    /// Connections at the same time from one address. This machine's own addresses are not counted.
    pub connections_per_address_max: usize,
    /// The time that an HTTP request's head may take, in milliseconds.
    pub request_head_ms_max: u64,
    /// Live frames that wait for one connection, in bytes. Above it the connection goes back to reading the feed.
    pub live_queue_bytes_max: usize,
    /// Pushes that wait for one space. Above it their connections wait.
    pub space_queue_pushes_max: usize,
    /// Changes in one append of a space.
    pub append_changes_max: usize,
    /// Payload bytes in one append of a space; the push that reaches it still goes in whole.
    pub append_bytes_max: usize,
    /// The read buffer of one connection, in bytes.
    pub read_buffer_bytes: usize,
    /// Frames a second that are read of one connection. Further ones wait, and the client's writes with them.
    pub frames_per_second_max: u32,
    /// Frames that are read at once after a rest.
    pub frames_burst_max: u32,
    /// The time for one frame to be taken by the client's socket, in milliseconds. After it the connection is closed.
    pub write_ms_max: u64,
    /// The time for connections to finish when the relay stops, in milliseconds.
    pub drain_ms_max: u64,
    /// How long the database remembers who pushed what, in days.
    pub audit_days: u64,
    /// How long the database remembers edits made with SQL after they were done, in days.
    pub sql_inbox_days: u64,
}

/// Which addresses a relay may serve. There is no access control yet, so whoever reaches the relay can read and write
/// every space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Only this machine.
    LoopbackOnly,
    /// Any address. Everybody who can reach it can read and write everything.
    Insecure,
}

impl Config {
    /// The defaults, on this store.
    pub fn new(store: FeedStore) -> Config {
        Config {
            store,
            admin_socket: None,
            exposure: Exposure::LoopbackOnly,
            session: RelayConfig::default(),
            connections_max: 10_000,
            connections_per_address_max: 50,
            request_head_ms_max: 10_000,
            live_queue_bytes_max: 4 << 20,
            space_queue_pushes_max: 256,
            append_changes_max: 4096,
            append_bytes_max: 32 << 20,
            read_buffer_bytes: 4096,
            frames_per_second_max: 500,
            frames_burst_max: 2_000,
            write_ms_max: 60_000,
            drain_ms_max: 10_000,
            audit_days: 90,
            sql_inbox_days: 7,
        }
    }
}
