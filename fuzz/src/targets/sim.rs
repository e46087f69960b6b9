use crate::{Plan, run};

/// A small world with what the bytes say happening in it: every promise is kept.
pub fn sim(data: &[u8]) {
    let plan = Plan::from_bytes(data);
    if let Err(violation) = run(&plan) {
        panic!("{violation}\nagain: ./dev sim replay \"{plan}\"");
    }
}
