#!/usr/bin/env bash
# lmdb 3.5.6 (lmdb-js): a key and an array of it alone are one key, or are listed as one.
#
# Expected: the README takes "any JS primitive" and "an array of primitives", and keeps "type information". So
# "a" and ["a"] are two keys, 1 and [1] are as well, and each is listed as it was put.
# Seen: "a" and ["a"] are one key, so the second put replaces the first entry. 1 and [1] are two entries,
# and both list as 1.
#
# Consequence: entries overwrite each other where a path of one part meets a plain key, and a listing holds
# keys that were never put: who copies an entry under its listed key overwrites another one. Give every array
# key two parts or more.
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
const show = key => JSON.stringify(key)
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
await db.close()
JS
node finding.mjs
