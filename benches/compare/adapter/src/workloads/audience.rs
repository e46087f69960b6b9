//! One published document, and many clients that have it.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{connected, publish};
use crate::dataset::Item;
use crate::system::{Client, Document, System};
use crate::{Error, Result};

/// Clients that connect at the same time: enough to get on, few enough that no server refuses.
const AT_ONCE: usize = 16;

/// A client, and its view of the document.
pub(crate) type Member<C> = (C, <C as Client>::Document);

/// A client that has made the document of this record, confirmed.
pub(crate) async fn publisher<S: System>(system: &S, url: &str, item: &Item) -> Result<Member<S::Client>> {
    let client = connected(system, url).await?;
    let document = publish(&client, std::slice::from_ref(item)).await?.pop().ok_or_else(nothing)?;
    Ok((client, document))
}

/// Clients with connections of their own that all have the document.
pub(crate) async fn audience<S: System>(
    system: &S,
    url: &str,
    document: &str,
    count: usize,
) -> Result<Vec<Member<S::Client>>> {
    let joining = (0..count).map(|_| subscriber(system, url, document));
    stream::iter(joining).buffer_unordered(AT_ONCE).try_collect().await
}

async fn subscriber<S: System>(system: &S, url: &str, document: &str) -> Result<Member<S::Client>> {
    let client = connected(system, url).await?;
    let document = client.fetch(&[document.to_owned()]).await?.pop().ok_or_else(nothing)?;
    document.rating()?;
    Ok((client, document))
}

fn nothing() -> Error {
    "the client gave no document for the one that it was asked for".into()
}
