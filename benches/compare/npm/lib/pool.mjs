/**
 * `make` for each of the items, at most `limit` of them at a time; the results in the items' order.
 *
 * @template T, R
 * @param {readonly T[]} items
 * @param {number} limit
 * @param {(item: T) => R | Promise<R>} make
 * @returns {Promise<R[]>}
 */
export async function pooled(items, limit, make) {
    const results = new Array(items.length);
    let next = 0;
    const work = async () => {
        while (next < items.length) {
            const index = next++;
            results[index] = await make(items[index]);
        }
    };
    await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work));
    return results;
}

/** `make` the given number of times, at most `limit` at a time. */
export const pooledTimes = (count, limit, make) => pooled([...Array(count).keys()], limit, make);
