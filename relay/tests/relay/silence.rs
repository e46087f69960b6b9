//! A network that carries nothing any more without saying so, or that is another one now.

use std::net::SocketAddr;
use std::time::Duration;

use headwater::{Backoff, ConnectError, ConnectOptions, Phase, Replica, SyncOptions};
use tokio::net::TcpListener;

use crate::proxy::{Cut, From, How, Proxy};
use crate::running::{PATIENCE, Relay, SPACE, numbered, space, until};

/// Far longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

fn stall(from: From) -> Cut {
    Cut { from, after: 0, how: How::Stall }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed_in_the_time_that_the_app_sets() {
    // Would show "up to date" for a minute on a network that is gone, whatever the app wants.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start_with(directory.path(), unhurried).await;
    let proxy = Proxy::start_unarmed(relay.address).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let mut options = ConnectOptions::new([space()]);
    options.silence_timeout = Duration::from_secs(1);
    options.backoff = Backoff::new(1, 10);
    let mut connection = a.connect(&proxy.url, options).unwrap();
    connection.sync_now().await.unwrap();
    // The answer to the next sign of life does not come through.
    proxy.arm(stall(From::Relay));
    let offline = async {
        loop {
            let status = connection.status_changed().await;
            if status.phase == Phase::Offline {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, offline).await.unwrap();
    assert!(status.error.is_some_and(|error| error.contains("silent")), "it says why");
    assert!(proxy.disarm(), "nothing was cut");
    // And it goes on over a connection that works.
    let written = a.space(SPACE).dynamic("lists").unwrap().insert(numbered(1)).unwrap();
    tokio::time::timeout(PATIENCE, written.receipt.on_relay()).await.unwrap().unwrap();
    connection.disconnect().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_over_a_silent_network_ends_in_the_time_that_the_app_sets() {
    // Would keep whoever waits for one round waiting for a minute.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start_with(directory.path(), unhurried).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    a.space(SPACE).dynamic("lists").unwrap().insert(numbered(1)).unwrap();
    let mut options = SyncOptions::new([space()]);
    options.silence_timeout = Duration::from_secs(1);
    options.limits.authentication_ms_max = 1_000;
    // Behind the answer to the handshake of the socket, and behind the relay's welcome.
    for bytes in [0, 100, 300] {
        let cut = Cut { from: From::Relay, after: bytes, how: How::Stall };
        let proxy = Proxy::start(relay.address, Some(cut)).await;
        let mut options = options.clone();
        options.connect_timeout = Duration::from_secs(1);
        let round = tokio::time::timeout(PATIENCE, a.sync(&proxy.url, options)).await.unwrap();
        assert!(round.unwrap_err().is_retryable(), "{bytes} bytes");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_checked_when_the_app_says_that_the_network_changed() {
    // Would leave a phone that went from one network to another offline until the silence has lasted its time.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start_with(directory.path(), unhurried).await;
    let proxy = Proxy::start_unarmed(relay.address).await;
    let a = Replica::open(directory.path().join("a")).unwrap();
    let mut options = ConnectOptions::new([space()]);
    options.silence_timeout = LONG;
    options.backoff = Backoff::new(LONG.as_millis() as u64, LONG.as_millis() as u64);
    let connection = a.connect(&proxy.url, options).unwrap();
    connection.sync_now().await.unwrap();
    proxy.arm(stall(From::Client));
    connection.network_changed();
    // Over the next connection, which comes at once, and not after what this app's backoff allows.
    let written = a.space(SPACE).dynamic("lists").unwrap().insert(numbered(1)).unwrap();
    tokio::time::timeout(PATIENCE, written.receipt.on_relay()).await.unwrap().unwrap();
    assert!(proxy.disarm(), "nothing was cut");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_comes_at_once_when_the_app_says_that_the_network_changed() {
    // Would leave a device offline for minutes after its network is back.
    let directory = tempfile::tempdir().unwrap();
    let address =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap().local_addr().unwrap();
    let a = Replica::open(directory.path().join("a")).unwrap();
    let mut options = ConnectOptions::new([space()]);
    options.backoff = Backoff::new(LONG.as_millis() as u64, LONG.as_millis() as u64);
    let connection = a.connect(&format!("ws://{address}"), options).unwrap();
    until("the first attempt fails", || connection.status().next_attempt.is_some()).await;
    let relay = Relay::start_at(address, directory.path(), |_| ()).await;
    connection.network_changed();
    until("it connects", || connection.status().phase == Phase::UpToDate).await;
    // A connection that works stays the one it is.
    for _ in 0..10 {
        connection.network_changed();
        connection.sync_now().await.unwrap();
    }
    assert_eq!(connection.status().error, None);
    relay.stop().await;
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_before_anything_is_tried() {
    // Would reconnect without an end, or wait for ever.
    let directory = tempfile::tempdir().unwrap();
    let a = Replica::open(directory.path().join("a")).unwrap();
    let mut options = ConnectOptions::new([space()]);
    options.silence_timeout = Duration::from_millis(10);
    let refused = a.connect("ws://127.0.0.1:1", options).unwrap_err();
    assert!(matches!(refused, ConnectError::BadOption { option: "silence_timeout", .. }), "{refused}");
    let mut options = SyncOptions::new([space()]);
    options.connect_timeout = Duration::ZERO;
    let refused = a.sync("ws://127.0.0.1:1", options).await.unwrap_err();
    assert!(refused.to_string().contains("connect_timeout"), "{refused}");
}

/// A relay that would not notice either.
fn unhurried(config: &mut headwater_relay::Config) {
    config.session.limits.ping_interval_ms = LONG.as_millis() as u64 / 2;
    config.session.limits.dead_after_ms = LONG.as_millis() as u64;
}
