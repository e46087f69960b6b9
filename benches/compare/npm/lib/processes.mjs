// Starts servers and clients as the orchestrator does, for the self-test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

const READY_WITHIN_MS = 20_000;

/** Starts a server with `arguments` for a port and a directory; resolves when it accepts connections. */
export async function startServer(commandFor, directory) {
    const port = await freePort();
    const [program, ...rest] = commandFor(port, directory);
    const server = watch(spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] }));
    try {
        await accepting(port, server);
    } catch (error) {
        await server.kill();
        throw error;
    }
    return { url: `ws://127.0.0.1:${port}`, stop: () => server.kill() };
}

/** Starts an adapter. */
export function startClient(script) {
    const client = watch(spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'pipe'] }));
    const lines = createInterface({ input: client.child.stdout })[Symbol.asyncIterator]();
    return {
        /** The answer to one command, an error among them. */
        async ask(command) {
            client.child.stdin.write(`${JSON.stringify(command)}\n`);
            const { value, done } = await lines.next();
            if (done) {
                throw new Error(`the client ended while it did ${command.do}: ${client.stderr()}`);
            }
            return JSON.parse(value);
        },
        /** Ends stdin and gives the exit code, or null if the process had to be killed. */
        async end(withinMs) {
            client.child.stdin.end();
            const timer = AbortSignal.timeout(withinMs);
            timer.addEventListener('abort', () => client.child.kill('SIGKILL'));
            return client.exited;
        },
        kill: () => client.kill(),
        stderr: () => client.stderr(),
    };
}

function watch(child) {
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
        stderr += text;
    });
    // A broken pipe shows as the end of stdout.
    child.stdin?.on('error', () => {});
    const exited = once(child, 'exit').then(([code]) => code);
    return {
        child,
        exited,
        stderr: () => stderr,
        async kill() {
            child.kill('SIGKILL');
            await exited;
        },
    };
}

async function accepting(port, server) {
    const deadline = performance.now() + READY_WITHIN_MS;
    while (performance.now() < deadline && server.child.exitCode === null) {
        const socket = connect(port, '127.0.0.1');
        const open = await once(socket, 'connect').then(() => true, () => false);
        socket.destroy();
        if (open) {
            return;
        }
        await setTimeout(20);
    }
    throw new Error(`the server does not accept connections: ${server.stderr()}`);
}

async function freePort() {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}
