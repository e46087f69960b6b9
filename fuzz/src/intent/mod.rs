//! Edits of texts and lists whose authors' intents are known, and what must have become of them once all devices have met.
//!
//! That replicas agree says nothing about what they agree on. Here each device keeps a list of its own beside the replica, edits that,
//! and hands it over in one of the ways in which apps and people do. Afterwards, what anybody added is there once, what anybody removed
//! is gone, what anybody changed is changed, and all that a device ever saw stands in the order in which the device saw it.
//!
//! 1. [`Item`]: a word of a text, a string of a list, or a record of one. [`Form`]: which of them.
//! 2. [`Author`]: what one device has, and what its edits were meant to do.
//! 3. [`Devices`]: who writes, merges and reads. [`play`]: one case of any size. [`cases`]: those that a test plays.

mod author;
mod case;
mod item;
mod memory;

pub use author::{Author, Edit};
pub use case::{Case, cases, large_cases};
pub use item::{Form, Item};
pub use memory::InMemory;

use std::collections::{HashMap, HashSet};

use headwater::{Map, Value};

use crate::Random;

/// The field that is edited.
pub const FIELD: &str = "body";

/// Those who write, merge and read in a case.
pub trait Devices {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the entity on the first device, and brings it to the others.
    fn create(&mut self, fields: Map);

    /// Writes one edit of a device, in whichever way the random numbers choose.
    fn write(&mut self, device: usize, form: Form, edit: &Edit, random: &mut Random);

    /// Brings everything to everybody, in any order.
    fn meet(&mut self, random: &mut Random);

    /// The field as a device shows it, and whether everybody agrees is compared.
    fn read(&mut self, device: usize) -> Value;
}

/// How large a case is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Items at the beginning.
    pub items: usize,
    /// Rounds of edits apart, each of which ends with a meeting.
    pub rounds: usize,
    /// Edits of each device in a round.
    pub edits: usize,
}

impl Size {
    /// Mostly small, and now and then as large as what apps really hold: 200,000 letters, or 20,000 elements.
    pub fn from_random(form: Form, random: &mut Random) -> Size {
        let most = match form {
            Form::Text => 28_000,
            Form::Strings | Form::Records => 20_000,
        };
        let items = match random.below(1_000) {
            0..2 => most,
            2..12 => 2_000 + random.below(most - 2_000),
            12..120 => 100 + random.below(1_500),
            _ => random.below(60),
        };
        let rounds = 1 + random.below(if items > 2_000 { 1 } else { 3 });
        Size { items, rounds, edits: 1 + random.below(4) }
    }
}

/// Plays one case, and says what is wrong with how it ended.
///
/// # Errors
/// The first intent that was not kept, in words.
///
/// ```
/// use headwater_fuzz::Random;
/// use headwater_fuzz::intent::{Form, InMemory, Size, play};
/// let size = Size { items: 20, rounds: 2, edits: 2 };
/// play(&mut InMemory::new(2, 7), Form::Text, size, &mut Random::new(7)).unwrap();
/// ```
pub fn play(devices: &mut dyn Devices, form: Form, size: Size, random: &mut Random) -> Result<(), String> {
    let mut next = 0;
    let mut items: Vec<Item> = (0..size.items).map(|_| Item::new(&mut next, random)).collect();
    devices.create(Map::from([(FIELD.to_owned(), form.render(&items))]));
    for _ in 0..size.rounds {
        let mut authors: Vec<Author> = (0..devices.len()).map(|_| Author::new(&items)).collect();
        for (device, author) in authors.iter_mut().enumerate() {
            for _ in 0..1 + random.below(size.edits) {
                let edit = author.edit(form, (device, devices.len()), &mut next, random);
                devices.write(device, form, &edit, random);
                let shown = form.parse(&devices.read(device))?;
                same_items("a device right after its edit", &author.items, &shown)?;
            }
        }
        devices.meet(random);
        let shown = form.parse(&devices.read(0))?;
        for device in 1..devices.len() {
            same_items("two devices that have met", &shown, &form.parse(&devices.read(device))?)?;
        }
        items = kept(form, &items, &authors, &shown)?;
    }
    Ok(())
}

fn same_items(who: &str, expected: &[Item], found: &[Item]) -> Result<(), String> {
    // What stands between words is nobody's in particular where two meet.
    let is_same = |(a, b): &(&Item, &Item)| a.word == b.word && a.number == b.number;
    let at = expected.iter().zip(found).take_while(is_same).count();
    if at == expected.len() && at == found.len() {
        return Ok(());
    }
    let near = |items: &[Item]| format!("{:?}", &items[at.saturating_sub(2)..items.len().min(at + 5)]);
    Err(format!("{who}: from {at} on {} should be {}", near(found), near(expected)))
}

/// Checks everybody's intents, and returns what there is now.
fn kept(form: Form, before: &[Item], authors: &[Author], found: &[Item]) -> Result<Vec<Item>, String> {
    let removed: HashSet<&str> =
        authors.iter().flat_map(|author| author.removed.iter().map(String::as_str)).collect();
    // word -> the number of its record.
    let mut expected: HashMap<&str, i64> = HashMap::new();
    for item in before.iter().chain(authors.iter().flat_map(|author| &author.items)) {
        expected.entry(&item.word).or_insert(item.number);
    }
    let changed = authors.iter().flat_map(|author| &author.changed);
    expected.extend(changed.map(|(word, number)| (word.as_str(), *number)));
    expected.retain(|word, _| !removed.contains(word));
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, item) in found.iter().enumerate() {
        if removed.contains(item.word.as_str()) {
            return Err(format!("{} was removed, and is there", item.word));
        }
        let Some(wanted) = expected.get(item.word.as_str()) else {
            return Err(format!("nobody wrote {:?}", item.word));
        };
        if form == Form::Records && *wanted != item.number {
            return Err(format!("{wanted} was written, and {item:?} is there"));
        }
        if places.insert(&item.word, place).is_some() {
            return Err(format!("{} is there twice", item.word));
        }
    }
    if let Some(lost) = expected.keys().find(|word| !places.contains_key(**word)) {
        return Err(format!("{lost} is lost"));
    }
    for author in authors {
        let seen: Vec<usize> =
            author.items.iter().filter_map(|item| places.get(item.word.as_str()).copied()).collect();
        if let Some(at) = seen.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(format!("an author saw {:?} in another order", &author.items[at..at + 2]));
        }
        // In a list, what takes the place of an element that goes can be written into that element.
        let runs = if form == Form::Text { author.unbroken_runs(&removed) } else { Vec::new() };
        for run in runs {
            let places: Vec<usize> = run.iter().filter_map(|word| places.get(*word).copied()).collect();
            if places.windows(2).any(|pair| pair[1] != pair[0] + 1) {
                return Err(format!("{run:?} was inserted as one, and is broken up"));
            }
        }
    }
    Ok(found.to_vec())
}
