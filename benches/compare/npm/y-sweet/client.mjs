// The Y-Sweet provider: a connection per document, as it has them. No local store: its IndexedDB is for browsers.
// The server is `y-sweet serve --port P /directory`, without authentication.
//
// Defaults that matter: updates are sent at once; the server checkpoints every 10 s; every connection sends a heartbeat
// after 2 s of silence. Every document has an Awareness: it tells the others on the document that this client is there
// when it comes, and again every 15 s.

import {
    createYjsProvider, EVENT_CONNECTION_STATUS, EVENT_LOCAL_CHANGES, STATUS_CONNECTED,
} from '@y-sweet/client';
import { DocumentManager } from '@y-sweet/sdk';
import WebSocket from 'ws';

import { serveAdapter } from '../lib/adapter.mjs';
import { Condition } from '../lib/time.mjs';
import { YjsRecord } from '../lib/yjs-record.mjs';

class YSweetClient {
    #manager;
    #documents = [];

    constructor({ url }) {
        this.#manager = new DocumentManager(url.replace(/^ws/, 'ys'));
    }

    async create(fields) {
        const { docId } = await this.#manager.createDoc();
        // Only then the changes: what is made before connecting is acknowledged before the server has it.
        const document = await this.open(docId);
        document.fill(fields);
        return document;
    }

    async open(id) {
        // An app's backend would hand the token out; the manager asks the server for it as the backend would.
        const document = new YSweetDocument(id, () => this.#manager.getClientToken(id));
        this.#documents.push(document);
        await document.current();
        return document;
    }

    async stored() {}

    async disconnect() {
        this.#documents.forEach((document) => document.disconnect());
    }

    async reconnect() {
        await Promise.all(this.#documents.map((document) => document.reconnect()));
    }

    async close() {
        this.#documents.forEach((document) => document.close());
    }
}

class YSweetDocument extends YjsRecord {
    #provider;
    /** The server has answered our state vector with what we lacked. */
    #connected = new Condition(() => this.#provider.status === STATUS_CONNECTED);
    /**
     * "Confirmed": the server has echoed the number of our last change, which it reads after the change itself. It has
     * the change in memory then; of its checkpoints it tells nobody.
     */
    #acknowledged = new Condition(() => !this.#provider.hasLocalChanges);

    constructor(id, token) {
        super(id);
        this.#provider = createYjsProvider(this.doc, id, token, {
            WebSocketPolyfill: WebSocket,
            // It would only be printed.
            showDebuggerLink: false,
        });
        this.#provider.on(EVENT_CONNECTION_STATUS, () => this.#connected.check());
        this.#provider.on(EVENT_LOCAL_CHANGES, () => this.#acknowledged.check());
    }

    current() {
        return this.#connected.wait();
    }

    confirmed() {
        return this.#acknowledged.wait();
    }

    /**
     * The provider's own `disconnect` does not last: the `close` of the socket that it closes makes it connect again, and
     * so do its timers. So they have to go first, though they are private.
     */
    disconnect() {
        const provider = this.#provider;
        provider.clearHeartbeat();
        provider.clearConnectionTimeout();
        if (provider.websocket !== null) {
            Object.assign(provider.websocket, { onmessage: null, onclose: null, onerror: null });
        }
        provider.disconnect();
    }

    async reconnect() {
        await this.#provider.connect();
        await this.current();
    }

    close() {
        this.disconnect();
        this.#provider.awareness.destroy();
        this.#provider.destroy();
    }
}

await serveAdapter({
    name: 'y-sweet',
    async connect(options) {
        return new YSweetClient(options);
    },
});
