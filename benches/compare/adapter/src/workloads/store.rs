//! W1 to W3, and what goes before: one client with a store and many documents.

use std::time::Instant;

use crate::dataset::Item;
use crate::system::{Client, Document};
use crate::{Error, Result};

/// Connects, and makes documents with all their edits. Seconds until all are confirmed, and the documents.
pub(crate) async fn fill<C: Client>(client: &mut C, items: &[Item]) -> Result<(f64, Vec<C::Document>)> {
    let started = Instant::now();
    client.connect().await?;
    let mut documents = Vec::with_capacity(items.len());
    for item in items {
        let document = client.create(&item.fields).await?;
        for (field, value) in item.edits.iter().flatten() {
            document.edit(field, value).await?;
        }
        documents.push(document);
    }
    client.confirmed(&documents).await?;
    Ok((started.elapsed().as_secs_f64(), documents))
}

/// Sets the rating of every document. Seconds until all are confirmed.
pub(crate) async fn edit<C: Client>(client: &C, documents: &[C::Document], rating: f64) -> Result<f64> {
    let started = Instant::now();
    for document in documents {
        document.edit("rating", &rating.into()).await?;
    }
    client.confirmed(documents).await?;
    Ok(started.elapsed().as_secs_f64())
}

/// W1: seconds from before connecting until every document is here and was read, and the documents.
pub(crate) async fn fetch<C: Client>(client: &mut C, ids: &[String]) -> Result<(f64, Vec<C::Document>)> {
    let started = Instant::now();
    client.connect().await?;
    let documents = client.fetch(ids).await?;
    for document in &documents {
        document.rating()?;
    }
    Ok((started.elapsed().as_secs_f64(), documents))
}

/// The documents that changed while the client was away, and their rating since.
pub(crate) struct Expected<'a, D> {
    pub(crate) changed: &'a [D],
    pub(crate) marker: f64,
}

/// W2, W3: seconds from before connecting until every document is known to be current, and the changed ones were read.
pub(crate) async fn reconnect<C: Client>(
    client: &mut C,
    documents: &[C::Document],
    expected: &Expected<'_, C::Document>,
) -> Result<f64> {
    let started = Instant::now();
    client.connect().await?;
    client.current(documents).await?;
    for document in expected.changed {
        let rating = document.rating()?;
        if rating != expected.marker {
            return Err(stale(&document.id(), rating));
        }
    }
    Ok(started.elapsed().as_secs_f64())
}

fn stale(id: &str, rating: f64) -> Error {
    format!("document {id} is said to be current, but its rating is {rating}").into()
}
