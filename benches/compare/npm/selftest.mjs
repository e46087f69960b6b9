// Runs every command small on every system, through the real protocol, and checks the answers.

import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

import { startClient, startServer } from './lib/processes.mjs';
import { sampleRecord } from './lib/sample.mjs';

const DOCUMENTS = 50;
const CHANGED = 10;
const MARKER = 7.25;
const SUBSCRIBERS = 20;
/** The orchestrator's limit for a step. */
const STEP_MS = 120_000;
const EXIT_MS = 30_000;

const inFolder = (path) => join(import.meta.dirname, path);
const nodeServer = (name) => (port, directory) => [
    process.execPath, inFolder(`${name}/server.mjs`), '--port', String(port), '--directory', directory,
];

const ySweet = ['y-sweet', join(homedir(), '.cargo/bin/y-sweet')].find(
    (program) => spawnSync(program, ['version'], { stdio: 'ignore' }).status === 0,
);

const systems = [
    { name: 'automerge-repo', server: nodeServer('automerge-repo') },
    { name: 'hocuspocus', server: nodeServer('hocuspocus') },
    {
        name: 'y-sweet',
        server: ySweet && ((port, directory) => [ySweet, 'serve', '--port', String(port), directory]),
    },
];

const isEmpty = (answer) => JSON.stringify(answer) === '{}';
const isError = (answer) => typeof answer.error === 'string';
const isSeconds = (answer) => answer.seconds > 0 && answer.seconds < STEP_MS / 1000;
const areLatencies = (list, count) => list?.length === count && list.every((latency) => latency > 0);

/** Workloads with a server of their own; the command, and what its answer must be. */
const live = [
    [{ do: 'propagate', documents: 20, edits: 40, warm: 5 }, (answer) => areLatencies(answer.latencies_ms, 40)],
    [{ do: 'write', writers: 16, edits: 5, waits: true }, (answer) => isSeconds(answer) && answer.edits === 80],
    [{ do: 'write', writers: 16, edits: 50, waits: false }, (answer) => isSeconds(answer) && answer.edits === 800],
    [
        { do: 'fan_out', subscribers: SUBSCRIBERS, per_second: 20, edits: 20 },
        (answer) => areLatencies(answer.latencies_ms, 20 * SUBSCRIBERS)
            && answer.delivered === 20 * SUBSCRIBERS && answer.expected === 20 * SUBSCRIBERS,
    ],
    [{ do: 'idle', connections: SUBSCRIBERS }, (answer) => answer.connections === SUBSCRIBERS],
];

let failures = 0;

function report(system, step, problem, detail = '') {
    failures += problem === null ? 0 : 1;
    console.log(`${problem === null ? 'ok  ' : 'FAIL'} ${system.padEnd(15)} ${step.padEnd(22)} ${problem ?? detail}`);
}

/** Asks, checks and reports; the answer is only valid if it passed. */
async function step(system, client, command, isRight, name = command.do) {
    let timer;
    const late = new Promise((_, reject) => {
        const giveUp = () => reject(new Error(`no answer within ${STEP_MS / 1000} s: ${client.stderr()}`));
        timer = setTimeout(giveUp, STEP_MS);
    });
    try {
        const answer = await Promise.race([client.ask(command), late]);
        const text = JSON.stringify(answer);
        report(system, name, isRight(answer) ? null : `answered ${text.slice(0, 300)}`, summary(answer));
    } catch (error) {
        report(system, name, error.message);
    } finally {
        clearTimeout(timer);
    }
}

function summary({ latencies_ms: latencies, ...rest }) {
    if (latencies !== undefined) {
        const sorted = [...latencies].sort((one, other) => one - other);
        rest.median_ms = sorted[sorted.length >> 1];
    }
    return JSON.stringify(rest);
}

/** The client has to end by itself with its stdin, and must not have warned of leaked listeners. */
async function checkEnd(system, client, name) {
    const code = await client.end(EXIT_MS);
    const warning = client.stderr().match(/.*MaxListeners.*/)?.[0];
    const problem = code === 0 ? warning ?? null : `exit code ${code} after its stdin ended: ${client.stderr()}`;
    report(system, `end of ${name}`, problem);
}

/** One server with a fresh directory, and clients; all gone afterwards. */
async function withServer({ name, server }, clientNames, run) {
    const directory = await mkdtemp(join(tmpdir(), 'compare-selftest-'));
    const clients = [];
    let running;
    try {
        await mkdir(join(directory, 'server'));
        running = await startServer(server, join(directory, 'server'));
        for (const clientName of clientNames) {
            await mkdir(join(directory, clientName));
            const client = startClient(inFolder(`${name}/client.mjs`));
            clients.push(client);
            const open = { do: 'open', url: running.url, directory: join(directory, clientName) };
            await step(name, client, open, isEmpty);
        }
        await run(clients, directory);
        for (const [index, client] of clients.entries()) {
            await checkEnd(name, client, clientNames[index]);
        }
    } catch (error) {
        report(name, clientNames.join('+'), error.message);
    } finally {
        await Promise.all([...clients.map((client) => client.kill()), running?.stop()]);
        await rm(directory, { recursive: true, force: true });
    }
}

async function testBulk(system, records) {
    const { name } = system;
    await withServer(system, ['filler', 'fetcher'], async ([filler, fetcher], directory) => {
        const ids = join(directory, 'ids.json');
        await step(name, filler, { do: 'no_such' }, (answer) => answer.error.includes('no_such'), 'unknown command');
        await step(name, filler, { do: 'fill', records, documents: DOCUMENTS, ids }, isSeconds);
        const written = JSON.parse(await readFile(ids, 'utf8'));
        report(name, 'ids', new Set(written).size === DOCUMENTS ? null : `${written.length} ids`);
        await step(name, fetcher, { do: 'fetch', ids }, (answer) => isSeconds(answer) && answer.documents === DOCUMENTS);
        await step(name, fetcher, { do: 'disconnect' }, isEmpty);
        const reconnect = { do: 'reconnect', ids, changed: 0, marker: MARKER };
        await step(name, fetcher, reconnect, isSeconds, 'reconnect unchanged');
        await step(name, fetcher, { do: 'disconnect' }, isEmpty);
        await step(name, filler, { do: 'edit', ids, documents: CHANGED, marker: MARKER }, isSeconds);
        await step(name, fetcher, { ...reconnect, changed: CHANGED }, isSeconds, 'reconnect changed');
        await step(name, fetcher, reconnect, isError, 'reconnect online');
        await step(name, fetcher, { do: 'disconnect' }, isEmpty);
        // One document more than was edited: the marker must be missed there.
        await step(name, fetcher, { ...reconnect, changed: CHANGED + 1 }, isError, 'reconnect too much');
    });
}

async function testSystem(system, records) {
    if (system.server === undefined) {
        console.log(`skip ${system.name}: no y-sweet in PATH or ~/.cargo/bin`);
        return;
    }
    await testBulk(system, records);
    for (const [command, isRight] of live) {
        await withServer(system, [command.do], async ([client]) => {
            const waits = { true: ' waiting', false: ' streaming' }[command.waits] ?? '';
            await step(system.name, client, { ...command, records }, isRight, command.do + waits);
        });
    }
}

const directory = await mkdtemp(join(tmpdir(), 'compare-selftest-'));
const records = join(directory, 'records.json');
await writeFile(records, JSON.stringify(Array.from({ length: DOCUMENTS }, (_, index) => sampleRecord(index))));
for (const system of systems) {
    await testSystem(system, records);
}
await rm(directory, { recursive: true, force: true });
console.log(failures === 0 ? 'all passed' : `${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;
