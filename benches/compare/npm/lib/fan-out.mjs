// Counts what reaches the subscribers of one document (W6).

import { Condition, roundedMilliseconds } from './time.mjs';

/**
 * Edits are numbered; a subscriber that shows edit n has seen all up to n. So edits that arrive merged as one event count
 * as delivered at that moment.
 */
export class FanOut {
    #edits;
    #starts;
    /** By subscriber: how many edits have reached it. */
    #reached;
    #latencies = [];
    #complete;

    constructor(subscribers, edits) {
        this.#edits = edits;
        this.#starts = new Float64Array(edits);
        this.#reached = new Uint32Array(subscribers);
        this.#complete = new Condition(() => this.#latencies.length === this.#expected);
    }

    get #expected() {
        return this.#reached.length * this.#edits;
    }

    /** Right before the edit's call. */
    start(edit) {
        this.#starts[edit] = performance.now();
    }

    /** The subscriber's document shows this edit now. */
    reached(subscriber, edit) {
        const now = performance.now();
        for (let passed = this.#reached[subscriber]; passed <= edit; passed++) {
            this.#latencies.push(roundedMilliseconds(now - this.#starts[passed]));
        }
        this.#reached[subscriber] = Math.max(this.#reached[subscriber], edit + 1);
        this.#complete.check();
    }

    /** Resolves when every edit has reached every subscriber, or after the time. */
    async completeWithin(milliseconds) {
        let timer;
        const givenUp = new Promise((resolve) => {
            timer = setTimeout(resolve, milliseconds);
        });
        await Promise.race([this.#complete.wait(), givenUp]);
        clearTimeout(timer);
    }

    answer() {
        return { latencies_ms: this.#latencies, delivered: this.#latencies.length, expected: this.#expected };
    }
}
