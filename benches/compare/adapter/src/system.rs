//! What a system implements to take part.
//!
//! The workloads call nothing else, so that all systems are measured by the same code. Futures are `Send` because workloads run on
//! the workers of a multi-threaded runtime.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Result;

/// A collaborative data layer: it can make clients.
pub trait System: Send + Sync + 'static {
    /// Its client.
    type Client: Client;

    /// A client of its own that is not connected yet. It keeps its documents in `store`, if there is one and the system can.
    fn client(&self, url: &str, store: Option<&Path>) -> impl Future<Output = Result<Self::Client>> + Send;
}

/// A client with a connection of its own.
pub trait Client: Send + Sync + 'static {
    /// A document that the client has.
    type Document: Document;

    /// Connects to the server; returns when both sides know each other.
    fn connect(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Closes the connection and does not connect again by itself. The documents stay.
    fn disconnect(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Makes a document of these fields, with one change.
    fn create(&self, fields: &Map<String, Value>) -> impl Future<Output = Result<Self::Document>> + Send;

    /// The documents with these ids, when all of them are here, readable, subscribed to, and in the client's store if it has one.
    fn fetch(&self, ids: &[String]) -> impl Future<Output = Result<Vec<Self::Document>>> + Send;

    /// Returns when the server has confirmed everything in these documents, in the strongest sense that the system offers.
    fn confirmed(&self, documents: &[Self::Document]) -> impl Future<Output = Result<()>> + Send;

    /// Returns when the client knows that it has everything in these documents that the server had at the time of connecting.
    fn current(&self, documents: &[Self::Document]) -> impl Future<Output = Result<()>> + Send;

    /// Closes the connection and the store.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

/// A document that a client has.
pub trait Document: Send + Sync + 'static {
    /// Its change events.
    type Changes: Changes;

    /// Its id, the same for all clients.
    fn id(&self) -> String;

    /// Sets one field, with one change. Does not wait for the server.
    fn edit(&self, field: &str, value: &Value) -> impl Future<Output = Result<()>> + Send;

    /// The field `rating`, which must be a number.
    fn rating(&self) -> Result<f64>;

    /// The change events from now on.
    fn changes(&self) -> Result<Self::Changes>;
}

/// The change events of a document, as the system gives them to an app.
pub trait Changes: Send + 'static {
    /// Waits for the next event; the rating after it. Can be dropped while it waits, without losing an event.
    fn next(&mut self) -> impl Future<Output = Result<f64>> + Send;
}
