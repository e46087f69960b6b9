#!/usr/bin/env bash
# loro-crdt 1.17.1: two documents with the same version, and the same operations, show different counters
# for good.
#
# Expected: a CRDT counter has one value per set of operations, whatever the order in which they arrive.
# Seen: three peers increment by 1e16, 1 and -1e16. One document imports them in that order and shows 0, the
# other imports the first, the third and the second and shows 1. `version().compare` says 0 (equal), the
# frontiers are equal, another exchange changes nothing, and a snapshot hands the sender's value on. With
# 0.1, 0.2 and 0.3 the two show 0.6000000000000001 and 0.6. The counter adds doubles as they come, and that
# addition is not associative.
#
# Consequence: a hash of the state, or a test that compares two replicas, fails though nothing is missing,
# and no sync repairs it. Count in whole numbers that stay well below 2^53 (cents, not euros).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --save-exact loro-crdt@1.17.1

cat > finding.mjs <<'JS'
import assert from 'node:assert/strict'
import { LORO_VERSION, LoroDoc } from 'loro-crdt'

console.log(`loro-crdt ${LORO_VERSION()}`)

function increment(peer, by) {
  const doc = new LoroDoc()
  doc.setPeerId(peer)
  doc.getCounter('c').increment(by)
  doc.commit()
  return doc.export({ mode: 'update' })
}

function imported(updates) {
  const doc = new LoroDoc()
  for (const update of updates) doc.import(update)
  return doc
}

for (const [amounts, seen] of [
  [[1e16, 1, -1e16], [0, 1]],
  [[0.1, 0.2, 0.3], [0.6000000000000001, 0.6]],
]) {
  const [first, second, third] = amounts.map((by, i) => increment(String(i + 1), by))
  const one = imported([first, second, third])
  const two = seen[1] === 1 ? imported([first, third, second]) : imported([third, second, first])
  one.import(two.export({ mode: 'update' }))
  two.import(one.export({ mode: 'snapshot' }))
  const copy = imported([two.export({ mode: 'snapshot' })])
  const values = [one, two, copy].map(doc => doc.getCounter('c').value)
  console.log(`increments ${amounts.join(', ')}: versions compare as`, one.version().compare(two.version()),
    `(equal); expected one value, seen ${values[0]} and ${values[1]}, in a copy of the second ${values[2]}`)
  assert.equal(one.version().compare(two.version()), 0)
  assert.deepEqual(values, [seen[0], seen[1], seen[1]])
}
JS
node finding.mjs
