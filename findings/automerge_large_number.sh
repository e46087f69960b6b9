#!/usr/bin/env bash
# @automerge/automerge 3.5.0 (JavaScript): a number from 2^63 up is stored as another number.
#
# Expected: a JavaScript number is a double, and Automerge has a type for doubles, so 1e300 comes back as
# 1e300.
# Seen: 2^63, 1e20 and 1e300 all come back as the BigInt 9223372036854775807, at once and after save and
# load, with no error. `new Float64(1e300)` does the same. From `Number.MAX_SAFE_INTEGER` itself up to 2^63
# a whole number keeps its value but comes back as a BigInt, which `JSON.stringify` and `+ 1` refuse with a
# TypeError. Negative numbers stay numbers and keep their value: -1e300 is exact.
#
# Consequence: a large measurement is lost without notice, and `MAX_SAFE_INTEGER` as a sentinel ("sort
# last") makes the reader throw. Check the range before the assignment, or store such a number as text.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --save-exact @automerge/automerge@3.5.0

cat > finding.mjs <<'JS'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import * as Automerge from '@automerge/automerge'

const { version } = JSON.parse(fs.readFileSync('node_modules/@automerge/automerge/package.json'))
console.log(`@automerge/automerge ${version}`)

const stored = x => Automerge.load(Automerge.save(Automerge.from({ x }))).x
const largest = 9223372036854775807n
for (const [x, seen] of [
  [2 ** 63, largest], [1e20, largest], [1e300, largest],
  [2 ** 53 - 2, 2 ** 53 - 2], [Number.MAX_SAFE_INTEGER, 9007199254740991n],
  [2 ** 62, 4611686018427387904n],
  [-Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER], [-1e300, -1e300],
]) {
  const read = stored(x)
  console.log(`wrote ${x}, expected ${x}, read ${read} (${typeof read})`)
  assert.equal(read, seen)
}
const { value } = stored(new Automerge.Float64(1e300))
console.log(`wrote Float64(1e300), read ${value} (${typeof value})`)
assert.equal(value, largest)
const doc = Automerge.from({ x: Number.MAX_SAFE_INTEGER })
assert.throws(() => JSON.stringify(doc), TypeError)
assert.throws(() => doc.x + 1, TypeError)
console.log('a document with MAX_SAFE_INTEGER: JSON.stringify(doc) and doc.x + 1 throw a TypeError')
JS
node finding.mjs
