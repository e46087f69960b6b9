// A peer in JavaScript. Each line of its input is an entity, as a JSON list of its changes in hexadecimal; each line of its output says
// what it reads there, and what it made of it. `fuzz/tests/javascript.rs` compares that.

import * as Automerge from "@automerge/automerge"
import { createInterface } from "node:readline"

const hex = bytes => Buffer.from(bytes).toString("hex")

// The bits of a number, because JSON has neither NaN nor -0. Which NaN it is no program in JavaScript can rely on.
const bits = number => {
  if (Number.isNaN(number)) return "NaN"
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, number)
  return view.getBigUint64(0).toString()
}

const described = value => {
  if (value === null) return ["null"]
  if (typeof value === "boolean") return ["boolean", value]
  if (typeof value === "number") return ["number", bits(value)]
  if (typeof value === "bigint") return ["bigint", value.toString()]
  if (typeof value === "string") return ["string", value]
  if (Automerge.isImmutableString(value)) return ["ImmutableString", value.toString()]
  if (Automerge.isCounter(value)) return ["Counter", described(value.value)]
  if (value instanceof Date) return ["Date", bits(value.getTime())]
  if (value instanceof Uint8Array) return ["Uint8Array", hex(value)]
  if (Array.isArray(value)) return ["array", value.map(described)]
  // By code points, as the other side sorts them.
  const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  return ["object", keys.map(key => [key, described(value[key])])]
}

// What a program in JavaScript writes; the other side knows under these names what it should read.
const written = () => ({
  one: 1,
  zero: 0,
  negative: -3,
  negative_zero: -0,
  half: 0.5,
  two_to_53: 2 ** 53,
  minus_two_to_53: -(2 ** 53),
  largest_exact: 2 ** 63 - 1024,
  two_to_63: 2 ** 63,
  beyond: 1e300,
  beyond_below: -1e300,
  nan: NaN,
  infinity: Infinity,
  minus_infinity: -Infinity,
  whole_float: new Automerge.Float64(1),
  negative_zero_float: new Automerge.Float64(-0),
  large_float: new Automerge.Float64(1e300),
  unsigned: new Automerge.Uint(7),
  bigint: 2n ** 62n + 1n,
  bigint_max: 2n ** 64n - 1n,
  bigint_min: -(2n ** 63n),
  text: "sweet\u0000 漢🌱",
  half_a_pair: "\ud800x",
  string: new Automerge.ImmutableString("juicy\u0000"),
  date: new Date(1700000000000),
  date_before_1970: new Date(-1),
  bytes: new Uint8Array([0, 255]),
  counter: new Automerge.Counter(-3),
  nothing: null,
  yes: true,
  nested: [1, [], {}, [{ a: { b: ["c"] } }]],
  "$text": 1,
  _theirs: 1,
})

for await (const line of createInterface({ input: process.stdin })) {
  const changes = JSON.parse(line).map(change => Uint8Array.from(Buffer.from(change, "hex")))
  const [doc] = Automerge.applyChanges(Automerge.init(), changes)
  const read = described(doc)
  const saved = Automerge.load(Automerge.save(doc))
  const untouched = Automerge.getAllChanges(saved).map(hex)
  const edited = Automerge.change(saved, fields => {
    fields.beside = new Automerge.ImmutableString("from JavaScript")
  })
  const beside = hex(Automerge.getLastLocalChange(edited))
  const filled = Automerge.change(edited, fields => {
    for (const [name, value] of Object.entries(written())) fields[name] = value
  })
  const all = hex(Automerge.getLastLocalChange(filled))
  const refused = {}
  for (const [name, value] of Object.entries({ beyond_64: 2n ** 64n, absent: undefined })) {
    try {
      Automerge.change(filled, fields => { fields[name] = value })
    } catch (error) {
      refused[name] = error.name
    }
  }
  console.log(JSON.stringify({ read, untouched, beside, all, refused }))
}
