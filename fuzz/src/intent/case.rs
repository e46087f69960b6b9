use super::{Devices, Form, Size, play};
use crate::Random;

/// One case, from its number: all that is random in it follows from that.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number.
    pub number: u64,
    /// How many devices there are.
    pub devices: usize,
    /// What is edited.
    pub form: Form,
    size: Size,
    random: Random,
}

/// The cases that a test plays: `few`, of at most `items_max` items, or as many as `HEADWATER_INTENTS` says, of any size.
///
/// ```
/// use headwater_fuzz::intent::{Form, InMemory, cases};
/// for case in cases(Form::Text, 3, 20) {
///     let mut devices = InMemory::new(case.devices, case.number);
///     case.play(&mut devices);
/// }
/// ```
pub fn cases(form: Form, few: u64, items_max: usize) -> impl Iterator<Item = Case> {
    let (cases, items_max) = asked_for().map_or((few, items_max), |cases| (cases, usize::MAX));
    (0..cases).map(move |number| {
        let mut case = Case::new(number, form);
        case.size.items = case.size.items.min(items_max);
        case
    })
}

/// A text and a list as large as what apps really hold: 200,000 letters, and 20,000 elements. A tenth of that where
/// `HEADWATER_INTENTS` does not ask for more.
pub fn large_cases() -> [Case; 2] {
    let part = if asked_for().is_some() { 1 } else { 10 };
    [(1_000_001, Form::Text, 28_000), (1_000_002, Form::Strings, 20_000)].map(|(number, form, items)| {
        let mut case = Case::new(number, form);
        case.size = Size { items: items / part, rounds: 1, edits: 2 };
        case
    })
}

#[expect(clippy::panic, reason = "a number that is none fails the test")]
fn asked_for() -> Option<u64> {
    let asked = std::env::var("HEADWATER_INTENTS").ok()?;
    Some(asked.parse().unwrap_or_else(|error| panic!("HEADWATER_INTENTS={asked}: {error}")))
}

impl Case {
    fn new(number: u64, form: Form) -> Case {
        let mut random = Random::new(number);
        let devices = 2 + random.below(2);
        let size = Size::from_random(form, &mut random);
        Case { number, devices, form, size, random }
    }

    /// Plays it on as many devices as it asks for.
    ///
    /// # Panics
    /// When an intent is not kept, with the number of the case and what is wrong.
    #[expect(clippy::panic, reason = "the test fails by panicking")]
    pub fn play(mut self, devices: &mut dyn Devices) {
        let Case { number, form, size, .. } = self;
        assert_eq!(devices.len(), self.devices, "case {number} is for another number of devices");
        if let Err(broken) = play(devices, form, size, &mut self.random) {
            panic!("case {number}, {} devices, {form:?}, {size:?}: {broken}", self.devices);
        }
    }
}
