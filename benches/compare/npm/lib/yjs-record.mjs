// A record in a Y.Doc, as all systems on Yjs have it: one Y.Map with the fields.

import * as Y from 'yjs';

export class YjsRecord {
    #map;

    /** @param {string} id @param {Y.Doc} doc */
    constructor(id, doc = new Y.Doc()) {
        this.id = id;
        this.doc = doc;
        this.#map = doc.getMap('record');
    }

    /** The creating change: one transaction, so one update. */
    fill(fields) {
        this.doc.transact(() => {
            for (const [field, value] of Object.entries(fields)) {
                this.#map.set(field, value);
            }
        });
    }

    get(field) {
        return this.#map.get(field);
    }

    set(field, value) {
        this.#map.set(field, value);
    }

    onChange(listener) {
        this.#map.observe(listener);
    }
}
