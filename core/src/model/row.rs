//! [`Value`] as CBOR, for the view row in the replica's file.
//!
//! null, bool, integers, floats, text strings and byte strings are themselves; a map has string keys in order; and
//! tag 1024 + n marks what CBOR has no type for: 0 timestamp (int), 1 counter (int), 2 text (string). The numbers lie in CBOR's
//! first-come range and never leave the file they were written in.
//! Behind a tag, an array of a name and a value is a keyed list (3) or a case of an enum (4), and an array of values a tuple (5).

use minicbor::data::{Tag, Type};
use minicbor::decode::Error as CborError;
use minicbor::encode::Write;
use minicbor::{Decoder, Encoder};

use super::{DEPTH_MAX, Map, Text, Value};

const TAG_TIMESTAMP: u64 = 1024;
const TAG_COUNTER: u64 = 1025;
const TAG_TEXT: u64 = 1026;
const TAG_KEYED: u64 = 1027;
const TAG_VARIANT: u64 = 1028;
const TAG_TUPLE: u64 = 1029;

type EncodeResult<W> = Result<(), minicbor::encode::Error<<W as Write>::Error>>;

pub(crate) fn encode_value<W: Write>(out: &mut Encoder<W>, value: &Value) -> EncodeResult<W> {
    match value {
        Value::Null => out.null()?,
        Value::Bool(v) => out.bool(*v)?,
        Value::Int(v) => out.i64(*v)?,
        Value::Uint(v) => out.u64(*v)?,
        Value::Float(v) => out.f64(*v)?,
        Value::Str(v) => out.str(v)?,
        Value::Bytes(v) => out.bytes(v)?,
        Value::Timestamp(v) => out.tag(Tag::new(TAG_TIMESTAMP))?.i64(*v)?,
        Value::Counter(v) => out.tag(Tag::new(TAG_COUNTER))?.i64(*v)?,
        Value::Text(v) => out.tag(Tag::new(TAG_TEXT))?.str(v.as_str())?,
        Value::List(items) => return encode_list(out, items),
        Value::Keyed(key, items) => {
            return encode_list(out.tag(Tag::new(TAG_KEYED))?.array(2)?.str(key)?, items);
        }
        Value::Tuple(items) => return encode_list(out.tag(Tag::new(TAG_TUPLE))?, items),
        Value::Variant(name, content) => {
            return encode_value(out.tag(Tag::new(TAG_VARIANT))?.array(2)?.str(name)?, content);
        }
        Value::Map(map) => return encode_map(out, map),
    };
    Ok(())
}

fn encode_list<W: Write>(out: &mut Encoder<W>, items: &[Value]) -> EncodeResult<W> {
    out.array(items.len() as u64)?;
    for item in items {
        encode_value(out, item)?;
    }
    Ok(())
}

pub(crate) fn encode_map<W: Write>(out: &mut Encoder<W>, map: &Map) -> EncodeResult<W> {
    out.map(map.len() as u64)?;
    for (key, value) in map {
        encode_value(out.str(key)?, value)?;
    }
    Ok(())
}

/// Reads one value; `depth` is its own nesting depth. Rows are our own, but a damaged file must not overflow the stack.
pub(crate) fn decode_value(input: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    if depth > DEPTH_MAX {
        return Err(CborError::message("nested too deep"));
    }
    Ok(match input.datatype()? {
        Type::Null => {
            input.null()?;
            Value::Null
        }
        Type::Bool => Value::Bool(input.bool()?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::from(input.u64()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::Int(input.i64()?),
        Type::F16 | Type::F32 | Type::F64 => Value::Float(input.f64()?),
        Type::String => Value::Str(input.str()?.to_owned()),
        Type::Bytes => Value::Bytes(input.bytes()?.to_vec()),
        Type::Tag => match input.tag()?.as_u64() {
            TAG_TIMESTAMP => Value::Timestamp(input.i64()?),
            TAG_COUNTER => Value::Counter(input.i64()?),
            TAG_TEXT => Value::Text(Text::from(input.str()?)),
            TAG_KEYED => Value::Keyed(name(input)?, decode_list(input, depth)?),
            TAG_VARIANT => Value::Variant(name(input)?, Box::new(decode_value(input, depth + 1)?)),
            TAG_TUPLE => Value::Tuple(decode_list(input, depth)?),
            _ => return Err(CborError::message("unknown tag")),
        },
        Type::Array => Value::List(decode_list(input, depth)?),
        Type::Map => {
            let mut map = Map::new();
            for _ in 0..definite(input.map()?)? {
                let key = input.str()?.to_owned();
                map.insert(key, decode_value(input, depth + 1)?);
            }
            Value::Map(map)
        }
        other => return Err(CborError::type_mismatch(other)),
    })
}

fn decode_list(input: &mut Decoder<'_>, depth: usize) -> Result<Vec<Value>, CborError> {
    let len = definite(input.array()?)?;
    // The length is not trusted for the allocation: the elements must really be there.
    let mut items = Vec::with_capacity(len.min(1024) as usize);
    for _ in 0..len {
        items.push(decode_value(input, depth + 1)?);
    }
    Ok(items)
}

/// The name in front of what is behind a tag.
fn name(input: &mut Decoder<'_>) -> Result<String, CborError> {
    match definite(input.array()?)? {
        2 => Ok(input.str()?.to_owned()),
        _ => Err(CborError::message("a name and a value are expected")),
    }
}

fn definite(len: Option<u64>) -> Result<u64, CborError> {
    len.ok_or_else(|| CborError::message("indefinite length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        // Would fail if a kind of value changed on its way through the view row.
        let value = Value::Map(Map::from([
            (
                "a".to_owned(),
                Value::List(vec![Value::Null, Value::Bool(true), Value::Int(-1), Value::Uint(u64::MAX)]),
            ),
            ("b".to_owned(), Value::Float(-0.0)),
            ("c".to_owned(), Value::Bytes(vec![0, 255])),
            ("d".to_owned(), Value::Timestamp(-5)),
            ("e".to_owned(), Value::Counter(i64::MIN)),
            ("f".to_owned(), Value::Text("ü".into())),
            ("g".to_owned(), Value::Str(String::new())),
            (
                "h".to_owned(),
                Value::Keyed("id".into(), vec![Value::Map(Map::from([("id".into(), 1.into())]))]),
            ),
            ("i".to_owned(), Value::Tuple(vec![Value::Variant("Hot".into(), Box::new(Value::Null))])),
        ]));
        let mut bytes = Vec::new();
        encode_value(&mut Encoder::new(&mut bytes), &value).unwrap();
        assert_eq!(decode_value(&mut Decoder::new(&bytes), 0).unwrap(), value);
    }

    #[test]
    fn a_damaged_row_is_an_error() {
        // Would abort the process if nesting or a length were believed.
        assert!(decode_value(&mut Decoder::new(&[0x81; 100_000]), 0).is_err());
        assert!(
            decode_value(&mut Decoder::new(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), 0)
                .is_err()
        );
        assert!(decode_value(&mut Decoder::new(&[0x9f]), 0).is_err());
    }
}
