//! W7: clients that are connected and in sync, and do nothing.

use super::audience::{Member, audience, publisher};
use crate::Result;
use crate::dataset::Item;
use crate::system::{Document, System};

/// `connections` clients that have the document, the one that made it among them. They stay subscribed while they are kept.
pub(crate) async fn run<S: System>(
    system: &S,
    url: &str,
    item: &Item,
    connections: usize,
) -> Result<Vec<Member<S::Client>>> {
    let publisher = publisher(system, url, item).await?;
    let mut members = audience(system, url, &publisher.1.id(), connections.saturating_sub(1)).await?;
    members.push(publisher);
    Ok(members)
}
