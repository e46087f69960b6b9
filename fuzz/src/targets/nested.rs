use crate::nested::{Orders, play};

/// Entities with every kind of container, edited apart: each edit means what becomes of it.
pub fn nested(data: &[u8]) {
    let seed = data.iter().take(8).fold(0, |seed: u64, byte| seed << 8 | u64::from(*byte));
    if let Err(broken) = play(seed, Orders::Some) {
        panic!("case {seed}: {broken}");
    }
}
