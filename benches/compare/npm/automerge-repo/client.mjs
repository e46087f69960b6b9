// automerge-repo with its WebSocket client and, for W1 to W3, its nodefs storage.
//
// Defaults that matter: changes of one document are sent at most every 100 ms (the first after a pause at once), and
// saved at most every 100 ms.

import { getHeads, ImmutableString } from '@automerge/automerge';
import { generateAutomergeUrl, Repo } from '@automerge/automerge-repo';
import { WebSocketClientAdapter } from '@automerge/automerge-repo-network-websocket';
import { NodeFSStorageAdapter } from '@automerge/automerge-repo-storage-nodefs';

import { serveAdapter } from '../lib/adapter.mjs';
import { Condition } from '../lib/time.mjs';

class AutomergeClient {
    #url;
    #repo;
    #network = null;
    #documents = new Map();
    #serverIsPeer = new Condition(() => this.#repo.peers.length > 0);
    /** The documents that the server has not been asked about since the last disconnect. */
    #unasked = new Set();
    #allAsked = new Condition(() => this.#unasked.size === 0);

    constructor({ url, directory }) {
        this.#url = url;
        this.#repo = new Repo(directory === undefined ? {} : { storage: new NodeFSStorageAdapter(directory) });
        this.#repo.networkSubsystem.on('peer', () => this.#serverIsPeer.check());
        // The event from which the Repo itself learns what a peer has. The public `remote-heads` event tells of the same
        // heads, but only of those that differ from what it told before the connection was lost.
        this.#repo.synchronizer.on('sync-state', ({ documentId, syncState }) => {
            this.#documents.get(documentId)?.serverHas(syncState.theirHeads);
        });
        this.#repo.synchronizer.on('message', ({ documentId }) => {
            this.#unasked.delete(documentId);
            this.#allAsked.check();
        });
    }

    async connect() {
        this.#network = new WebSocketClientAdapter(this.#url);
        this.#repo.networkSubsystem.addNetworkAdapter(this.#network);
        await this.#serverIsPeer.wait();
    }

    async create(fields) {
        return this.#keep(this.#repo.create(Object.fromEntries(
            Object.entries(fields).map(([field, value]) => [field, scalar(value)]),
        )));
    }

    async open(id) {
        return this.#keep(await this.#repo.find(id));
    }

    async stored() {
        // Not all that the Repo knows: it cannot flush the documents that it asked for in vain.
        await this.#repo.flush([...this.#documents.keys()]);
    }

    async disconnect() {
        // Removing the adapter disconnects it for good. A new one is made for the next connection, because
        // `networkSubsystem.reconnect()` forgets to tell the server who the client is (its storage id).
        this.#repo.networkSubsystem.removeNetworkAdapter(this.#network);
        this.#documents.forEach((document, id) => {
            document.serverHas(undefined);
            this.#unasked.add(id);
        });
    }

    /**
     * By itself the Repo asks the server about each document. The server remembers what it told this client, and does not
     * answer for a document in which nothing has changed. Messages are answered in their order, so when it answers a
     * question from after all these, the documents that it has not mentioned are current.
     */
    async reconnect() {
        await this.connect();
        await this.#allAsked.wait();
        await this.#askForUnknownDocument();
        this.#documents.forEach((document) => document.assumeCurrent());
        await Promise.all([...this.#documents.values()].map((document) => document.confirmed()));
    }

    async close() {
        this.#repo.networkSubsystem.disconnect();
        await this.stored();
    }

    async #askForUnknownDocument() {
        await this.#repo.find(generateAutomergeUrl(), { allowableStates: ['unavailable'] });
    }

    #keep(handle) {
        const document = new AutomergeDocument(handle);
        this.#documents.set(handle.documentId, document);
        return document;
    }
}

class AutomergeDocument {
    #handle;
    #serverHeads = undefined;
    /**
     * "Confirmed": the server has said that its document has exactly our heads. It says so once it has the changes in
     * memory; automerge-repo has nothing to tell a client that they are on the server's disk.
     */
    #inSync = new Condition(() => sameHeads(this.#serverHeads, getHeads(this.#handle.doc())));

    constructor(handle) {
        this.#handle = handle;
        this.id = handle.documentId;
    }

    get(field) {
        return this.#handle.doc()[field];
    }

    set(field, value) {
        this.#handle.change((record) => {
            record[field] = scalar(value);
        });
    }

    async confirmed() {
        await this.#inSync.wait();
    }

    onChange(listener) {
        this.#handle.on('change', listener);
    }

    /** The server would have told by now if it had something else. */
    assumeCurrent() {
        this.#serverHeads ??= getHeads(this.#handle.doc());
    }

    serverHas(heads) {
        this.#serverHeads = heads;
        // The event comes from within the update that applies the server's changes: the document has them right after.
        queueMicrotask(() => this.#inSync.check());
    }
}

/** The fields are scalars. A plain string would become a collaborative text, a sequence with an element per character. */
function scalar(value) {
    return typeof value === 'string' ? new ImmutableString(value) : value;
}

function sameHeads(one, other) {
    return one !== undefined && one !== null && one.length === other.length && one.every((head) => other.includes(head));
}

await serveAdapter({
    name: 'automerge-repo',
    async connect(options) {
        const client = new AutomergeClient(options);
        await client.connect();
        return client;
    },
});
