//! Changes that have exactly so much of one thing, for the tests of the limits.

use bytes::Bytes;
use headwater::ChangeHash;

use super::ChangeWriter;

/// A change with so many operations.
pub fn with_operations(operations: u64) -> Bytes {
    ChangeWriter::new().with_nulls(operations).bytes()
}

/// A change with so many dependencies. None of them exist.
pub fn with_deps(deps: usize) -> Bytes {
    let number = |number: u64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        ChangeHash::from_bytes(hash)
    };
    ChangeWriter { deps: (1..=deps as u64).map(number).collect(), ..ChangeWriter::new() }.bytes()
}

/// A change that sets a field whose name has so many bytes.
pub fn with_key_bytes(key_bytes: usize) -> Bytes {
    ChangeWriter::new().with_string(key_bytes, 1).bytes()
}

/// A change of so many bytes, at least 100.
pub fn with_wire_bytes(wire_bytes: usize) -> Bytes {
    exactly(wire_bytes, |value_bytes| ChangeWriter::new().with_string(1, value_bytes).bytes().len())
        .map_or_else(Bytes::new, |value_bytes| ChangeWriter::new().with_string(1, value_bytes).bytes())
}

/// A deflated change whose body has so many bytes when it is inflated, at least 100.
pub fn with_inflated_bytes(inflated_bytes: usize) -> Bytes {
    let body = |value_bytes| {
        let plain = ChangeWriter::new().with_string(1, value_bytes).bytes().len();
        // Magic, checksum, type, and the length, which has four digits of seven bits from 2 MiB up.
        plain - 9 - super::write::unsigned(plain as u64 - 12).len()
    };
    let deflated = ChangeWriter { deflated: true, ..ChangeWriter::new() };
    exactly(inflated_bytes, body)
        .map_or_else(Bytes::new, |value_bytes| deflated.with_string(1, value_bytes).bytes())
}

/// The argument for which `size` is `wanted`; the two differ by the same few bytes almost everywhere.
fn exactly(wanted: usize, size: impl Fn(usize) -> usize) -> Option<usize> {
    let mut argument = wanted.saturating_sub(64);
    for _ in 0..8 {
        match size(argument) {
            now if now == wanted => return Some(argument),
            now => argument = (argument + wanted).saturating_sub(now),
        }
    }
    None
}
