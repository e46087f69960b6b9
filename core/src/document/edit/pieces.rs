//! The first content of an entity in pieces that fit into a change each.

use automerge::{ObjId, ObjType};

use super::keyed::put_elements;
use super::write::Writer;
use super::{Spot, parent_of, put, put_at};
use crate::document::WriteError;
use crate::document::show::place::Place;
use crate::model::Value;

/// About what one change takes in, in bytes; larger texts and lists begin with several.
const PIECE_BYTES: usize = 64 << 10;
/// What a value takes beside its own bytes.
const VALUE_BYTES: usize = 32;

/// A part of a value that fits into one change.
pub(super) enum Piece<'a> {
    First(Value),
    Letters { at: usize, text: &'a str },
    Items { at: usize, items: &'a [Value] },
    Elements { at: usize, key: &'a str, items: &'a [Value] },
}

impl Piece<'_> {
    pub(super) fn write(&self, writer: &mut Writer<'_>, path: &[&str]) -> Result<(), WriteError> {
        let missing = || WriteError::Engine("the first piece of a container is missing".to_owned());
        let mut object = |kind| -> Result<ObjId, WriteError> {
            let (map, name) = parent_of(writer, path)?;
            let place = Place::Field { maps: &[map], name };
            writer.container(place, kind)?.and_then(|mut objects| objects.pop()).ok_or_else(missing)
        };
        match self {
            Piece::First(value) => put_at(writer, path, value),
            Piece::Letters { at, text } => {
                let id = object(ObjType::Text)?;
                writer.append_text(&id, *at, text)
            }
            Piece::Items { at, items } => {
                let list = object(ObjType::List)?;
                items
                    .iter()
                    .zip(*at..)
                    .try_for_each(|(item, index)| put(writer, Spot::Insert { list: &list, index }, item))
            }
            Piece::Elements { at, key, items } => {
                let map = object(ObjType::Map)?;
                put_elements(writer, &[map], key, items, *at)
            }
        }
    }
}

/// A value as pieces of about [`PIECE_BYTES`].
pub(super) fn pieces(value: &Value) -> Vec<Piece<'_>> {
    match value {
        Value::Text(text) if text.as_str().len() > PIECE_BYTES => {
            let mut pieces = Vec::new();
            let (mut rest, mut at) = (text.as_str(), 0);
            while !rest.is_empty() {
                let end = rest.floor_char_boundary(PIECE_BYTES);
                let (piece, behind) = rest.split_at(end.max(1));
                pieces.push(match at {
                    0 => Piece::First(Value::Text(piece.into())),
                    at => Piece::Letters { at, text: piece },
                });
                (rest, at) = (behind, at + piece.chars().count());
            }
            pieces
        }
        Value::List(items) if weight(value) > PIECE_BYTES => in_groups(
            items,
            |items| Piece::First(Value::List(items.to_vec())),
            |at, items| Piece::Items { at, items },
        ),
        Value::Keyed(key, items) if weight(value) > PIECE_BYTES => in_groups(
            items,
            |items| Piece::First(Value::Keyed(key.clone(), items.to_vec())),
            |at, items| Piece::Elements { at, key, items },
        ),
        value => vec![Piece::First(value.clone())],
    }
}

fn in_groups<'a>(
    items: &'a [Value],
    first: impl Fn(&'a [Value]) -> Piece<'a>,
    next: impl Fn(usize, &'a [Value]) -> Piece<'a>,
) -> Vec<Piece<'a>> {
    let (mut pieces, mut from, mut bytes) = (Vec::new(), 0, 0);
    let mut group = |from: usize, to: usize| match from {
        0 => pieces.push(first(&items[..to])),
        from => pieces.push(next(from, &items[from..to])),
    };
    for (index, item) in items.iter().enumerate() {
        let weight = weight(item);
        if bytes + weight > PIECE_BYTES && index > from {
            group(from, index);
            (from, bytes) = (index, 0);
        }
        bytes += weight;
    }
    group(from, items.len());
    pieces
}

/// About what a value takes in a change, in bytes.
fn weight(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Str(text) => text.len(),
            Value::Text(text) => 2 * text.as_str().len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) | Value::Keyed(_, items) | Value::Tuple(items) => {
                items.iter().map(weight).sum()
            }
            Value::Map(map) => map.iter().map(|(name, value)| name.len() + weight(value)).sum(),
            Value::Variant(name, content) => name.len() + weight(content),
            _ => 0,
        }
}
