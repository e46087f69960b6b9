//! Byte strings in CBOR, for types that derive their encoding.

use bytes::Bytes;
use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

pub(crate) fn encode<C, W: Write>(
    bytes: &Bytes,
    out: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), EncodeError<W::Error>> {
    out.bytes(bytes)?.ok()
}

pub(crate) fn decode<C>(input: &mut Decoder<'_>, _: &mut C) -> Result<Bytes, Error> {
    input.bytes().map(Bytes::copy_from_slice)
}

pub(crate) mod optional {
    use super::{Bytes, Decoder, EncodeError, Encoder, Error, Write};

    pub(crate) fn encode<C, W: Write>(
        bytes: &Option<Bytes>,
        out: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match bytes {
            Some(bytes) => super::encode(bytes, out, context),
            None => out.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(input: &mut Decoder<'_>, context: &mut C) -> Result<Option<Bytes>, Error> {
        if input.datatype()? == minicbor::data::Type::Null {
            input.null()?;
            return Ok(None);
        }
        super::decode(input, context).map(Some)
    }
}
