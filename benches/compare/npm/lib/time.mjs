// Clocks and waiting. `performance.now` is monotonic.

import { setImmediate, setTimeout } from 'node:timers/promises';

/** Starts a stopwatch. */
export function stopwatch() {
    const start = performance.now();
    return { seconds: () => (performance.now() - start) / 1000 };
}

/** Sleeps until `performance.now()` has reached `moment`. */
export async function until(moment) {
    const left = moment - performance.now();
    if (left > 0) {
        await setTimeout(left);
    }
}

/** Lets the event loop run once: sockets are read and written, and nothing is waited for. */
export const nextTurn = () => setImmediate();

/** Microsecond resolution is enough, and keeps long lists of latencies short. */
export const roundedMilliseconds = (milliseconds) => Math.round(milliseconds * 1000) / 1000;

/** Something that becomes true: whoever causes it calls `check`, any number of others `wait` without a listener each. */
export class Condition {
    #holds;
    #waiting = [];

    /** @param {() => boolean} holds */
    constructor(holds) {
        this.#holds = holds;
    }

    check() {
        if (this.#waiting.length > 0 && this.#holds()) {
            for (const resolve of this.#waiting.splice(0)) {
                resolve();
            }
        }
    }

    async wait() {
        if (!this.#holds()) {
            await new Promise((resolve) => this.#waiting.push(resolve));
        }
    }
}
