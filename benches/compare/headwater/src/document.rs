//! A document: an entity of a replica.

use std::sync::{Mutex, PoisonError};

use headwater::{DynamicCollection, EntityId, Map as Fields, Receipt, SpaceId, Value as Field};
use headwater_compare_adapter::{Changes, Document, Result};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::client::field;
use crate::events::Events;

/// An entity, and the receipt of its newest edit.
pub(crate) struct HeadwaterDocument {
    records: DynamicCollection,
    events: Events,
    space: SpaceId,
    id: EntityId,
    receipt: Mutex<Option<Receipt>>,
}

/// What happens to one entity.
pub(crate) struct HeadwaterChanges {
    events: mpsc::UnboundedReceiver<()>,
    records: DynamicCollection,
    id: EntityId,
}

impl HeadwaterDocument {
    pub(crate) fn new(
        records: DynamicCollection,
        events: Events,
        space: SpaceId,
        id: EntityId,
    ) -> HeadwaterDocument {
        HeadwaterDocument { records, events, space, id, receipt: Mutex::new(None) }
    }

    pub(crate) fn wrote(&self, receipt: Receipt) {
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt);
    }

    /// Pushes of one replica are acknowledged in their order, so the newest stands for all.
    pub(crate) async fn confirmed(&self) -> Result<()> {
        let receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner).take();
        match receipt {
            Some(receipt) => Ok(receipt.on_relay().await?),
            None => Ok(()),
        }
    }
}

impl Document for HeadwaterDocument {
    type Changes = HeadwaterChanges;

    fn id(&self) -> String {
        format!("{}/{}", self.space, self.id)
    }

    async fn edit(&self, name: &str, value: &Value) -> Result<()> {
        self.wrote(self.records.set(self.id, Fields::from([(name.to_owned(), field(value)?)]))?);
        Ok(())
    }

    fn rating(&self) -> Result<f64> {
        rating(&self.records, self.id)
    }

    fn changes(&self) -> Result<HeadwaterChanges> {
        Ok(HeadwaterChanges {
            events: self.events.listen(self.id),
            records: self.records.clone(),
            id: self.id,
        })
    }
}

impl Changes for HeadwaterChanges {
    async fn next(&mut self) -> Result<f64> {
        self.events.recv().await.ok_or("the replica is gone")?;
        rating(&self.records, self.id)
    }
}

fn rating(records: &DynamicCollection, id: EntityId) -> Result<f64> {
    let record = records.get(id)?.ok_or("the replica has no such document")?;
    match record.fields.get("rating") {
        Some(Field::Float(rating)) => Ok(*rating),
        Some(Field::Int(rating)) => Ok(*rating as f64),
        _ => Err("the document has no rating".into()),
    }
}
