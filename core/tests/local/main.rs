//! Replicas without any network: edits, merges and what survives them.

mod edit;
mod evolve;
mod merge;
mod pair;
mod reopen;
