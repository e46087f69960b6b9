//! Genuine changes and snapshots, broken a little, with checksums that are right again.

use bytes::Bytes;
use headwater::ingest::{Chunk, ChunkKind};

use super::write::{CHANGE, DOCUMENT};
use crate::Random;
use crate::targets::framed;

/// A genuine change or snapshot with a few of its bytes changed, added or taken away. Its checksum is right, so only what it says is wrong.
///
/// ```
/// use headwater_fuzz::{Random, hostile};
/// let change = hostile::with_operations(3);
/// assert_ne!(hostile::mutate(&mut Random::new(1), &change), change);
/// ```
pub fn mutate(random: &mut Random, genuine: &Bytes) -> Bytes {
    let Some((kind, mut body)) = body(genuine) else { return genuine.clone() };
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
    framed(if kind == ChunkKind::Document { DOCUMENT } else { CHANGE }, &body)
}

fn body(genuine: &Bytes) -> Option<(ChunkKind, Vec<u8>)> {
    let found = Chunk::single(genuine).ok()?.inflated(usize::MAX - 1).ok()?;
    Some((found.kind, found.body().to_vec()))
}
