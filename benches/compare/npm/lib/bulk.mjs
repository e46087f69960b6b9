// W1 to W3: many documents of one client. `fill` and `edit` run in one process, `fetch` and `reconnect` in another.

import { readFile, writeFile } from 'node:fs/promises';

import { pooled } from './pool.mjs';
import { readRecords } from './records.mjs';
import { stopwatch } from './time.mjs';

/**
 * Documents under way at a time: enough to keep the server busy. Not many more, because a client answers the server's
 * keep-alive pings behind its backlog, and automerge-repo's server drops one that does not answer within 5 s.
 */
const PIPELINE = 32;

/** The bulk commands of one process: they share its one client. */
export class Bulk {
    #system;
    #target = null;
    #client = null;
    #isOnline = false;
    #documents = new Map();

    /** @param {import('./system.mjs').System} system */
    constructor(system) {
        this.#system = system;
    }

    async open({ url, directory }) {
        this.#target = { url, directory };
        return {};
    }

    async fill({ records: file, documents: count, ids: idsFile }) {
        const records = await readRecords(file, count);
        const clock = stopwatch();
        await this.#connect();
        const documents = await pooled(records, PIPELINE, (record) => this.#create(record));
        const seconds = clock.seconds();
        documents.forEach((document) => this.#documents.set(document.id, document));
        await writeFile(idsFile, JSON.stringify(documents.map(({ id }) => id)));
        return { seconds };
    }

    async edit({ ids: idsFile, documents: count, marker }) {
        const documents = (await readIds(idsFile)).slice(0, count).map((id) => this.#document(id));
        const clock = stopwatch();
        documents.forEach((document) => document.set('rating', marker));
        await Promise.all(documents.map((document) => document.confirmed()));
        return { seconds: clock.seconds() };
    }

    async fetch({ ids: idsFile }) {
        const ids = await readIds(idsFile);
        const clock = stopwatch();
        await this.#connect();
        const documents = await pooled(ids, PIPELINE, (id) => this.#client.open(id));
        for (const document of documents) {
            if (typeof document.get('rating') !== 'number') {
                throw new Error(`document ${document.id} has the rating ${document.get('rating')}`);
            }
        }
        await this.#client.stored();
        const seconds = clock.seconds();
        documents.forEach((document) => this.#documents.set(document.id, document));
        return { seconds, documents: documents.length };
    }

    async disconnect() {
        this.#mustBe({ online: true });
        await this.#client.disconnect();
        this.#isOnline = false;
        return {};
    }

    async reconnect({ ids: idsFile, changed, marker }) {
        this.#mustBe({ online: false });
        const expected = (await readIds(idsFile)).slice(0, changed).map((id) => this.#document(id));
        const clock = stopwatch();
        await this.#client.reconnect();
        this.#isOnline = true;
        for (const document of expected) {
            if (document.get('rating') !== marker) {
                throw new Error(`document ${document.id} has the rating ${document.get('rating')} after reconnecting`);
            }
        }
        return { seconds: clock.seconds() };
    }

    async close() {
        await this.#client?.close();
    }

    /** All edits follow without waiting, each a change of its own; done when the last is confirmed. */
    async #create({ fields, edits }) {
        const document = await this.#client.create(fields);
        for (const edit of edits) {
            for (const [field, value] of Object.entries(edit)) {
                document.set(field, value);
            }
        }
        await document.confirmed();
        return document;
    }

    async #connect() {
        if (this.#client !== null) {
            throw new Error('this process has a client already');
        }
        if (this.#target === null) {
            throw new Error('no "open" before');
        }
        this.#client = await this.#system.connect(this.#target);
        this.#isOnline = true;
    }

    #mustBe({ online }) {
        if (this.#client === null || this.#isOnline !== online) {
            throw new Error(`only for a client that is ${online ? 'connected' : 'disconnected'}`);
        }
    }

    #document(id) {
        const document = this.#documents.get(id);
        if (document === undefined) {
            throw new Error(`no document ${id} in this process`);
        }
        return document;
    }
}

const readIds = async (file) => JSON.parse(await readFile(file, 'utf8'));
