#!/usr/bin/env bash
# loro-crdt 1.17.1: undo of one's own write to a map takes away what another peer wrote over it later. yjs
# 13.6.33 keeps the other's value.
#
# Expected: the UndoManager undoes local operations only, so where another peer's later value stands, undo
# leaves it.
# Seen: k is 0, A sets it to 1, B sees 1 and sets it to 2, A undoes. In Loro k is 0 again on both; in Yjs it
# is 2. If A's write was the first one, Loro deletes the key; a text that B has put there goes too, with all
# that B typed.
#
# Consequence: one Ctrl+Z reverts another person's newer edit in a form or a table, on every device. Before
# an undo, compare the value in place with the one the user wrote.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --save-exact loro-crdt@1.17.1 yjs@13.6.33

cat > finding.mjs <<'JS'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { LORO_VERSION, LoroDoc, LoroText, UndoManager } from 'loro-crdt'
import * as Y from 'yjs'

const { version } = JSON.parse(fs.readFileSync('node_modules/yjs/package.json'))
console.log(`loro-crdt ${LORO_VERSION()}, yjs ${version}`)

function loro(first, later) {
  const a = new LoroDoc(), b = new LoroDoc()
  a.setPeerId('1')
  b.setPeerId('2')
  if (first !== undefined) a.getMap('m').set('k', first)
  a.commit()
  const undo = new UndoManager(a, {})
  a.getMap('m').set('k', 1)
  a.commit()
  b.import(a.export({ mode: 'snapshot' }))
  later(b.getMap('m'))
  b.commit()
  a.import(b.export({ mode: 'update' }))
  undo.undo()
  b.import(a.export({ mode: 'update' }))
  assert.deepEqual(a.toJSON(), b.toJSON())
  return b.getMap('m').toJSON()
}

function yjs() {
  const a = new Y.Doc(), b = new Y.Doc()
  const exchange = (from, to) => Y.applyUpdate(to, Y.encodeStateAsUpdate(from), 'remote')
  a.getMap('m').set('k', 0)
  const undo = new Y.UndoManager(a.getMap('m'))
  a.getMap('m').set('k', 1)
  exchange(a, b)
  b.getMap('m').set('k', 2)
  exchange(b, a)
  undo.undo()
  exchange(a, b)
  return b.getMap('m').toJSON()
}

const over = loro(0, map => map.set('k', 2))
const first = loro(undefined, map => map.set('k', 2))
const text = loro(undefined, map => map.setContainer('k', new LoroText()).insert(0, 'what B typed'))
console.log('0, A sets 1, B sets 2, A undoes: expected {"k":2},',
  `Loro ${JSON.stringify(over)}, Yjs ${JSON.stringify(yjs())}`)
console.log(`A sets 1, B sets 2, A undoes: expected {"k":2}, Loro ${JSON.stringify(first)}`)
console.log(`A sets 1, B puts a text, A undoes: expected the text, Loro ${JSON.stringify(text)}`)
assert.deepEqual([over, first, text, yjs()], [{ k: 0 }, {}, {}, { k: 2 }])
JS
node finding.mjs
