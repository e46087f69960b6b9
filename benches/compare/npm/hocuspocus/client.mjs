// The Hocuspocus provider: one connection per client, all its documents on it. No local store: Yjs has none for Node.
//
// Defaults that matter: updates are sent at once, one message each (`flushDelay: false`). Every document has an
// Awareness: it tells the others on the document that this client is there when it comes, and again every 15 s. Its
// documentation advises against leaving it out: a provider that hears nothing for 30 s takes the connection for dead.

import { randomUUID } from 'node:crypto';

import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider';
import WebSocket from 'ws';

import { serveAdapter } from '../lib/adapter.mjs';
import { Condition } from '../lib/time.mjs';
import { YjsRecord } from '../lib/yjs-record.mjs';

class HocuspocusClient {
    #socket;
    #documents = [];
    #offline;

    constructor({ url }) {
        this.#socket = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket });
        this.#offline = new Condition(() => this.#socket.status === 'disconnected');
        this.#socket.on('disconnect', () => this.#offline.check());
    }

    async create(fields) {
        // Only then the changes: those from before the first sync are not counted in what is unsynced.
        const document = await this.open(randomUUID());
        document.fill(fields);
        return document;
    }

    async open(id) {
        const document = new HocuspocusDocument(id, this.#socket);
        this.#documents.push(document);
        await document.current();
        return document;
    }

    async stored() {}

    async disconnect() {
        this.#socket.disconnect();
        await this.#offline.wait();
    }

    async reconnect() {
        await this.#socket.connect();
        await Promise.all(this.#documents.map((document) => document.current()));
    }

    async close() {
        this.#documents.forEach((document) => document.close());
        this.#socket.destroy();
    }
}

class HocuspocusDocument extends YjsRecord {
    #provider;
    /** The server has answered our state vector with what we lacked. */
    #synced = new Condition(() => this.#provider.synced);
    /**
     * "Confirmed": the server has acknowledged each update. It does so once it has applied the update in memory; that it
     * is in the database, seconds later, it tells nobody.
     */
    #acknowledged = new Condition(() => !this.#provider.hasUnsyncedChanges);

    constructor(id, socket) {
        super(id);
        this.#provider = new HocuspocusProvider({ name: id, document: this.doc, websocketProvider: socket });
        this.#provider.on('synced', () => this.#synced.check());
        this.#provider.on('unsyncedChanges', () => this.#acknowledged.check());
        // A provider that was given a socket attaches to it only when told to.
        this.#provider.attach();
    }

    current() {
        return this.#synced.wait();
    }

    confirmed() {
        return this.#acknowledged.wait();
    }

    close() {
        this.#provider.destroy();
    }
}

await serveAdapter({
    name: 'hocuspocus',
    async connect(options) {
        return new HocuspocusClient(options);
    },
});
