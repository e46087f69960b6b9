// W4 to W7: several clients with connections of their own in this process, without local stores.

import { FanOut } from './fan-out.mjs';
import { pooled, pooledTimes } from './pool.mjs';
import { readRecords } from './records.mjs';
import { nextTurn, roundedMilliseconds, stopwatch, until } from './time.mjs';

/** Clients or documents that are being set up at a time; setting up is not measured. */
const SETUP = 50;

/** How long `fan_out` waits after the last edit. */
const GIVE_UP_MS = 20_000;

/**
 * Every edit sets a rating that no record has: Automerge makes no change of setting what is there already. Never an integer,
 * because its type would differ.
 */
const FIRST_VALUE = 1000.5;
const valueOf = (edit) => FIRST_VALUE + edit;
const editOf = (value) => value - FIRST_VALUE;

/** The commands with several clients, for one server. */
export class Live {
    #system;
    #url = null;
    #clients = [];

    /** @param {import('./system.mjs').System} system */
    constructor(system) {
        this.#system = system;
    }

    open({ url }) {
        this.#url = url;
    }

    async propagate({ records: file, documents: count, edits, warm }) {
        const records = await readRecords(file, count);
        const [writer, reader] = await this.#connect(2);
        const written = await pooled(records, SETUP, (record) => createConfirmed(writer, record));
        const read = await pooled(written, SETUP, ({ id }) => reader.open(id));
        let expect = null;
        read.forEach((document, index) => document.onChange(() => expect?.(index)));

        const latencies = [];
        for (let edit = 0; edit < warm + edits; edit++) {
            const target = edit % count;
            const arrived = new Promise((resolve) => {
                expect = (index) => {
                    if (index === target && read[index].get('rating') === valueOf(edit)) {
                        resolve(performance.now());
                    }
                };
            });
            const start = performance.now();
            written[target].set('rating', valueOf(edit));
            latencies.push(roundedMilliseconds(await arrived - start));
        }
        await this.#disconnect();
        return { latencies_ms: latencies.slice(warm) };
    }

    async write({ records: file, writers, edits, waits }) {
        const records = await readRecords(file, writers);
        const clients = await this.#connect(writers);
        const documents = await Promise.all(clients.map((client, index) => createConfirmed(client, records[index])));
        const clock = stopwatch();
        await Promise.all(documents.map(async (document) => {
            for (let edit = 0; edit < edits; edit++) {
                document.set('rating', valueOf(edit));
                // Not waiting still has to let the process send, or the server would idle until all edits are made.
                await (waits ? document.confirmed() : nextTurn());
            }
            await document.confirmed();
        }));
        const seconds = clock.seconds();
        await this.#disconnect();
        return { seconds, edits: writers * edits };
    }

    async fan_out({ records: file, subscribers, per_second: perSecond, edits }) {
        const [record] = await readRecords(file, 1);
        const [writer, ...readers] = await this.#connect(1 + subscribers);
        const document = await createConfirmed(writer, record);
        const subscribed = await pooled(readers, SETUP, (reader) => reader.open(document.id));
        const deliveries = new FanOut(subscribers, edits);
        subscribed.forEach((copy, subscriber) => {
            copy.onChange(() => deliveries.reached(subscriber, editOf(copy.get('rating'))));
        });

        const start = performance.now();
        for (let edit = 0; edit < edits; edit++) {
            await until(start + (edit * 1000) / perSecond);
            deliveries.start(edit);
            document.set('rating', valueOf(edit));
        }
        await deliveries.completeWithin(GIVE_UP_MS);
        await this.#disconnect();
        return deliveries.answer();
    }

    async idle({ records: file, connections }) {
        const [{ fields }] = await readRecords(file, 1);
        const [first, ...others] = await this.#connect(connections);
        const { id } = await createConfirmed(first, { fields: { rating: fields.rating } });
        await pooled(others, SETUP, (client) => client.open(id));
        return { connections };
    }

    async close() {
        await this.#disconnect();
    }

    async #connect(count) {
        if (this.#url === null) {
            throw new Error('no "open" before');
        }
        const url = this.#url;
        return pooledTimes(count, SETUP, async () => {
            const client = await this.#system.connect({ url });
            this.#clients.push(client);
            return client;
        });
    }

    async #disconnect() {
        await Promise.all(this.#clients.splice(0).map((client) => client.close()));
    }
}

async function createConfirmed(client, { fields }) {
    const document = await client.create(fields);
    await document.confirmed();
    return document;
}
