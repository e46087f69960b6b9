import { parseArgs } from 'node:util';

/** What every server gets: `--port P --directory D`. */
export function serverArguments() {
    const { values } = parseArgs({ options: { port: { type: 'string' }, directory: { type: 'string' } } });
    if (values.port === undefined || values.directory === undefined) {
        throw new Error('usage: server.mjs --port P --directory D');
    }
    return { port: Number(values.port), directory: values.directory };
}
