use automerge::Automerge;
use headwater::document::{Alarm, Document, examine};
use headwater::ingest::{ChangeLimits, IngestError, check_change};
use headwater_fuzz::{Random, hostile};

use crate::honest;

/// What became of the mutants.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    checked: u64,
    waiting: u64,
    not_applied: u64,
    panicked: u64,
    applied: u64,
    harmful: u64,
    alarms: u64,
}

#[test]
fn no_mutant_gets_past_ingest_and_examination() {
    // Would let one change take a process down, or make an entity unloadable without anybody knowing.
    let count =
        std::env::var("HEADWATER_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(3_000u64);
    let limits = ChangeLimits::default();
    let mut tally = Tally::default();
    let histories: Vec<_> = (0..24).map(honest::history).collect();
    std::panic::set_hook(Box::new(|_| ()));
    for number in 0..count {
        let random = &mut Random::new(number);
        let Some(history) = random.pick(&histories) else { continue };
        let at = random.below(history.len());
        let mutant = hostile::mutate(random, &history[at]);
        let checked = match check_change(&mutant, &limits) {
            Ok(checked) => checked,
            Err(_) => {
                tally.refused += 1;
                continue;
            }
        };
        tally.checked += 1;
        // The entity as it was when the genuine change was made.
        let before = &history[..at];
        let mut document = Document::from_changes(before.iter().cloned()).unwrap();
        let hash = checked.hash();
        match document.apply_checked(vec![checked]) {
            Err(IngestError::EnginePanicked) => tally.panicked += 1,
            Err(_) => tally.not_applied += 1,
            Ok(()) if document.waiting_len() > 0 => tally.waiting += 1,
            Ok(()) => tally.applied += 1,
        }
        let mut all: Vec<_> = before
            .iter()
            .map(|change| (check_change(change, &limits).unwrap().hash(), change.clone()))
            .collect();
        all.push((hash, mutant));
        let examined = examine(all);
        assert!(
            examined.culprits.iter().all(|culprit| culprit.hash() == hash),
            "an honest change is left out"
        );
        assert_ne!(examined.alarm, Some(Alarm::LooksDiffer), "one input, and two findings");
        tally.harmful += u64::from(!examined.culprits.is_empty());
        tally.alarms += u64::from(examined.alarm.is_some());
        if let Some(snapshot) = examined.snapshot {
            let again = Automerge::load(&snapshot).unwrap();
            assert_eq!(again.get_heads().len(), examined.heads.len(), "seed {number}");
        }
    }
    let _ours = std::panic::take_hook();
    println!("{count} mutants: {tally:?}");
    assert!(tally.refused > count / 2, "the mutants are too tame: {tally:?}");
    assert!(count < 3_000 || tally.applied > 0, "nothing gets as far as the engine: {tally:?}");
}
