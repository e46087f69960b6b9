//! Worlds of replicas made from a seed.
