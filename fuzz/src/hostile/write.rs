//! Changes written byte by byte. The layout is at <https://automerge.org/automerge-binary-format-spec/>.

use std::io::Write as _;

use bytes::Bytes;
use headwater::ChangeHash;

use crate::targets::framed;

const TYPE_AT: usize = 8;
pub(super) const DOCUMENT: u8 = 0;
pub(super) const CHANGE: u8 = 1;
const DEFLATED_CHANGE: u8 = 2;

/// A change that says whatever it is told to. Its checksum is right.
///
/// ```
/// use headwater::ingest::{ChangeLimits, check_change};
/// let change = headwater_fuzz::hostile::ChangeWriter::new().bytes();
/// assert!(check_change(&change, &ChangeLimits::default()).is_ok(), "without operations it is a change like any other");
/// ```
#[derive(Clone, Debug)]
pub struct ChangeWriter {
    /// The changes before it.
    pub deps: Vec<ChangeHash>,
    /// Who made it.
    pub actor: Vec<u8>,
    /// Its number among its actor's.
    pub seq: u64,
    /// The number of its first operation.
    pub start_op: u64,
    /// The columns' specifications and contents.
    pub columns: Vec<(u64, Vec<u8>)>,
    /// Whether the body is deflated.
    pub deflated: bool,
}

impl Default for ChangeWriter {
    fn default() -> ChangeWriter {
        ChangeWriter::new()
    }
}

impl ChangeWriter {
    /// The first change of an actor, without operations.
    pub fn new() -> ChangeWriter {
        let (deps, actor, columns) = (Vec::new(), vec![9; 16], Vec::new());
        ChangeWriter { deps, actor, seq: 1, start_op: 1, columns, deflated: false }
    }

    /// Sets the same key to null so many times, as one run in each column.
    pub fn with_nulls(mut self, operations: u64) -> ChangeWriter {
        self.columns = vec![
            (KEY, [signed(operations as i64), vec![1, b'k']].concat()),
            (INSERT, unsigned(operations)),
            (ACTION, [signed(operations as i64), vec![1]].concat()),
            (VALUE_META, [signed(operations as i64), vec![0]].concat()),
            (PREDECESSORS, [signed(operations as i64), vec![0]].concat()),
        ];
        self
    }

    /// Sets a key to one string of so many zero bytes.
    pub fn with_string(mut self, key_bytes: usize, value_bytes: usize) -> ChangeWriter {
        let key = [unsigned(key_bytes as u64), vec![b'k'; key_bytes]].concat();
        self.columns = vec![
            (KEY, [signed(-1), key].concat()),
            (INSERT, unsigned(1)),
            (ACTION, [signed(-1), vec![1]].concat()),
            (VALUE_META, [signed(-1), unsigned((value_bytes as u64) << 4 | 6)].concat()),
            (VALUE, vec![0; value_bytes]),
            (PREDECESSORS, [signed(-1), vec![0]].concat()),
        ];
        self
    }

    /// The bytes.
    pub fn bytes(&self) -> Bytes {
        let mut body = unsigned(self.deps.len() as u64);
        for dep in &self.deps {
            body.extend_from_slice(dep.as_bytes());
        }
        body.extend(unsigned(self.actor.len() as u64));
        body.extend_from_slice(&self.actor);
        body.extend(unsigned(self.seq));
        body.extend(unsigned(self.start_op));
        // No time, no message, no other actors.
        body.extend([0, 0, 0]);
        body.extend(unsigned(self.columns.len() as u64));
        for (specification, data) in &self.columns {
            body.extend(unsigned(*specification));
            body.extend(unsigned(data.len() as u64));
        }
        for (_, data) in &self.columns {
            body.extend_from_slice(data);
        }
        chunk(&body, self.deflated)
    }
}

const KEY: u64 = 1 << 4 | 5;
const INSERT: u64 = 3 << 4 | 4;
const ACTION: u64 = 4 << 4 | 2;
const VALUE_META: u64 = 5 << 4 | 6;
const VALUE: u64 = 5 << 4 | 7;
const PREDECESSORS: u64 = 7 << 4;

/// A change with this body, its checksum right.
pub(super) fn chunk(body: &[u8], deflated: bool) -> Bytes {
    let plain = framed(CHANGE, body);
    if !deflated {
        return plain;
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    // Writing to memory cannot fail.
    let small = encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default();
    // It carries the checksum of what it inflates to.
    let mut bytes = plain[..TYPE_AT].to_vec();
    bytes.push(DEFLATED_CHANGE);
    bytes.extend(unsigned(small.len() as u64));
    bytes.extend(small);
    bytes.into()
}

pub(crate) fn unsigned(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(super) fn signed(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
