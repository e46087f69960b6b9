//! A failing plan, made as short as it can be while it still breaks the same promise.

use crate::campaign::run_caught;
use crate::{Plan, Violation};

/// Leaves out steps, replicas, relays and spaces as long as the same promise is broken: first halves, then ever smaller pieces,
/// down to single steps (delta debugging; Zeller and Hildebrandt 2002). At most `runs_max` worlds are run for it.
///
/// `None` if the plan breaks no promise.
///
/// ```
/// use headwater_fuzz::{Plan, shrink::shrink};
/// assert_eq!(shrink(&Plan::calm(1, 2), 10), None);
/// ```
pub fn shrink(plan: &Plan, runs_max: usize) -> Option<(Plan, Violation)> {
    let mut violation = run_caught(plan).err()?;
    let mut plan = plan.clone();
    let mut runs = 1;
    let mut attempt = |candidate: Plan, plan: &mut Plan| {
        if runs >= runs_max {
            return false;
        }
        runs += 1;
        match run_caught(&candidate) {
            Err(found) if found.promise == violation.promise => {
                (*plan, violation) = (candidate, found);
                true
            }
            _ => false,
        }
    };
    let mut piece = plan.steps.len().div_ceil(2);
    while piece > 0 {
        let mut start = 0;
        let mut shorter = false;
        while start < plan.steps.len() {
            let mut candidate = plan.clone();
            candidate.steps.drain(start..(start + piece).min(candidate.steps.len()));
            if attempt(candidate, &mut plan) {
                shorter = true;
            } else {
                start += piece;
            }
        }
        if piece > 1 || !shorter {
            piece /= 2;
        }
    }
    let fewer: [fn(&mut Plan) -> &mut usize; 3] =
        [|plan| &mut plan.replicas, |plan| &mut plan.relays, |plan| &mut plan.spaces];
    for field in fewer {
        loop {
            let mut candidate = plan.clone();
            let count = field(&mut candidate);
            *count -= 1;
            if *count == 0 || !attempt(candidate, &mut plan) {
                break;
            }
        }
    }
    Some((plan, violation))
}
