// The published sync server as it is: it takes its port and directory from the environment. Its package asks for
// automerge-repo 1.2; the overrides in package.json give it the version that the clients have.
//
// Defaults that matter: it saves a document at most every 100 ms (`saveDebounceRate`) and passes changes of one document
// on at most every 100 ms (`syncDebounceRate`), the first after a pause at once; it drops a client that has not answered
// its ping when the next one is due, 5 s later.

import { serverArguments } from '../lib/arguments.mjs';

const { port, directory } = serverArguments();
process.env.PORT = String(port);
process.env.DATA_DIR = directory;
await import('@automerge/automerge-repo-sync-server');
