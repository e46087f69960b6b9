//! Bytes that hurt whoever trusts them: every attack that was measured on the merge engine, made in code.
//!
//! `write` makes changes byte by byte, as no library would. `attacks` has one function for each row of the table of attacks in
//! `docs/security.md`; `sizes` makes changes of exactly one size or number, for the limits; `mutate` breaks genuine ones.

mod attacks;
mod mutate;
mod sizes;
mod write;

pub use attacks::{
    Attack, bloom_with_huge_probes, bloom_without_bits, dangling_predecessor, deep_nesting, deflate_bomb,
    far_ahead, highest_operation, key_in_list, low_operation, orphans, run_length_bomb, stolen_number,
    unknown_actor, unknown_element, unknown_object,
};
pub use mutate::mutate;
pub use sizes::{with_deps, with_inflated_bytes, with_key_bytes, with_operations, with_wire_bytes};
pub use write::ChangeWriter;
pub(crate) use write::unsigned;
