//! Shared workloads of the benchmarks.
