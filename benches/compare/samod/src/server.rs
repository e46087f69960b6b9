//! The server: one repository with samod's file-system storage, which speaks with every client.
//!
//! Announcing is off, as in the JavaScript sync server: with samod's default the server would push every document to every client, asked
//! for or not, and where several clients have documents of their own (W5) each would get the edits of all.

use std::net::Ipv4Addr;
use std::path::Path;

use headwater_compare_adapter::Result;
use samod::storage::TokioFilesystemStorage;
use samod::{AcceptorHandle, Repo, ShareConfig, Url};
use tokio::net::{TcpListener, TcpStream};

use crate::websocket;

/// Serves on 127.0.0.1 until the process is ended.
pub(crate) async fn run(port: u16, directory: &Path) -> Result<()> {
    let repo = Repo::build_tokio()
        .with_storage(TokioFilesystemStorage::new(directory))
        .with_share_policy(ShareConfig::read_write().with_announce(false))
        .load()
        .await;
    let acceptor = repo.make_acceptor(Url::parse(&format!("ws://127.0.0.1:{port}"))?)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = join(socket, &acceptor).await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

async fn join(socket: TcpStream, acceptor: &AcceptorHandle) -> Result<()> {
    acceptor.accept(websocket::accept(socket).await?)?;
    Ok(())
}
