//! Reads numbers and byte strings from a slice, without panics and without allocating.

use super::IngestError;

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], IngestError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], IngestError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An unsigned LEB128 number of at most 64 bits.
    pub(super) fn unsigned(&mut self) -> Result<u64, IngestError> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(IngestError::Malformed("a number is unreadable".to_owned()))
    }

    /// A signed LEB128 number of at most 64 bits.
    pub(super) fn signed(&mut self) -> Result<i64, IngestError> {
        let mut value = 0i64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            let shift = 7 * index;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte & 0x40 != 0 && shift + 7 < 64 {
                    value |= -1 << (shift + 7);
                }
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(IngestError::Malformed("a number is unreadable".to_owned()))
    }

    /// A length, then as many bytes.
    pub(super) fn prefixed(&mut self) -> Result<&'a [u8], IngestError> {
        let len = self.length()?;
        self.take(len)
    }

    /// A length of something that follows, so never more than what is left.
    pub(super) fn length(&mut self) -> Result<usize, IngestError> {
        let len = usize::try_from(self.unsigned()?).map_err(|_| cut_off())?;
        if len > self.rest.len() { Err(cut_off()) } else { Ok(len) }
    }

    /// How many items follow, each of at least `bytes_min` bytes.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<usize, IngestError> {
        let count = self.length()?;
        if count.saturating_mul(bytes_min) > self.rest.len() { Err(cut_off()) } else { Ok(count) }
    }
}

fn cut_off() -> IngestError {
    IngestError::Malformed("it is cut off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_ends_of_their_ranges_are_read() {
        let unsigned = |bytes: &[u8]| Reader::new(bytes).unsigned().ok();
        assert_eq!(unsigned(&[0x00]), Some(0));
        assert_eq!(unsigned(&[0x80, 0x01]), Some(128));
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Some(u64::MAX));
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        assert_eq!(unsigned(&[0x80]), None);
        let signed = |bytes: &[u8]| Reader::new(bytes).signed().ok();
        assert_eq!(signed(&[0x7f]), Some(-1));
        assert_eq!(signed(&[0x40]), Some(-64));
        assert_eq!(signed(&[0x3f]), Some(63));
        assert_eq!(signed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]), Some(i64::MAX));
        assert_eq!(signed(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f]), Some(i64::MIN));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert!(Reader::new(&[3, 1, 2]).prefixed().is_err());
        assert_eq!(Reader::new(&[2, 1, 2]).prefixed(), Ok(&[1, 2][..]));
        assert!(Reader::new(&[2, 1, 2, 3]).count(2).is_err());
        assert_eq!(Reader::new(&[2, 1, 2, 3, 4]).count(2), Ok(2));
    }
}
