#!/usr/bin/env bash
# loro-crdt 1.17.1: a document that is not empty ignores a shallow snapshot whose start it has not reached,
# and `import` returns as if all were well.
#
# Expected: a replica that is behind imports the newer state, or `import` throws as it does the other way
# round (an update from before the start: "The dependencies of the importing updates are not included in the
# shallow history").
# Seen: the replica holds "abc", the shallow snapshot "abcdef". `import` throws nothing, and returns no
# imported range and none pending. The replica still holds "abc". An empty document reads the same bytes; a
# full snapshot works.
#
# Consequence: a server that keeps only shallow snapshots strands each device that was away when the history
# was cut: it goes on editing the old state, and no error says so. Compare the version after the import with
# the one in `decodeImportBlobMeta`, and hand such a device a new document.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --save-exact loro-crdt@1.17.1

cat > finding.mjs <<'JS'
import assert from 'node:assert/strict'
import { decodeImportBlobMeta, LORO_VERSION, LoroDoc } from 'loro-crdt'

console.log(`loro-crdt ${LORO_VERSION()}`)

const server = new LoroDoc()
server.setPeerId('1')
server.getText('t').insert(0, 'abc')
server.commit()
const device = new LoroDoc()
device.setPeerId('2')
device.import(server.export({ mode: 'snapshot' }))
server.getText('t').insert(3, 'def')
server.commit()
const shallow = server.export({ mode: 'shallow-snapshot', frontiers: server.frontiers() })

const status = device.import(shallow)
const text = device.getText('t').toString()
console.log(`expected "abcdef" or an error, seen "${text}" and ${JSON.stringify(status)}`)
assert.equal(text, 'abc')
assert.deepEqual(Object.keys(status.success), [])
assert.deepEqual(Object.keys(status.pending ?? {}), [])
const held = device.version().get('1')
const offered = decodeImportBlobMeta(shallow, true).partialEndVersionVector.get('1')
console.log(`operations of peer 1: the snapshot reaches ${offered}, the device has ${held}`)
assert.deepEqual([offered, held], [6, 3])

const empty = new LoroDoc()
empty.import(shallow)
assert.equal(empty.getText('t').toString(), 'abcdef')
device.import(server.export({ mode: 'snapshot' }))
assert.equal(device.getText('t').toString(), 'abcdef')
console.log('an empty document reads the shallow snapshot, and the device reads a full one')
JS
node finding.mjs
