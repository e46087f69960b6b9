//! Looks after the store: says when it has gone and when it is back.

use std::sync::Arc;
use std::time::Duration;

use crate::space::Mail;
use crate::state::{Relay, until_draining};

/// How often. An append finds out by itself.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until the relay drains.
pub(crate) async fn run(relay: Arc<Relay>) {
    let mut draining = relay.draining.clone();
    let (mut is_there, mut replaced) = (true, 0);
    loop {
        tokio::select! {
            () = until_draining(&mut draining) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        match relay.config.store.look().await {
            Ok(times) => {
                if !is_there {
                    tracing::info!("the store is back");
                }
                is_there = true;
                if times != replaced {
                    replaced = times;
                    send_all_away(&relay).await;
                }
            }
            Err(error) => {
                if is_there {
                    tracing::error!(%error, "the store takes nothing; nothing is acknowledged until it is back");
                }
                is_there = false;
            }
        }
    }
}

/// The feeds are not the ones any more that they were: everybody opens them again, and compares.
async fn send_all_away(relay: &Relay) {
    tracing::warn!("another file has taken the place of the store's; all clients open their spaces again");
    for actor in relay.hub.open_spaces().into_values() {
        let _gone = actor.send(Mail::Replaced).await.is_err();
    }
}
