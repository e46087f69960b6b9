use bytes::Bytes;
use headwater::ingest::{ChangeLimits, IngestError, check_change};
use headwater_fuzz::hostile::{
    ChangeWriter, with_deps, with_inflated_bytes, with_key_bytes, with_operations, with_wire_bytes,
};

/// Tries a limit at one less, exactly, and one more.
fn holds(what: &str, limit: u64, limits: &ChangeLimits, make: impl Fn(u64) -> Bytes) {
    for size in [limit - 1, limit] {
        let checked = check_change(&make(size), limits);
        assert!(checked.is_ok(), "{what}: {size} is refused: {:?}", checked.err());
    }
    let refused = check_change(&make(limit + 1), limits).err();
    let by_the_limit = match &refused {
        Some(IngestError::TooLarge { size_bytes, limit_bytes }) => {
            *size_bytes as u64 == limit + 1 && *limit_bytes as u64 == limit
        }
        Some(IngestError::TooMany { count, limit: of, .. }) => *count == limit + 1 && *of == limit,
        _ => false,
    };
    assert!(by_the_limit, "{what}: {} gets {refused:?}", limit + 1);
}

#[test]
fn every_limit_of_a_change_holds_to_the_unit() {
    // Would refuse what the other side may send, or take what this side cannot bear.
    let limits = ChangeLimits::default();
    holds("bytes", limits.change_bytes_max, &limits, |size| {
        let change = with_wire_bytes(size as usize);
        assert_eq!(change.len() as u64, size);
        change
    });
    holds("inflated bytes", limits.inflated_bytes_max, &limits, |size| with_inflated_bytes(size as usize));
    holds("operations", limits.operations_max, &limits, with_operations);
    holds("dependencies", limits.deps_max, &limits, |count| with_deps(count as usize));
    holds("bytes of a name", limits.key_bytes_max, &limits, |size| with_key_bytes(size as usize));
    holds("operation number", limits.operation_number_max, &limits, |number| {
        ChangeWriter { start_op: number - 2, ..ChangeWriter::new() }.with_nulls(3).bytes()
    });
    holds("change number", limits.operation_number_max, &limits, |seq| {
        ChangeWriter { seq, ..ChangeWriter::new() }.bytes()
    });
}
