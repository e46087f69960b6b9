#!/usr/bin/env bash
# lmdb 3.5.6 (lmdb-js): different keys are one key, and one number is not read back as a number.
#
# Expected: the README takes "any JS primitive" and "an array of primitives", keeps "type information", and
# says that "any JS number can be used as a key". So "a" and ["a"] are two keys, 1 and [1] are as well, each
# listed as it was put, and -0 is 0 or a neighbour of 0.
# Seen: "a" and ["a"] are one key, so the second put replaces the first entry. 1 and [1] are two entries,
# and both list as 1. The key -0 lists after 5 as the array ["\u0018", null]; `get(0)` does not find it, and
# a range from -1 to 1 leaves it out.
#
# Consequence: entries overwrite each other where a path of one part meets a plain key, and a listing holds
# keys that were never put: who copies an entry under its listed key makes a new one. Give every array key
# two parts or more, and add 0 to a number (-0 + 0 is 0).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --save-exact lmdb@3.5.6

cat > finding.mjs <<'JS'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { open } from 'lmdb'

console.log(`lmdb ${JSON.parse(fs.readFileSync('node_modules/lmdb/package.json')).version}`)

const db = open({ path: 'db' })
const show = key => Object.is(key, -0) ? '-0' : JSON.stringify(key)
for (const [one, two, seen] of [
  ['a', ['a'], ['a']],
  [1, [1], [1, 1]],
]) {
  await db.clearAsync()
  await db.put(one, 'one')
  await db.put(two, 'two')
  const keys = [...db.getKeys()]
  console.log(`put ${show(one)} and ${show(two)}: expected two keys, listed ${keys.map(show).join(' and ')};`,
    `get(${show(one)}) is ${db.get(one)}`)
  assert.deepEqual(keys, seen)
  assert.equal(db.get(one), seen.length === 1 ? 'two' : 'one')
}

await db.clearAsync()
for (const key of [-5, -0, 5]) await db.put(key, show(key))
const keys = [...db.getKeys()]
const near = [...db.getKeys({ start: -1, end: 1 })]
console.log(`put -5, -0 and 5: expected -5, 0, 5, listed ${keys.map(show).join(', ')};`,
  `from -1 to 1: ${near.length} keys; get(0) is ${db.get(0)}`)
assert.deepEqual([keys, near, db.get(0)], [[-5, 5, ['\u0018', null]], [], undefined])
await db.close()
JS
node finding.mjs
