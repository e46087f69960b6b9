//! What the columns of a change or a document would unfold to, found out without unfolding them.
//!
//! Columns are run-length encoded: twelve bytes can stand for ten million operations. Each column is walked run by run, and
//! what the runs add up to is compared with the limit.

use super::IngestError;
use super::chunk::inflate;
use super::reader::Reader;

/// Changes have at most 14 columns and documents 18; later versions may add some.
const COLUMNS_MAX: usize = 64;
const DEFLATED: u32 = 0b1000;
/// In changes: the names of fields, and the operations' actions.
const KEY_NAMES: u32 = 1 << 4 | STRING;
const ACTIONS: u32 = 4 << 4 | UNSIGNED;
/// The kinds and sizes of the operations' values.
const VALUES: u32 = 5 << 4 | VALUE_META;

/// The action that adds to a counter. What it adds is a whole number.
const INCREMENT: u64 = 5;
/// Kinds of values, in the lowest four bits of what [`VALUES`] has of each; the others are its size in bytes.
const KIND_UNSIGNED: u64 = 3;
const KIND_SIGNED: u64 = 4;
const KIND_COUNTER: u64 = 8;

// The type of a column is in the lowest three bits of its specification.
const GROUP: u32 = 0;
const ACTOR: u32 = 1;
const UNSIGNED: u32 = 2;
const DELTA: u32 = 3;
const BOOLEAN: u32 = 4;
const STRING: u32 = 5;
const VALUE_META: u32 = 6;

/// What the columns may come to.
#[derive(Clone, Copy)]
pub(super) struct ColumnLimits {
    pub(super) rows_max: u64,
    pub(super) key_bytes_max: usize,
    /// Over all columns together. 0 where columns may not be deflated.
    pub(super) inflated_bytes_max: usize,
}

/// What the operations in some columns come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Walked {
    /// How many rows the action column has: in a change, the number of its operations.
    pub(super) operations: u64,
    /// No counter moves further than this by all of them together, in either direction. Saturated.
    pub(super) counted_max: u64,
}

/// How large numbers can be, by the bytes that they take.
#[derive(Default)]
struct Sizes {
    counters: u64,
    whole_numbers: u64,
    has_increments: bool,
}

/// The descriptions of some columns, whose data comes later.
pub(super) struct Columns {
    /// specification and length in bytes, in their order.
    columns: Vec<(u32, usize)>,
}

impl Columns {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Columns, IngestError> {
        let count = reader.count(2)?;
        if count > COLUMNS_MAX {
            return Err(too_many("columns", count as u64, COLUMNS_MAX as u64));
        }
        let mut columns: Vec<(u32, usize)> = Vec::with_capacity(count);
        for _ in 0..count {
            let specification = u32::try_from(reader.unsigned()?)
                .map_err(|_| IngestError::Malformed("a column is of an impossible kind".to_owned()))?;
            let before = columns.last().map(|(before, _)| before & !DEFLATED);
            if before.is_some_and(|before| before >= specification & !DEFLATED) {
                return Err(IngestError::Malformed("its columns are out of order".to_owned()));
            }
            columns.push((specification, reader.length()?));
        }
        Ok(Columns { columns })
    }

    /// Walks the columns' data.
    pub(super) fn walk(&self, reader: &mut Reader<'_>, limits: &ColumnLimits) -> Result<Walked, IngestError> {
        let mut operations = 0;
        let mut sizes = Sizes::default();
        let mut inflated_bytes = 0;
        for (specification, len) in &self.columns {
            let data = reader.take(*len)?;
            let rows = if specification & DEFLATED == 0 {
                walk_column(*specification, data, limits, &mut sizes)?
            } else if limits.inflated_bytes_max == 0 {
                return Err(IngestError::Malformed("a column of a change is deflated".to_owned()));
            } else {
                let inflated = inflate(data, limits.inflated_bytes_max - inflated_bytes)?;
                inflated_bytes += inflated.len();
                walk_column(*specification & !DEFLATED, &inflated, limits, &mut sizes)?
            };
            if *specification & !DEFLATED == ACTIONS {
                operations = rows;
            }
        }
        // Without an increment, whole numbers are only what fields hold.
        let increments = if sizes.has_increments { sizes.whole_numbers } else { 0 };
        Ok(Walked { operations, counted_max: sizes.counters.saturating_add(increments) })
    }
}

impl Sizes {
    /// Counts in `rows` values of which the column [`VALUES`] says `meta`.
    fn add(&mut self, meta: u64, rows: u64) {
        let (kind, bytes) = (meta & 0b1111, meta >> 4);
        // LEB128 has seven bits in a byte, and ten bytes for the largest.
        let largest = if bytes < 10 { 1 << (bytes * 7) } else { u64::MAX };
        let sum = match kind {
            KIND_COUNTER => &mut self.counters,
            KIND_UNSIGNED | KIND_SIGNED => &mut self.whole_numbers,
            _ => return,
        };
        *sum = sum.saturating_add(largest.saturating_mul(rows));
    }
}

fn walk_column(
    specification: u32,
    data: &[u8],
    limits: &ColumnLimits,
    sizes: &mut Sizes,
) -> Result<u64, IngestError> {
    let reader = Reader::new(data);
    match specification & 0b111 {
        GROUP | ACTOR | UNSIGNED | VALUE_META => walk_runs(reader, limits.rows_max, |value, rows| {
            let value = value.unsigned()?;
            match specification {
                VALUES => sizes.add(value, rows),
                ACTIONS => sizes.has_increments |= value == INCREMENT,
                _ => {}
            }
            Ok(())
        }),
        DELTA => walk_runs(reader, limits.rows_max, |value, _| {
            value.signed()?;
            Ok(())
        }),
        STRING => {
            let bytes_max = if specification == KEY_NAMES { limits.key_bytes_max } else { usize::MAX };
            walk_runs(reader, limits.rows_max, |value, _| {
                let len = value.prefixed()?.len();
                if len > bytes_max {
                    return Err(too_many("bytes in the name of a field", len as u64, bytes_max as u64));
                }
                Ok(())
            })
        }
        BOOLEAN => walk_booleans(reader, limits.rows_max),
        // Values, one after the other: their number and sizes are in the column before.
        _ => Ok(0),
    }
}

/// A run: a positive count and one value, a negative count and as many values, or zero and a count of nulls. `value` reads one, and
/// hears how many rows have it.
fn walk_runs(
    mut reader: Reader<'_>,
    rows_max: u64,
    mut value: impl FnMut(&mut Reader<'_>, u64) -> Result<(), IngestError>,
) -> Result<u64, IngestError> {
    let mut rows = 0u64;
    while !reader.is_empty() {
        let count = reader.signed()?;
        let length = if count == 0 { reader.unsigned()? } else { count.unsigned_abs() };
        rows = rows.saturating_add(length);
        if rows > rows_max {
            return Err(too_many("operations", rows, rows_max));
        }
        match count {
            0 => {}
            1.. => value(&mut reader, length)?,
            _ => (0..length).try_for_each(|_| value(&mut reader, 1))?,
        }
    }
    Ok(rows)
}

/// The lengths of alternating runs.
fn walk_booleans(mut reader: Reader<'_>, rows_max: u64) -> Result<u64, IngestError> {
    let mut rows = 0u64;
    while !reader.is_empty() {
        rows = rows.saturating_add(reader.unsigned()?);
        if rows > rows_max {
            return Err(too_many("operations", rows, rows_max));
        }
    }
    Ok(rows)
}

fn too_many(what: &'static str, count: u64, limit: u64) -> IngestError {
    IngestError::TooMany { what, count, limit }
}
