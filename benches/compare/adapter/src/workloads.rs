//! The workloads, one file each, and what they share.

pub(crate) mod audience;
pub(crate) mod fan_out;
pub(crate) mod idle;
pub(crate) mod numbered;
pub(crate) mod propagate;
pub(crate) mod store;
pub(crate) mod write;

use crate::Result;
use crate::dataset::Item;
use crate::system::{Client, System};

/// A connected client without a store.
async fn connected<S: System>(system: &S, url: &str) -> Result<S::Client> {
    let mut client = system.client(url, None).await?;
    client.connect().await?;
    Ok(client)
}

/// Makes one document of each record, without its edits, and waits until the server has confirmed all.
async fn publish<C: Client>(client: &C, items: &[Item]) -> Result<Vec<C::Document>> {
    let mut documents = Vec::with_capacity(items.len());
    for item in items {
        documents.push(client.create(&item.fields).await?);
    }
    client.confirmed(&documents).await?;
    Ok(documents)
}
