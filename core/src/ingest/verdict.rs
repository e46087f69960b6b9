//! The relay's word on changes that passed the checks and do harm nevertheless: everybody leaves out the same ones.
//!
//! A verdict travels in the feed like a change, as a payload of its own kind:
//!
//! ```text
//! verdict = [version = 1, at_ms: uint, quarantined: [[hash: 32 bytes, code: uint, reason: text], ...], released: [hash, ...]]
//! ```

use bytes::Bytes;
use headwater_storage::{ChangeHash, ChangeRecord, CollectionName, EntityId, PayloadKind, Refusal};
use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

use super::IngestError;

const VERSION: u64 = 1;
const CHANGES_MAX: u64 = 100_000;
const REASON_BYTES_MAX: usize = 200;

/// Which changes of an entity everybody leaves out from now on, and which are taken in again.
///
/// ```
/// use headwater::ingest::Verdict;
/// use headwater::{ChangeHash, CollectionName, EntityId};
/// let verdict = Verdict { at_ms: 0, quarantined: vec![], released: vec![ChangeHash::from_bytes([1; 32])] };
/// let record = verdict.record(EntityId::from_bytes([2; 16]), CollectionName::new("notes")?);
/// assert_eq!(Verdict::read(&record)?, verdict);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// The changes to leave out, and why.
    pub quarantined: Vec<(ChangeHash, Refusal)>,
    /// The changes to take in again.
    pub released: Vec<ChangeHash>,
}

impl Verdict {
    /// The verdict as it is stored and sent.
    pub fn record(&self, entity: EntityId, collection: CollectionName) -> ChangeRecord {
        let mut bytes = Vec::new();
        let mut out = Encoder::new(&mut bytes);
        // Writing to memory cannot fail.
        let _infallible = self.encode(&mut out).is_ok();
        let hash = ChangeHash::from_bytes(Sha256::digest(&bytes).into());
        ChangeRecord { entity, collection, kind: PayloadKind::Verdict, hash, payload: Bytes::from(bytes) }
    }

    fn encode<W: minicbor::encode::Write>(
        &self,
        out: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        out.array(4)?.u64(VERSION)?.u64(self.at_ms)?.array(self.quarantined.len() as u64)?;
        for (hash, reason) in &self.quarantined {
            let end = reason.message.floor_char_boundary(REASON_BYTES_MAX);
            out.array(3)?.bytes(hash.as_bytes())?.u16(reason.code)?.str(&reason.message[..end])?;
        }
        out.array(self.released.len() as u64)?;
        for hash in &self.released {
            out.bytes(hash.as_bytes())?;
        }
        Ok(())
    }

    /// Reads a verdict that came as `record`.
    ///
    /// # Errors
    /// When it is none, or does not hash to what its header says.
    pub fn read(record: &ChangeRecord) -> Result<Verdict, IngestError> {
        if record.kind != PayloadKind::Verdict {
            return Err(IngestError::UnsupportedKind);
        }
        let actual = ChangeHash::from_bytes(Sha256::digest(&record.payload).into());
        if actual != record.hash {
            return Err(IngestError::WrongHash { claimed: record.hash, actual });
        }
        decode(&record.payload).map_err(|error| IngestError::Malformed(format!("no verdict: {error}")))
    }
}

fn decode(bytes: &[u8]) -> Result<Verdict, minicbor::decode::Error> {
    let mut input = Decoder::new(bytes);
    let layout = || minicbor::decode::Error::message("another layout");
    if input.array()? != Some(4) || input.u64()? != VERSION {
        return Err(layout());
    }
    let at_ms = input.u64()?;
    let count =
        |input: &mut Decoder<'_>| input.array()?.filter(|count| *count <= CHANGES_MAX).ok_or_else(layout);
    let mut verdict = Verdict { at_ms, quarantined: Vec::new(), released: Vec::new() };
    for _ in 0..count(&mut input)? {
        if input.array()? != Some(3) {
            return Err(layout());
        }
        let hash = read_hash(&mut input)?;
        let reason = Refusal { code: input.u16()?, message: input.str()?.to_owned() };
        verdict.quarantined.push((hash, reason));
    }
    for _ in 0..count(&mut input)? {
        verdict.released.push(read_hash(&mut input)?);
    }
    Ok(verdict)
}

fn read_hash(input: &mut Decoder<'_>) -> Result<ChangeHash, minicbor::decode::Error> {
    let bytes = input.bytes()?.try_into();
    Ok(ChangeHash::from_bytes(bytes.map_err(|_| minicbor::decode::Error::message("a hash has 32 bytes"))?))
}
