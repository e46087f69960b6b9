//! A client: a repository that dials the server.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::try_join_all;
use headwater_compare_adapter::{Client, Result, System};
use samod::{BackoffConfig, Connection, DialerHandle, DocHandle, Repo, Url};
use serde_json::{Map, Value};

use crate::document::{SamodDocument, automerge};
use crate::local_store::LocalStore;
use crate::websocket::WebSocketDialer;

/// samod as a system of the comparison.
pub(crate) struct Samod;

/// A repository, and its connection to the server.
pub(crate) struct SamodClient {
    url: Url,
    repo: Repo,
    store: Option<LocalStore>,
    link: Option<Link>,
}

/// The dialer connects again by itself, so it lives no longer than the connection is wanted.
struct Link {
    dialer: DialerHandle,
    connection: Connection,
}

impl System for Samod {
    type Client = SamodClient;

    async fn client(&self, url: &str, directory: Option<&Path>) -> Result<SamodClient> {
        let url = Url::parse(url)?;
        let store = directory.map(LocalStore::new);
        let repo = match &store {
            Some(store) => Repo::build_tokio().with_storage(store.clone()).load().await,
            None => Repo::build_tokio().load().await,
        };
        Ok(SamodClient { url, repo, store, link: None })
    }
}

impl SamodClient {
    fn link(&self) -> Result<&Link> {
        self.link.as_ref().ok_or_else(|| "not connected".into())
    }

    async fn find(&self, id: &str) -> Result<DocHandle> {
        let found = self.repo.find(id.parse()?).await?;
        found.ok_or_else(|| format!("the server has no document {id}").into())
    }
}

impl Client for SamodClient {
    type Document = SamodDocument;

    async fn connect(&mut self) -> Result<()> {
        if self.link.is_some() {
            return Err("already connected".into());
        }
        let dialer = WebSocketDialer { url: self.url.clone() };
        let dialer = self.repo.dial(BackoffConfig::default(), Arc::new(dialer))?;
        let server = dialer.established().await?;
        let connection = self.repo.when_connected(server.peer_id).await?;
        self.link = Some(Link { dialer, connection });
        Ok(())
    }

    async fn disconnect(&mut self) -> Result<()> {
        let Link { dialer, connection } = self.link.take().ok_or("not connected")?;
        dialer.close();
        connection.finished().await;
        Ok(())
    }

    async fn create(&self, fields: &Map<String, Value>) -> Result<SamodDocument> {
        Ok(SamodDocument { handle: self.repo.create(automerge(fields)?).await? })
    }

    async fn fetch(&self, ids: &[String]) -> Result<Vec<SamodDocument>> {
        let found = try_join_all(ids.iter().map(|id| self.find(id))).await?;
        let documents: Vec<_> = found.into_iter().map(|handle| SamodDocument { handle }).collect();
        if let Some(store) = &self.store {
            for document in &documents {
                store.has(document.handle.document_id(), &document.change_hashes()).await?;
            }
        }
        Ok(documents)
    }

    /// The strongest that samod offers: the server has said that its heads are ours. It says so when the changes are in its memory;
    /// its files are written meanwhile, and nothing tells a client when.
    async fn confirmed(&self, documents: &[SamodDocument]) -> Result<()> {
        let connection = self.link()?.connection.id();
        for document in documents {
            document.handle.they_have_our_changes(connection).await;
        }
        Ok(())
    }

    /// A new connection starts without knowing anything about the server's heads, so this waits for it to say them.
    async fn current(&self, documents: &[SamodDocument]) -> Result<()> {
        let connection = self.link()?.connection.id();
        for document in documents {
            document.handle.we_have_their_changes(connection).await;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.repo.stop().await;
        Ok(())
    }
}
