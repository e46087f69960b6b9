use crate::Random;
use crate::intent::{Form, InMemory, Size, play};

/// Edits of a text or a list on devices that are apart: each means what becomes of it.
pub fn intent(data: &[u8]) {
    let [form, devices, items, rounds, edits, seed @ ..] = data else { return };
    let form = Form::ALL[usize::from(*form) % Form::ALL.len()];
    let size = Size {
        items: usize::from(*items) % 60,
        rounds: 1 + usize::from(*rounds) % 3,
        edits: 1 + usize::from(*edits) % 3,
    };
    let seed = seed.iter().fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(*byte));
    let mut devices = InMemory::new(2 + usize::from(*devices) % 2, seed);
    if let Err(broken) = play(&mut devices, form, size, &mut Random::new(seed)) {
        panic!("{form:?}, {size:?}, seed {seed}: {broken}");
    }
}
