// The client process of one system: every command of the protocol, over the interface in `system.mjs`.

import { Bulk } from './bulk.mjs';
import { Live } from './live.mjs';
import { serve } from './protocol.mjs';

/** @param {import('./system.mjs').System} system */
export async function serveAdapter(system) {
    const bulk = new Bulk(system);
    const live = new Live(system);
    const handlers = {
        async open(command) {
            live.open(command);
            return bulk.open(command);
        },
    };
    for (const [owner, names] of [
        [bulk, ['fill', 'edit', 'fetch', 'disconnect', 'reconnect']],
        [live, ['propagate', 'write', 'fan_out', 'idle']],
    ]) {
        for (const name of names) {
            handlers[name] = (command) => owner[name](command);
        }
    }
    await serve(handlers, async () => {
        await Promise.all([bulk.close(), live.close()]);
    });
}
