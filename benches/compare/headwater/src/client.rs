//! A client: a replica that is connected to a relay. What it makes is in a space of its own, and whoever has the id of a document
//! opens the space that it is in, as the apps of several people would.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use headwater::{
    ConnectOptions, Connection, EntityId, Environment, Map as Fields, Replica, SpaceId, Value as Field,
};
use headwater_compare_adapter::{Client, Result, System};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::document::HeadwaterDocument;
use crate::events::Events;

const COLLECTION: &str = "records";

/// Headwater as a system of the comparison.
pub(crate) struct Headwater;

/// A replica, and its connection to the relay.
pub(crate) struct HeadwaterClient {
    url: String,
    replica: Replica,
    events: Events,
    /// Where the documents are that it makes.
    own: SpaceId,
    link: Mutex<Link>,
}

/// A connection is for the spaces that it was made with, so there is none before one is known.
#[derive(Default)]
struct Link {
    wanted: bool,
    space: Option<SpaceId>,
    connection: Option<Connection>,
}

/// The clock and the randomness of a replica in memory; one in a file brings its own.
struct Ordinary;

impl Environment for Ordinary {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn random(&self) -> u128 {
        rand::random()
    }
}

impl System for Headwater {
    type Client = HeadwaterClient;

    async fn client(&self, url: &str, store: Option<&Path>) -> Result<HeadwaterClient> {
        let replica = match store {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                Replica::open(directory.join("replica.redb"))?
            }
            None => Replica::in_memory(Ordinary)?,
        };
        let events = Events::of(&replica);
        let own = SpaceId::from_bytes(rand::random());
        Ok(HeadwaterClient { url: url.to_owned(), replica, events, own, link: Mutex::default() })
    }
}

impl HeadwaterClient {
    /// Opens this space on the connection, if it is not open.
    async fn join(&self, space: SpaceId) -> Result<()> {
        let mut link = self.link.lock().await;
        match link.space {
            Some(joined) if joined != space => return Err("documents of two spaces".into()),
            _ => link.space = Some(space),
        }
        self.connect_to(&mut link)
    }

    fn connect_to(&self, link: &mut Link) -> Result<()> {
        if let (true, None, Some(space)) = (link.wanted, &link.connection, link.space) {
            link.connection = Some(self.replica.connect(&self.url, ConnectOptions::new([space]))?);
        }
        Ok(())
    }

    /// Until everything that the relay had is stored.
    async fn sync(&self) -> Result<()> {
        let link = self.link.lock().await;
        link.connection.as_ref().ok_or("not connected")?.sync_now().await?;
        Ok(())
    }

    fn document(&self, space: SpaceId, id: EntityId) -> Result<HeadwaterDocument> {
        let records = self.replica.space(space).dynamic(COLLECTION)?;
        Ok(HeadwaterDocument::new(records, self.events.clone(), space, id))
    }
}

impl Client for HeadwaterClient {
    type Document = HeadwaterDocument;

    async fn connect(&mut self) -> Result<()> {
        let link = &mut *self.link.lock().await;
        link.wanted = true;
        self.connect_to(link)
    }

    async fn disconnect(&mut self) -> Result<()> {
        let mut link = self.link.lock().await;
        link.wanted = false;
        link.connection.take().ok_or("not connected")?.disconnect().await;
        Ok(())
    }

    async fn create(&self, fields: &Map<String, Value>) -> Result<HeadwaterDocument> {
        self.join(self.own).await?;
        let records = self.replica.space(self.own).dynamic(COLLECTION)?;
        let fields: Fields =
            fields.iter().map(|(name, value)| Ok((name.clone(), field(value)?))).collect::<Result<_>>()?;
        let written = records.insert(fields)?;
        let document = self.document(self.own, written.id)?;
        document.wrote(written.receipt);
        Ok(document)
    }

    /// Everything of the space comes; a document is readable once it is stored.
    async fn fetch(&self, ids: &[String]) -> Result<Vec<HeadwaterDocument>> {
        let ids = ids.iter().map(|id| {
            let (space, id) = id.split_once('/').ok_or("an id without a space")?;
            Ok((space.parse()?, id.parse()?))
        });
        let ids: Vec<(SpaceId, EntityId)> = ids.collect::<Result<_>>()?;
        for (space, _) in &ids {
            self.join(*space).await?;
        }
        self.sync().await?;
        ids.into_iter().map(|(space, id)| self.document(space, id)).collect()
    }

    /// The relay has them on its disk.
    async fn confirmed(&self, documents: &[HeadwaterDocument]) -> Result<()> {
        for document in documents {
            document.confirmed().await?;
        }
        Ok(())
    }

    async fn current(&self, _documents: &[HeadwaterDocument]) -> Result<()> {
        self.sync().await
    }

    async fn close(self) -> Result<()> {
        if let Some(connection) = self.link.into_inner().connection {
            connection.disconnect().await;
        }
        Ok(())
    }
}

/// A scalar of the dataset as a field.
pub(crate) fn field(value: &Value) -> Result<Field> {
    Ok(match value {
        Value::Bool(value) => Field::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Field::Int(integer),
            None => Field::Float(number.as_f64().ok_or("a number that is none")?),
        },
        Value::String(text) => Field::from(text.as_str()),
        _ => return Err("a field that is no scalar".into()),
    })
}
