//! Reading and writing the fixed layouts of keys and values. All numbers are big-endian, so that keys sort as numbers do.

use crate::error::StoreError;
use crate::id::{ChangeHash, CollectionName, EntityId};

/// A space number and an entity: the key of everything kept per entity.
pub(crate) fn entity_key(number: u32, entity: EntityId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(entity.as_bytes());
    key
}

/// A space number, an entity and a change hash: what a change is known by.
pub(crate) fn change_key(number: u32, entity: EntityId, hash: ChangeHash) -> [u8; 52] {
    let mut key = [0; 52];
    key[..20].copy_from_slice(&entity_key(number, entity));
    key[20..].copy_from_slice(hash.as_bytes());
    key
}

/// A space number and a sequence number: the key of everything kept in order.
pub(crate) fn ordered_key(number: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// Appends a collection name as one length byte and the text.
pub(crate) fn put_name(value: &mut Vec<u8>, name: &CollectionName) {
    // A name has at most 128 bytes, so its length fits.
    value.push(name.as_str().len() as u8);
    value.extend_from_slice(name.as_str().as_bytes());
}

/// Takes a stored key or value apart, front to back. What is too short or malformed is `Corrupt`.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    table: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(table: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, table }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, StoreError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, StoreError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StoreError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A collection name, as [`put_name`] wrote it.
    pub(crate) fn name(&mut self) -> Result<CollectionName, StoreError> {
        let len = usize::from(self.u8()?);
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.damaged())?;
        CollectionName::new(text).map_err(|_| self.damaged())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn damaged(&self) -> StoreError {
        StoreError::Corrupt(format!("a row of {}", self.table))
    }
}
