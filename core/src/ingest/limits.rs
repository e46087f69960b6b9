//! What a change, and an entity made of changes, may cost.

/// What one change may cost. The relay says in the handshake what it takes; each side enforces the smaller value of the two.
///
/// ```
/// use headwater::ingest::ChangeLimits;
/// assert_eq!(ChangeLimits::default().change_bytes_max, 256 * 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeLimits {
    /// The change as it travels.
    pub change_bytes_max: u64,
    /// The change when it is inflated.
    pub inflated_bytes_max: u64,
    /// Operations in one change, and what any of its columns unfolds to.
    pub operations_max: u64,
    /// Dependencies of one change.
    pub deps_max: u64,
    /// The highest operation number. Near the end of the range no one could edit the entity any more.
    pub operation_number_max: u64,
    /// How far a change's first operation number may lie beyond the highest that is known of the entity. Honest ones are the
    /// next; whoever could leave gaps would use up the numbers of the entity.
    pub operation_ahead_max: u64,
    /// The name of a field.
    pub key_bytes_max: u64,
}

impl Default for ChangeLimits {
    fn default() -> ChangeLimits {
        ChangeLimits {
            change_bytes_max: 256 << 10,
            inflated_bytes_max: 4 << 20,
            operations_max: 100_000,
            deps_max: 1_000,
            operation_number_max: (1 << 31) - 1,
            operation_ahead_max: 1 << 10,
            key_bytes_max: 1 << 10,
        }
    }
}

impl ChangeLimits {
    /// For changes that are already ours: what was accepted once stays readable when the limits shrink.
    pub(crate) fn stored() -> ChangeLimits {
        ChangeLimits {
            change_bytes_max: 64 << 20,
            inflated_bytes_max: 64 << 20,
            operations_max: 16 << 20,
            deps_max: 1 << 20,
            operation_number_max: u32::MAX as u64,
            operation_ahead_max: u64::MAX,
            key_bytes_max: 64 << 20,
        }
    }
}
