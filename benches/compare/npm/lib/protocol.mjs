// The adapter protocol: one JSON command per line on stdin, one JSON answer per line on stdout.

import { createInterface } from 'node:readline';

/**
 * Answers the commands on stdin, one after the other, until stdin ends; then calls `close`.
 * The process ends by itself once `close` has let go of everything.
 *
 * @param {Record<string, (command: object) => Promise<object>>} handlers by the name in a command's `do`
 * @param {() => Promise<void>} close
 */
export async function serve(handlers, close) {
    // Stdout belongs to the answers, but some of the measured libraries log to it.
    console.log = console.error;
    console.info = console.error;
    const strays = catchStrayErrors();
    for await (const line of createInterface({ input: process.stdin })) {
        if (line.trim() !== '') {
            const answer = await strays.guard(answerTo(line, handlers)).catch(failure);
            process.stdout.write(`${JSON.stringify(answer)}\n`);
        }
    }
    await close();
}

async function answerTo(line, handlers) {
    const command = JSON.parse(line);
    if (!Object.hasOwn(handlers, command.do)) {
        throw new Error(`unknown command ${JSON.stringify(command.do)}`);
    }
    return handlers[command.do](command);
}

function failure(error) {
    console.error(error);
    return { error: error instanceof Error ? error.message : String(error) };
}

/**
 * Libraries throw in timers and socket events, where nobody awaits. Such an error fails the command that is being
 * answered instead of ending the process, which has to stay for the next command.
 */
function catchStrayErrors() {
    let fail = null;
    const onStray = (error) => {
        if (fail === null) {
            console.error('error outside of any command:', error);
        } else {
            fail(error);
        }
    };
    process.on('uncaughtException', onStray);
    process.on('unhandledRejection', onStray);
    return {
        guard(answer) {
            const stray = new Promise((_, reject) => {
                fail = reject;
            });
            return Promise.race([answer, stray]).finally(() => {
                fail = null;
            });
        },
    };
}
