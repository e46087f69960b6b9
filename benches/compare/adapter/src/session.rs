//! What a client process keeps from one command to the next.

use std::mem;

use crate::dataset::{first_record, read_ids, records, write_ids};
use crate::workloads::audience::Member;
use crate::workloads::{fan_out, idle, propagate, store, write};
use crate::{Answer, Client, Command, Document, Result, System};

/// The system, the client that `open` made, its documents, and the clients that idle.
pub(crate) struct Session<S: System> {
    system: S,
    opened: Option<Opened<S::Client>>,
    idle: Vec<Member<S::Client>>,
}

struct Opened<C: Client> {
    url: String,
    client: C,
    documents: Vec<C::Document>,
}

impl<S: System> Session<S> {
    pub(crate) fn new(system: S) -> Session<S> {
        Session { system, opened: None, idle: Vec::new() }
    }

    /// Does what the command says. Files are read before a clock starts, and written after it has stopped.
    pub(crate) async fn run(&mut self, command: Command) -> Result<Answer> {
        match command {
            Command::Open { url, directory } => {
                if self.opened.is_some() {
                    return Err("already open".into());
                }
                let client = self.system.client(&url, Some(&directory)).await?;
                self.opened = Some(Opened { url, client, documents: Vec::new() });
                Ok(Answer::Done {})
            }
            Command::Fill { records: file, documents, ids } => {
                let items = records(&file, documents)?;
                let opened = self.opened()?;
                let (seconds, documents) = store::fill(&mut opened.client, &items).await?;
                write_ids(&ids, &documents.iter().map(Document::id).collect::<Vec<_>>())?;
                opened.documents = documents;
                Ok(Answer::Elapsed { seconds })
            }
            Command::Edit { ids, documents, marker } => {
                let opened = self.opened()?;
                opened.must_have(&read_ids(&ids)?)?;
                let seconds =
                    store::edit(&opened.client, first(&opened.documents, documents)?, marker).await?;
                Ok(Answer::Elapsed { seconds })
            }
            Command::Fetch { ids } => {
                let ids = read_ids(&ids)?;
                let opened = self.opened()?;
                let (seconds, documents) = store::fetch(&mut opened.client, &ids).await?;
                opened.documents = documents;
                Ok(Answer::Fetched { seconds, documents: opened.documents.len() })
            }
            Command::Disconnect => {
                self.opened()?.client.disconnect().await?;
                Ok(Answer::Done {})
            }
            Command::Reconnect { ids, changed, marker } => {
                let opened = self.opened()?;
                opened.must_have(&read_ids(&ids)?)?;
                let changed = first(&opened.documents, changed)?;
                let expected = store::Expected { marker, changed };
                let seconds = store::reconnect(&mut opened.client, &opened.documents, &expected).await?;
                Ok(Answer::Elapsed { seconds })
            }
            Command::Propagate { records: file, documents, edits, warm } => {
                let items = records(&file, documents)?;
                let latencies_ms = propagate::run(&self.system, self.url()?, &items, edits, warm).await?;
                Ok(Answer::Propagated { latencies_ms })
            }
            Command::Write { records: file, writers, edits, waits } => {
                let items = records(&file, writers)?;
                let pace = if waits { write::Pace::OneAtATime } else { write::Pace::Unbounded };
                let seconds = write::run(&self.system, self.url()?, &items, edits, pace).await?;
                Ok(Answer::Written { seconds, edits: writers * edits })
            }
            Command::FanOut { records: file, subscribers, per_second, edits } => {
                let load = fan_out::Load { subscribers, per_second, edits };
                fan_out::run(&self.system, self.url()?, &first_record(&file)?, &load).await
            }
            Command::Idle { records: file, connections } => {
                let members =
                    idle::run(&self.system, self.url()?, &first_record(&file)?, connections).await?;
                let connections = members.len();
                self.idle.extend(members);
                Ok(Answer::Connected { connections })
            }
        }
    }

    /// Closes everything that is open.
    pub(crate) async fn close(&mut self) -> Result<()> {
        for (client, _) in mem::take(&mut self.idle) {
            client.close().await?;
        }
        match self.opened.take() {
            Some(opened) => opened.client.close().await,
            None => Ok(()),
        }
    }

    fn opened(&mut self) -> Result<&mut Opened<S::Client>> {
        self.opened.as_mut().ok_or_else(|| "not open".into())
    }

    fn url(&self) -> Result<&str> {
        self.opened.as_ref().map(|opened| opened.url.as_str()).ok_or_else(|| "not open".into())
    }
}

impl<C: Client> Opened<C> {
    /// The documents of this process must be those that the command means.
    fn must_have(&self, ids: &[String]) -> Result<()> {
        if self.documents.iter().map(Document::id).ne(ids.iter().cloned()) {
            return Err("this process has other documents".into());
        }
        Ok(())
    }
}

fn first<D>(documents: &[D], count: usize) -> Result<&[D]> {
    documents.get(..count).ok_or_else(|| format!("only {} documents", documents.len()).into())
}
