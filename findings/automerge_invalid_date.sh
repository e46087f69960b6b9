#!/usr/bin/env bash
# @automerge/automerge 3.5.0 (JavaScript): an invalid Date is stored as midnight of 1 January 1970.
#
# Expected: `new Date(NaN)` is refused, as `undefined` is ("Cannot assign undefined value"), or comes back
# invalid.
# Seen: no error. The document holds 1970-01-01T00:00:00.000Z, before and after save and load, and so do its
# peers.
#
# Consequence: a date that did not parse, `new Date("soon")`, becomes a valid one that sorts first and
# compares as past. Everything that expires on it has expired. Test `Number.isNaN(date.getTime())` before
# the assignment.
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

assert.throws(() => Automerge.from({ due: undefined }), RangeError)
console.log('wrote undefined: RangeError, as expected')
const due = new Date('soon')
const doc = Automerge.from({ due })
const read = Automerge.load(Automerge.save(doc)).due
console.log(`wrote ${due}, expected an error, read ${doc.due.toISOString()},`,
  `after a load ${read.toISOString()}`)
assert.equal(doc.due.getTime(), 0)
assert.equal(read.getTime(), 0)
JS
node finding.mjs
