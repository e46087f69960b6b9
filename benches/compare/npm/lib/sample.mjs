// Records like those of the dataset, for the self-test.

const words = (record, field, count) => Array.from({ length: count }, (_, word) => {
    // Distinct six letter words that follow from the numbers alone.
    let bits = ((record * 31 + field) * 131 + word + 1) * 2_654_435_761 % 308_915_776;
    let letters = '';
    for (let letter = 0; letter < 6; letter++) {
        letters += String.fromCharCode(97 + (bits % 26));
        bits = Math.floor(bits / 26);
    }
    return letters;
}).join(' ');

/** A record of 14 scalar fields, about 1 KB, and its five edits. */
export function sampleRecord(record) {
    const texts = { name: 3, roaster: 3, origin: 1, region: 3, farm: 4, variety: 2, process: 2, notes: 101 };
    const fields = {
        ...Object.fromEntries(Object.entries(texts).map(([name, count], field) => [name, words(record, field, count)])),
        roasted_on: '2026-03-14',
        altitude_m: 900 + record,
        weight_g: 250,
        price: 9.25 + record,
        rating: 3.5,
        decaf: record % 20 === 0,
    };
    const edits = [
        { rating: fields.rating + 0.05 },
        { price: fields.price + 1.25 },
        { weight_g: fields.weight_g - 18 },
        { altitude_m: fields.altitude_m + 1 },
        { decaf: !fields.decaf },
    ];
    return { fields, edits };
}
