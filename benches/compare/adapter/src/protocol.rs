//! What goes over the pipe: one JSON object per line, one answer for each command.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a client process is told to do.
///
/// ```
/// use headwater_compare_adapter::Command;
/// let line = r#"{"do":"fetch","ids":"/tmp/ids"}"#;
/// assert_eq!(serde_json::from_str::<Command>(line)?, Command::Fetch { ids: "/tmp/ids".into() });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Take note of the server and open the local store, without connecting.
    Open {
        /// Where the server listens, as `ws://127.0.0.1:port`.
        url: String,
        /// Where the local store goes, if the system has one.
        directory: PathBuf,
    },
    /// Connect, make documents with all their edits, and wait until all are confirmed.
    Fill {
        /// The dataset.
        records: PathBuf,
        /// How many of its records become documents.
        documents: usize,
        /// Where the ids of the documents are written.
        ids: PathBuf,
    },
    /// After `fill`: set `rating` in the first documents, and wait until that is confirmed.
    Edit {
        /// The ids that `fill` wrote.
        ids: PathBuf,
        /// In how many documents.
        documents: usize,
        /// The new rating.
        marker: f64,
    },
    /// W1: connect and get every document into the local store.
    Fetch {
        /// The ids of the documents.
        ids: PathBuf,
    },
    /// Close the connection for good, and keep the documents.
    Disconnect,
    /// W2, W3: connect again and wait until every document is known to be current.
    Reconnect {
        /// The ids that were fetched.
        ids: PathBuf,
        /// How many of the first documents must have the marker.
        changed: usize,
        /// The rating that they must have.
        marker: f64,
    },
    /// W4: how long an edit takes from one client to another.
    Propagate {
        /// The dataset.
        records: PathBuf,
        /// Documents that the edits go round.
        documents: usize,
        /// Edits that count.
        edits: usize,
        /// Edits before them that do not.
        warm: usize,
    },
    /// W5: how fast several clients can write, each to a document of its own.
    Write {
        /// The dataset.
        records: PathBuf,
        /// Clients that write.
        writers: usize,
        /// Edits of each of them.
        edits: usize,
        /// Whether each edit waits until the one before is confirmed.
        waits: bool,
    },
    /// W6: how long an edit takes from one client to all subscribers of the document.
    FanOut {
        /// The dataset.
        records: PathBuf,
        /// Clients that subscribe.
        subscribers: usize,
        /// Edits that the writer makes each second.
        per_second: u32,
        /// Edits that it makes in all.
        edits: usize,
    },
    /// W7: connect clients that do nothing, until the process ends.
    Idle {
        /// The dataset.
        records: PathBuf,
        /// Clients that connect.
        connections: usize,
    },
}

/// What a client process answers. Which answer belongs to which command is said there; [`Answer::Failed`] can be the answer to any.
///
/// ```
/// use headwater_compare_adapter::Answer;
/// assert_eq!(serde_json::from_str::<Answer>(r#"{"seconds":0.5}"#)?, Answer::Elapsed { seconds: 0.5 });
/// assert_eq!(serde_json::to_string(&Answer::Done {})?, "{}");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
// The fields alone tell the answers apart, so an answer with a field too many is none of them.
#[serde(untagged, deny_unknown_fields)]
pub enum Answer {
    /// To `open` and `disconnect`.
    Done {},
    /// To `fill`, `edit` and `reconnect`.
    Elapsed {
        /// How long it took.
        seconds: f64,
    },
    /// To `fetch`.
    Fetched {
        /// How long it took.
        seconds: f64,
        /// Documents that are here now.
        documents: usize,
    },
    /// To `propagate`.
    Propagated {
        /// One latency for each counted edit, in their order.
        latencies_ms: Vec<f64>,
    },
    /// To `write`.
    Written {
        /// How long it took.
        seconds: f64,
        /// Edits of all writers together.
        edits: usize,
    },
    /// To `fan_out`.
    Delivered {
        /// One latency for each delivery, subscriber by subscriber.
        latencies_ms: Vec<f64>,
        /// Edits that reached a subscriber, counted for each subscriber.
        delivered: usize,
        /// What that would be had every edit reached every subscriber.
        expected: usize,
    },
    /// To `idle`.
    Connected {
        /// Clients that are connected now.
        connections: usize,
    },
    /// To any command.
    Failed {
        /// What went wrong.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_read_as_what_it_was() {
        // Would read a write's answer as that of a fill, because the first variant that fits wins.
        let answers = [
            Answer::Done {},
            Answer::Elapsed { seconds: 1.5 },
            Answer::Fetched { seconds: 1.5, documents: 2 },
            Answer::Propagated { latencies_ms: vec![1.0, 2.5] },
            Answer::Written { seconds: 1.5, edits: 32 },
            Answer::Delivered { latencies_ms: vec![1.0], delivered: 1, expected: 2 },
            Answer::Connected { connections: 3 },
            Answer::Failed { error: "no".to_owned() },
        ];
        for answer in answers {
            let line = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer, "{line}");
        }
    }

    #[test]
    fn commands_are_written_as_the_contract_has_them() {
        // Would not understand adapters in other languages.
        let disconnect = serde_json::to_string(&Command::Disconnect).unwrap();
        assert_eq!(disconnect, r#"{"do":"disconnect"}"#);
        let line = r#"{"do":"fan_out","records":"/r","subscribers":200,"per_second":20,"edits":300}"#;
        let command: Command = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&command).unwrap(), line);
    }
}
