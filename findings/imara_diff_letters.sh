#!/usr/bin/env bash
# imara-diff 0.2.0: a diff by letter of two texts that hardly differ takes a thousand times as long as in
# similar 3.2.1.
#
# Expected: imara-diff is made for speed and has Git's heuristics, so 100 changed letters in 40,000 take
# about a millisecond with either crate: Myers' algorithm costs length times differences.
# Seen: 100 single letters, spread evenly, are other ones. Both crates find a little more than 100 hunks.
# similar's RawMyers takes a millisecond; imara-diff's Myers and Histogram take a second or two, and 41 s at
# 200,000 letters.
#
# Consequence: a text of 200,000 letters that is handed over whole blocks its caller for most of a minute.
# Take another crate where the tokens are letters. The script fails if the ratio is below 100.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export CARGO_TARGET_DIR="$folder/target"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
edition = "2021"

[dependencies]
imara-diff = "=0.2.0"
similar = "=3.2.1"
TOML

cat > src/main.rs <<'RUST'
use std::time::{Duration, Instant};

const LETTERS: usize = 40_000;

fn timed(diff: impl Fn() -> usize) -> (usize, Duration) {
    let start = Instant::now();
    (diff(), start.elapsed())
}

fn with_similar(old: &[u32], new: &[u32]) -> usize {
    let ops = similar::capture_diff_slices(similar::Algorithm::RawMyers, old, new);
    ops.iter().filter(|op| op.tag() != similar::DiffTag::Equal).count()
}

fn with_imara(algorithm: imara_diff::Algorithm, old: &[u32], new: &[u32]) -> usize {
    let tokens = |text: &[u32]| text.iter().map(|letter| imara_diff::Token(*letter)).collect::<Vec<_>>();
    let mut diff = imara_diff::Diff::default();
    diff.compute_with(algorithm, &tokens(old), &tokens(new), 32);
    diff.hunks().count()
}

fn main() {
    let mut seed = 88172645463325252u64;
    let mut letter = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % 26) as u32
    };
    let old: Vec<u32> = (0..LETTERS).map(|_| letter()).collect();
    let mut new = old.clone();
    for hundredth in 0..100 {
        new[hundredth * LETTERS / 100 + LETTERS / 200] = 30;
    }

    // The best of five, so that a busy machine does not make the fast one slow.
    let (hunks, fast) = (0..5).map(|_| timed(|| with_similar(&old, &new))).min_by_key(|run| run.1).unwrap();
    println!("similar 3.2.1, RawMyers: {hunks} hunks, {fast:?}");
    assert!((95..=115).contains(&hunks));
    use imara_diff::Algorithm::{Histogram, Myers};
    for (name, algorithm) in [("Myers", Myers), ("Histogram", Histogram)] {
        let (hunks, slow) = timed(|| with_imara(algorithm, &old, &new));
        let ratio = slow.as_nanos() / fast.as_nanos().max(1);
        println!("imara-diff 0.2.0, {name}: {hunks} hunks, {slow:?}; {ratio} times as long");
        assert!((95..=115).contains(&hunks) && ratio > 100);
    }
}
RUST
cargo build --quiet --release
./target/release/finding
