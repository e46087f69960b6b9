// Hocuspocus with its SQLite extension.
//
// Defaults that matter: a document is stored as a whole, 2 s after its last change and at most 10 s after the first one
// (`debounce`, `maxDebounce`); changes are passed on within the turn of the event loop (`flushDelay: 0`).

import { join } from 'node:path';

import { SQLite } from '@hocuspocus/extension-sqlite';
import { Server } from '@hocuspocus/server';

import { serverArguments } from '../lib/arguments.mjs';

const { port, directory } = serverArguments();
const server = new Server({
    address: '127.0.0.1',
    port,
    quiet: true,
    extensions: [new SQLite({ database: join(directory, 'hocuspocus.sqlite') })],
    // Not the defaults of 100 documents, 1000 messages and 5 MiB that a connection may have pending before they are
    // authenticated. The provider opens all its documents again at once when it reconnects, and a server with the defaults
    // closes the connection then, again and again: a client with 200 documents on one connection never comes back.
    maxPendingDocuments: Number.MAX_SAFE_INTEGER,
    maxUnauthenticatedQueueMessages: Number.MAX_SAFE_INTEGER,
    maxUnauthenticatedQueueSize: Number.MAX_SAFE_INTEGER,
});
await server.listen();
