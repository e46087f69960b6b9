//! Group commit without Headwater: what a relay cannot go below if it answers only what is durable.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::socket::serve;
use super::{Flush, Log};

struct Job {
    row: Bytes,
    done: mpsc::UnboundedSender<()>,
}

/// Answers every message with an empty one once it is committed, together with whatever else had come by then.
pub async fn serve_group_commit(path: &Path) -> SocketAddr {
    let log = Log::create(path, Flush::QuickRepair);
    let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
    thread::spawn(move || {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()));
            log.append_all(batch.iter().map(|job| job.row.as_ref()));
            for job in batch {
                // A connection that is gone waits for nothing.
                let _gone = job.done.send(()).is_err();
            }
        }
    });
    serve(move |mut socket| {
        let jobs = jobs.clone();
        async move {
            let (done, mut durable) = mpsc::unbounded_channel();
            loop {
                tokio::select! {
                    message = socket.next() => match message {
                        Some(Ok(Message::Binary(row))) => {
                            if jobs.send(Job { row, done: done.clone() }).is_err() {
                                return;
                            }
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    },
                    Some(()) = durable.recv() => {
                        let mut answers = 1;
                        while durable.try_recv().is_ok() {
                            answers += 1;
                        }
                        for _ in 0..answers {
                            if socket.feed(Message::Binary(Bytes::new())).await.is_err() {
                                return;
                            }
                        }
                        if socket.flush().await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    })
    .await
}
