// The dataset: `[{"fields": {…14 scalars}, "edits": [{"rating": 1.5}, …]}, …]`.

import { readFile } from 'node:fs/promises';

/** The first `count` records of the file. */
export async function readRecords(file, count) {
    const records = JSON.parse(await readFile(file, 'utf8'));
    if (records.length < count) {
        throw new Error(`${file} has ${records.length} records, ${count} were asked for`);
    }
    return records.slice(0, count);
}
