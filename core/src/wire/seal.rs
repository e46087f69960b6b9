//! The seal on every message, by which a damaged, lost, doubled or reordered frame is noticed.
//!
//! ```text
//! message = frame, crc: 4 bytes, big-endian
//! crc     = CRC-32 (ISO-HDLC, the one of zlib and PNG) of: number: 8 bytes, big-endian; frame
//! number  = of the message in its direction on its connection, from 0. Both sides count; it is not sent
//! ```
//!
//! TCP's own checksum lets damage through now and then, and says nothing of what a proxy does to messages. A page of changes that
//! never came, or an id with one bit flipped, would be lost or stored in the wrong place in silence. The seal is no protection
//! against someone who means harm: anyone can make one.

use bytes::Bytes;

use super::DecodeError;

/// What the seal adds to a frame, in bytes.
pub const SEAL_BYTES: u64 = CRC_BYTES as u64;

const CRC_BYTES: usize = size_of::<u32>();

/// The seals of the messages in one direction of one connection, in their order.
///
/// Each side has two: one for what it sends, one for what it receives. What opens is always the beginning of what the other side
/// sealed, in its order and without a gap; a message that does not open changes nothing.
///
/// ```
/// use headwater::wire::{Frame, Limits, Ping, Seal};
/// let mut sending = Seal::default();
/// let first = sending.seal(&Frame::Ping(Ping { nonce: 1 }).encode());
/// let second = sending.seal(&Frame::Ping(Ping { nonce: 2 }).encode());
///
/// let mut receiving = Seal::default();
/// assert!(receiving.open(&second).is_err(), "the first one is missing");
/// let frame = receiving.open(&first)?;
/// assert_eq!(Frame::decode(frame, &Limits::default())?, Frame::Ping(Ping { nonce: 1 }));
/// # Ok::<(), headwater::wire::DecodeError>(())
/// ```
#[derive(Debug, Default)]
pub struct Seal {
    /// The number of the next message.
    next: u64,
}

impl Seal {
    /// The next message: `frame` with its seal. It must be sent, and before the one after it.
    pub fn seal(&mut self, frame: &[u8]) -> Bytes {
        let crc = self.crc(frame);
        self.next = self.next.wrapping_add(1);
        let mut message = Vec::with_capacity(frame.len() + CRC_BYTES);
        message.extend_from_slice(frame);
        message.extend_from_slice(&crc.to_be_bytes());
        Bytes::from(message)
    }

    /// The frame in the next message.
    ///
    /// Fails with [`DecodeError::Damaged`] if this is not, to the bit, the message that the other side sealed next. Nothing
    /// in it may be used then, and the connection has to end.
    pub fn open<'m>(&mut self, message: &'m [u8]) -> Result<&'m [u8], DecodeError> {
        match message.split_last_chunk() {
            Some((frame, crc))
                if u32::from_be_bytes(*crc) == self.crc(frame) || cfg!(bug = "seal-not-checked") =>
            {
                self.next = self.next.wrapping_add(1);
                Ok(frame)
            }
            _ => Err(DecodeError::Damaged { number: self.next }),
        }
    }

    fn crc(&self, frame: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.next.to_be_bytes());
        crc.update(frame);
        crc.finalize()
    }
}
