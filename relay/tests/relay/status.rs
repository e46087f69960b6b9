//! What a status badge shows while there is no relay.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use headwater::{Backoff, ConnectOptions, Phase, Replica, Status};
use tokio::net::TcpListener;

use crate::running::{Relay, space, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_status_stays_offline_while_it_is_tried_again() {
    // Would make a badge flicker between "offline" and "connecting" for as long as there is no network.
    let directory = tempfile::tempdir().unwrap();
    let address =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap().local_addr().unwrap();
    let replica = Replica::open(directory.path().join("a")).unwrap();
    let mut options = ConnectOptions::new([space()]);
    options.backoff = Backoff::new(20, 40);
    let mut connection = replica.connect(&format!("ws://{address}"), options).unwrap();
    let seen = Arc::new(Mutex::new(vec![connection.status()]));
    let watching = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            loop {
                let status = connection.status_changed().await;
                seen.lock().unwrap().push(status);
            }
        }
    });
    let seen_so_far = || seen.lock().unwrap().clone();
    until("some attempts fail", || attempts(&seen_so_far()) >= 5).await;
    let before = seen_so_far();
    assert_eq!(phases_after_connecting(&before), [Phase::Offline], "{before:?}");
    let offline = before.iter().filter(|status| status.phase == Phase::Offline);
    assert!(offline.clone().all(|status| status.error.is_some()), "{before:?}");
    assert!(offline.clone().any(|status| status.next_attempt.is_some()), "{before:?}");

    let up = |seen: &[Status]| seen.last().is_some_and(|status| status.phase == Phase::UpToDate);
    let relay = Relay::start_at(address, directory.path(), |_| ()).await;
    until("it connects", || up(&seen_so_far())).await;
    let last = seen_so_far().pop().unwrap();
    assert_eq!((last.error, last.next_attempt), (None, None));
    let since = seen_so_far().len();
    relay.stop().await;
    until("it notices and tries again", || attempts(&seen_so_far()[since..]) >= 5).await;
    let relay = Relay::start_at(address, directory.path(), |_| ()).await;
    until("it connects again", || up(&seen_so_far())).await;
    let all = phases_after_connecting(&seen_so_far());
    assert!(!all.contains(&Phase::Connecting), "{all:?}");
    watching.abort();
    relay.stop().await;
}

/// How many attempts these say that there will be.
fn attempts(seen: &[Status]) -> usize {
    let mut times: Vec<_> = seen.iter().filter_map(|status| status.next_attempt).map(|at| at.0).collect();
    times.dedup();
    times.len()
}

/// The phases without the first attempt, which may have failed before the first look.
fn phases_after_connecting(seen: &[Status]) -> Vec<Phase> {
    let mut phases: Vec<Phase> =
        seen.iter().map(|status| status.phase).skip_while(|phase| *phase == Phase::Connecting).collect();
    phases.dedup();
    phases
}
