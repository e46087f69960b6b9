//! Changes that nobody made: every device makes the same ones from the same content, and anybody could make them first.
//!
//! So the actor of such a change certifies its content: it is a hash of the collection and of everything else in the change. A
//! change that takes such an actor's number with other content is refused, by the relay and by every replica.

use bytes::Bytes;
use headwater_storage::CollectionName;
use sha2::{Digest, Sha256};

use super::IngestError;
use super::chunk::{Chunk, resealed};
use super::reader::Reader;

/// How long the actor of a certified change is. A device has 24 bytes, and a program that only uses Automerge 16.
const ACTOR_BYTES: usize = 17;
/// The first byte of the actor. The others are the hash.
const MARK: u8 = 0x01;
const HASH_BYTES: usize = 32;
/// Kept apart from every other hash, and raised with an entity's purge, so that what comes after makes other changes.
const INCARNATION: u64 = 0;

/// The actor under which a change is written that is going to be certified.
pub(crate) const UNCERTIFIED: [u8; ACTOR_BYTES] = {
    let mut actor = [0; ACTOR_BYTES];
    actor[0] = MARK;
    actor
};

/// Whether an actor is of the form of those that certify a change.
pub(crate) fn is_certified_actor(actor: &[u8]) -> bool {
    actor.len() == ACTOR_BYTES && actor.first() == Some(&MARK)
}

/// Gives a change that was written under [`UNCERTIFIED`] the actor that certifies it. `chunk` is not deflated.
pub(crate) fn certify(collection: &CollectionName, chunk: Bytes) -> Result<Bytes, IngestError> {
    let chunk = Chunk::single(&chunk)?;
    let at = actor_at(chunk.body())?;
    let actor = actor_for(collection, chunk.body(), at);
    let mut body = chunk.body().to_vec();
    if let Some(place) = body.get_mut(at..at + ACTOR_BYTES) {
        place.copy_from_slice(&actor);
    }
    Ok(resealed(&chunk, &body))
}

/// Checks a change whose actor is of the form of those that certify. `chunk` is not deflated.
pub(super) fn check_certificate(collection: &CollectionName, chunk: &Bytes) -> Result<(), IngestError> {
    let chunk = Chunk::single(chunk)?;
    let body = chunk.body();
    let at = actor_at(body)?;
    let is_its_own = body.get(at..at + ACTOR_BYTES) == Some(&actor_for(collection, body, at)[..]);
    if is_its_own { Ok(()) } else { Err(IngestError::Uncertified) }
}

/// Where the actor stands in the body of a change.
fn actor_at(body: &[u8]) -> Result<usize, IngestError> {
    let mut reader = Reader::new(body);
    for _ in 0..reader.count(HASH_BYTES)? {
        let _dep: [u8; HASH_BYTES] = reader.array()?;
    }
    let actor = reader.prefixed()?;
    if !is_certified_actor(actor) {
        return Err(IngestError::Uncertified);
    }
    Ok(body.len() - reader.rest().len() - ACTOR_BYTES)
}

/// The actor that certifies a body whose own actor stands `at`.
fn actor_for(collection: &CollectionName, body: &[u8], at: usize) -> [u8; ACTOR_BYTES] {
    let (before, after) =
        (body.get(..at).unwrap_or_default(), body.get(at + ACTOR_BYTES..).unwrap_or_default());
    let mut hasher = Sha256::new();
    // The length in front keeps ("ab", "c") and ("a", "bc") apart.
    for part in [&b"headwater certified change v1"[..], collection.as_str().as_bytes(), before, after] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(INCARNATION.to_be_bytes());
    let mut actor = UNCERTIFIED;
    actor[1..].copy_from_slice(&hasher.finalize()[..ACTOR_BYTES - 1]);
    actor
}
