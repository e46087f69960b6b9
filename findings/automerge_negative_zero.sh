#!/usr/bin/env bash
# automerge 0.12.0 (Rust): 0.0 written where -0.0 stands is not written, and the other way round.
#
# Expected: a put of a float whose bits differ from those of the one that stands there makes an operation,
# as it does with the JavaScript package of the same project (@automerge/automerge 3.5.0).
# Seen: no error and no change. The document still holds -0.0, before and after save and load. Writing
# something else in between writes it.
#
# Consequence: a program that reads back what it wrote finds another value, and 1.0 / x has the other sign.
# Where the sign counts, write null first, in the same transaction.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export CARGO_TARGET_DIR="$folder/target"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
automerge = "=0.12.0"
TOML
cat > src/main.rs <<'RUST'
use automerge::transaction::Transactable;
use automerge::{AutoCommit, ROOT, ReadDoc};

fn read(document: &AutoCommit) -> f64 {
    document.get(ROOT, "x").unwrap().unwrap().0.as_f64().unwrap()
}

fn main() {
    println!("automerge 0.12.0");
    for (first, second) in [(-0.0_f64, 0.0_f64), (0.0, -0.0)] {
        let mut document = AutoCommit::new();
        document.put(ROOT, "x", first).unwrap();
        document.commit();
        document.put(ROOT, "x", second).unwrap();
        let made = document.commit();
        let loaded = AutoCommit::load(&document.save()).unwrap();
        println!("wrote {first:?}, then {second:?}: read {:?}, after a load {:?}", read(&document), read(&loaded));
        assert!(made.is_none(), "the second write made a change");
        for held in [&document, &loaded] {
            assert_eq!(read(held).to_bits(), first.to_bits());
        }
        document.put(ROOT, "x", ()).unwrap();
        document.put(ROOT, "x", second).unwrap();
        assert!(document.commit().is_some());
        assert_eq!(read(&document).to_bits(), second.to_bits());
        println!("wrote null between them: read {:?}", read(&document));
    }
}
RUST

mkdir javascript
cd javascript
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --save-exact @automerge/automerge@3.5.0
cat > finding.mjs <<'JS'
import assert from 'node:assert/strict'
import * as Automerge from '@automerge/automerge'

const before = Automerge.from({ x: new Automerge.Float64(-0) })
const after = Automerge.change(before, (doc) => { doc.x = new Automerge.Float64(0) })
assert.ok(Object.is(after.x, 0))
console.log('@automerge/automerge 3.5.0: wrote -0, then 0: read', after.x)
JS
node finding.mjs
cd ..
cargo run --quiet
