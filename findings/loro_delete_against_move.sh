#!/usr/bin/env bash
# loro-crdt 1.17.1, LoroMovableList: a concurrent move revives a deleted element, a concurrent `set` of it
# is lost.
#
# Expected: one rule for both. Either the delete wins, or an edit of the element keeps it.
# Seen: A deletes "b" of [a, b, c]. B sets it to "B" meanwhile: both show [a, c], B's value is gone. B moves
# it to the front meanwhile: both show [b, a, c], A's delete is gone. It does not depend on which peer's id
# is larger. With a third peer that moves it, the lost value is back too: [B, a, c].
#
# Consequence: dragging keeps a card that another deletes, rewriting it does not, so the edit that costs
# more work is the one that vanishes. Where an edit must survive, make the element a map and mark it as
# deleted with a field.
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

function after(peers, ...edits) {
  const docs = peers.map(peer => {
    const doc = new LoroDoc()
    doc.setPeerId(peer)
    return doc
  })
  for (const value of ['a', 'b', 'c']) docs[0].getMovableList('l').push(value)
  docs[0].commit()
  for (const doc of docs.slice(1)) doc.import(docs[0].export({ mode: 'snapshot' }))
  edits.forEach((edit, i) => edit(docs[i].getMovableList('l')))
  docs.forEach(doc => doc.commit())
  const updates = docs.map(doc => doc.export({ mode: 'update' }))
  docs.forEach(doc => updates.forEach(update => doc.import(update)))
  const lists = docs.map(doc => doc.getMovableList('l').toJSON().join(' '))
  assert.equal(new Set(lists).size, 1)
  return lists[0]
}

const remove = list => list.delete(1, 1)
const set = list => list.set(1, 'B')
const move = list => list.move(1, 0)
for (const peers of [['1', '2'], ['2', '1']]) {
  const [whenSet, whenMoved] = [after(peers, remove, set), after(peers, remove, move)]
  console.log(`peers ${peers}: delete against set: ${whenSet}; delete against move: ${whenMoved}`)
  assert.deepEqual([whenSet, whenMoved], ['a c', 'b a c'])
}
const three = after(['1', '2', '3'], remove, move, set)
console.log(`delete against move against set: ${three}`)
assert.equal(three, 'B a c')
JS
node finding.mjs
