//! Genuine changes, broken a little, with checksums that are right again.

use bytes::Bytes;
use headwater::ingest::{Chunk, ChunkKind};

use super::write::chunk;
use crate::Random;

/// A genuine change with a few of its bytes changed, added or taken away. Its checksum is right, so only what it says is wrong.
///
/// ```
/// use headwater_fuzz::{Random, hostile};
/// let change = hostile::with_operations(3);
/// assert_ne!(hostile::mutate(&mut Random::new(1), &change), change);
/// ```
pub fn mutate(random: &mut Random, change: &Bytes) -> Bytes {
    let Some(mut body) = body(change) else { return change.clone() };
    let before = body.clone();
    while body == before {
        for _ in 0..=random.below(3) {
            let at = random.below(body.len().max(1));
            let byte = random.bits() as u8;
            match random.below(6) {
                0 => body.insert(at, byte),
                1 if body.len() > 1 => drop(body.remove(at)),
                // Small numbers are what lengths and counts are made of.
                2 => body[at] = byte & 0x0f,
                3 => body[at] = body[at].wrapping_add(if byte & 1 == 0 { 1 } else { 0xff }),
                4 => body[at] ^= 1 << (byte & 7),
                _ => body[at] = byte,
            }
        }
    }
    chunk(&body, false)
}

fn body(change: &Bytes) -> Option<Vec<u8>> {
    let found = Chunk::single(change).ok()?.inflated(usize::MAX - 1).ok()?;
    (found.kind == ChunkKind::Change).then(|| found.body().to_vec())
}
