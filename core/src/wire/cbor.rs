//! CBOR with numbered fields, on top of minicbor: a writer that cannot fail and a reader that checks every size before it
//! takes anything.

use minicbor::Encoder;
use minicbor::data::Type;

use super::decode::DecodeError;

/// Writes one frame: `[type, {key: value, ...}]`, with the keys in ascending order.
pub(super) struct FrameWriter {
    out: Encoder<Vec<u8>>,
    map_header_at: usize,
    fields: u8,
}

impl FrameWriter {
    pub(super) fn new(frame_type: u8, bytes_expected: usize) -> Self {
        let mut out = Encoder::new(Vec::with_capacity(bytes_expected));
        written(out.array(2));
        written(out.u8(frame_type));
        let map_header_at = out.writer().len();
        written(out.map(0));
        Self { out, map_header_at, fields: 0 }
    }

    /// Starts the value of field `key`.
    pub(super) fn field(&mut self, key: u8) -> &mut Encoder<Vec<u8>> {
        self.fields += 1;
        written(self.out.u8(key));
        &mut self.out
    }

    pub(super) fn uint(&mut self, key: u8, value: u64) {
        written(self.field(key).u64(value));
    }

    pub(super) fn bytes(&mut self, key: u8, value: &[u8]) {
        written(self.field(key).bytes(value));
    }

    pub(super) fn text(&mut self, key: u8, value: &str) {
        written(self.field(key).str(value));
    }

    /// A value whose type knows how to encode itself.
    pub(super) fn value<T: minicbor::Encode<()>>(&mut self, key: u8, value: T) {
        written(self.field(key).encode(value));
    }

    pub(super) fn optional<T: minicbor::Encode<()>>(&mut self, key: u8, value: Option<T>) {
        if let Some(value) = value {
            self.value(key, value);
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.out.into_writer();
        // The map's header is one byte as long as there are at most 23 fields, which is true of every frame.
        if let Some(header) = bytes.get_mut(self.map_header_at) {
            *header = 0xa0 | self.fields.min(23);
        }
        bytes
    }
}

/// Writing into a `Vec` does not fail, so there is no error to hand on.
pub(super) fn written<T, E>(_: Result<T, E>) {}

/// Reads CBOR of definite lengths. Nothing it returns is longer than the input, and counts are checked against a limit.
pub(super) struct Reader<'b> {
    decoder: minicbor::Decoder<'b>,
}

impl<'b> Reader<'b> {
    pub(super) fn new(input: &'b [u8]) -> Self {
        Self { decoder: minicbor::Decoder::new(input) }
    }

    pub(super) fn position(&self) -> usize {
        self.decoder.position()
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(self.decoder.u64()?)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(self.decoder.u16()?)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.decoder.u8()?)
    }

    pub(super) fn bytes(&mut self, what: &'static str, len_max: u64) -> Result<&'b [u8], DecodeError> {
        let bytes = self.decoder.bytes()?;
        at_most(what, bytes.len() as u64, len_max)?;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, what: &'static str, len_max: u64) -> Result<&'b str, DecodeError> {
        let text = self.decoder.str()?;
        at_most(what, text.len() as u64, len_max)?;
        Ok(text)
    }

    pub(super) fn value<T: minicbor::Decode<'b, ()>>(&mut self) -> Result<T, DecodeError> {
        Ok(self.decoder.decode()?)
    }

    /// The number of items of an array that starts here.
    pub(super) fn array(&mut self, what: &'static str, len_max: u64) -> Result<usize, DecodeError> {
        let at = self.position();
        let len = self.decoder.array()?.ok_or(DecodeError::IndefiniteLength { at })?;
        at_most(what, len, len_max)?;
        // Every item takes at least one byte, so that a short input cannot announce a long array.
        at_most(what, len, self.bytes_left() as u64)?;
        usize::try_from(len).map_err(|_| DecodeError::TooMany { what, count: len, count_max: len_max })
    }

    /// Reads a map: calls `field` for every key. `field` says whether it took the value; what nobody takes is skipped.
    pub(super) fn map(
        &mut self,
        mut field: impl FnMut(u64, &mut Self) -> Result<Taken, DecodeError>,
    ) -> Result<(), DecodeError> {
        let at = self.position();
        let len = self.decoder.map()?.ok_or(DecodeError::IndefiniteLength { at })?;
        at_most("map entries", len, self.bytes_left() as u64)?;
        let mut last: Option<u64> = None;
        for _ in 0..len {
            let at = self.position();
            let key = self.decoder.u64()?;
            // Ascending keys leave one way to write a frame and no room for a field that is there twice.
            if last.is_some_and(|last| key <= last) {
                return Err(DecodeError::KeyOrder { key, at });
            }
            last = Some(key);
            if field(key, self)? == Taken::No {
                self.skip()?;
            }
        }
        Ok(())
    }

    /// Passes over one value of any type, without recursion and without allocating.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        let mut values: u64 = 1;
        while values > 0 {
            values -= 1;
            let at = self.position();
            match self.decoder.datatype()? {
                Type::Array => {
                    let len = self.decoder.array()?.ok_or(DecodeError::IndefiniteLength { at })?;
                    values = values.saturating_add(len);
                }
                Type::Map => {
                    let len = self.decoder.map()?.ok_or(DecodeError::IndefiniteLength { at })?;
                    values = values.saturating_add(len.saturating_mul(2));
                }
                Type::Tag => {
                    self.decoder.tag()?;
                    values = values.saturating_add(1);
                }
                Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef | Type::Break => {
                    return Err(DecodeError::IndefiniteLength { at });
                }
                _ => self.decoder.skip()?,
            }
        }
        Ok(())
    }

    /// Refuses bytes after the last value.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.bytes_left() {
            0 => Ok(()),
            bytes => Err(DecodeError::TrailingBytes { bytes }),
        }
    }

    fn bytes_left(&self) -> usize {
        self.decoder.input().len().saturating_sub(self.decoder.position())
    }
}

/// Whether a field's reader took the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    No,
}

pub(super) fn at_most(what: &'static str, count: u64, count_max: u64) -> Result<(), DecodeError> {
    if count > count_max { Err(DecodeError::TooMany { what, count, count_max }) } else { Ok(()) }
}
