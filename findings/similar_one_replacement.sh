#!/usr/bin/env bash
# similar 3.2.1: the default algorithm turns a minimal diff into one replacement of everything at 512
# letters.
#
# Expected: `Algorithm::Myers` finds what is in common, and Histogram as well; what the heuristics cost
# grows slowly.
# Seen: a text and the same in capitals have their spaces in common, about one letter in five. At 511
# letters Myers, Histogram and RawMyers find about 100 replacements each, one per word. At 512 letters Myers
# and Histogram return a single replacement of the whole text, RawMyers still 101. Its docs do say that
# Myers "can produce a non-minimal script", and that it keeps "sparse useful matches" visible.
#
# Consequence: a merge that is built on the diff takes every letter away and puts new ones in, so a word
# that another device types into the middle lands at the end. A test with a short text does not show it. Use
# RawMyers where the diff decides what an edit touches, and bound its time by the length.
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
similar = "=3.2.1"
TOML

cat > src/main.rs <<'RUST'
use similar::{capture_diff_slices, Algorithm, DiffTag};

const WORDS: &str = "the quick brown fox jumps over the lazy dog while five boxing wizards \
                     pack my box with jugs of liquor ";

fn replacements(algorithm: Algorithm, length: usize) -> usize {
    let old: Vec<char> = WORDS.chars().cycle().take(length).collect();
    let new: Vec<char> = old.iter().map(char::to_ascii_uppercase).collect();
    capture_diff_slices(algorithm, &old, &new).iter().filter(|op| op.tag() != DiffTag::Equal).count()
}

fn main() {
    println!("similar 3.2.1");
    for (length, seen) in [(511, [100, 100, 101]), (512, [1, 1, 101])] {
        let algorithms = [Algorithm::Myers, Algorithm::Histogram, Algorithm::RawMyers];
        let found = algorithms.map(|algorithm| replacements(algorithm, length));
        let [myers, histogram, raw] = found;
        println!("{length} letters, each about 100? Myers {myers}, Histogram {histogram}, RawMyers {raw}");
        assert_eq!(found, seen);
    }
}
RUST
cargo build --quiet --release
./target/release/finding
