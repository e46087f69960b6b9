//! Edits of two texts and one list whose intents are kept: each word that a device added is there once in the end, and each that it
//! took out is gone. See [`crate::intent`] for the same without a world around it, at any length.

use std::collections::{BTreeMap, BTreeSet};

use headwater::{Collection, EditError, EntityId, Map, Replica, SpaceId, Text, Value};
use serde::{Deserialize, Serialize};

use crate::Random;
use crate::violation::{Promise, Violation};

const COLLECTION: &str = "pages";
/// Every device makes the page on its own, and all of them are the same one.
const PAGE: EntityId = EntityId::from_bytes([9; 16]);
/// What the words of the texts begin with, and no number does.
const SHARED: char = 's';
const DIVIDED: char = 'x';
/// As many words a device begins with, so that there is something between two edits.
const WORDS_FIRST: usize = 12;
/// Longer than this, words are taken out.
const WORDS_MAX: usize = 40;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Page {
    /// Anybody takes out any word, also one that somebody else takes out at the same time. What was written in its place by one can
    /// then rely on a space that the other one took out, and stand against the next word.
    shared: Text,
    /// Each word is taken out by one edit, whatever becomes of that edit. Then a space stays between any two words.
    divided: Text,
    list: Vec<String>,
}

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Shared,
    Divided,
    List,
}

/// What the edits of one device were meant to do. Its words are different in each part of the page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intents {
    pub(crate) added: BTreeSet<String>,
    pub(crate) removed: BTreeSet<String>,
}

impl Intents {
    pub(crate) fn add(&mut self, other: Intents) {
        self.added.extend(other.added);
        self.removed.extend(other.removed);
    }
}

/// One edit, before it is written.
pub(crate) struct WordEdit {
    pub(crate) intents: Intents,
    part: Part,
    /// Where words go and come, from the front: place, how many go, which come.
    steps: Vec<(usize, usize, Vec<String>)>,
    before: Vec<String>,
    seed: u64,
}

/// Thinks of an edit. `None` where the page has to be made first, which this does. `tried` are words that somebody tried to take out.
pub(crate) fn plan(
    replica: &Replica,
    space: SpaceId,
    tried: &BTreeSet<String>,
    random: &mut Random,
) -> Result<Option<WordEdit>, EditError> {
    let pages = replica.space(space).collection::<Page>(COLLECTION)?;
    let Some(page) = pages.get(PAGE)? else {
        pages.insert_with_id(PAGE, &Page::default())?;
        return Ok(None);
    };
    let part = *random.pick(&[Part::Shared, Part::Divided, Part::List]).unwrap_or(&Part::List);
    let (letter, before) = match part {
        Part::Shared => (SHARED, words_of(&page.shared)),
        Part::Divided => (DIVIDED, page.divided.split_whitespace().map(str::to_owned).collect()),
        Part::List => ('l', page.list),
    };
    let mut intents = Intents::default();
    let mut steps = Vec::new();
    let word = |random: &mut Random| format!("{letter}{:016x}", random.bits());
    if before.len() < WORDS_FIRST / 2 {
        let first: Vec<String> = (0..WORDS_FIRST).map(|_| word(random)).collect();
        intents.added.extend(first.iter().cloned());
        steps.push((before.len(), 0, first));
        return Ok(Some(WordEdit { intents, part, steps, before, seed: random.bits() }));
    }
    let mut place = random.below(4);
    while place <= before.len() && steps.len() < 3 {
        // An element of a list that comes where one goes is written into that one, and then one of two can win.
        let goes = random.chance(if before.len() > WORDS_MAX { 80 } else { 30 });
        let mine = before[place..].iter().take_while(|word| part != Part::Divided || !tried.contains(*word));
        let gone = mine.take(if goes { 1 + random.below(2) } else { 0 }).count();
        let comes = gone == 0 || (part != Part::List && random.chance(50));
        let new: Vec<String> =
            (0..if comes { 1 + random.below(2) } else { 0 }).map(|_| word(random)).collect();
        intents.removed.extend(before[place..place + gone].iter().cloned());
        intents.added.extend(new.iter().cloned());
        steps.push((place, gone, new));
        place += gone + 1 + random.below(8);
    }
    Ok(Some(WordEdit { intents, part, steps, before, seed: random.bits() }))
}

/// Writes an edit in one of the ways in which apps do.
pub(crate) fn write(replica: &Replica, space: SpaceId, edit: &WordEdit) -> Result<(), EditError> {
    let random = &mut Random::new(edit.seed);
    let pages = replica.space(space).collection::<Page>(COLLECTION)?;
    match edit.part {
        Part::List => {
            let mut list = edit.before.clone();
            for (place, gone, new) in edit.steps.iter().rev() {
                drop(list.splice(*place..place + gone, new.iter().cloned()));
            }
            if random.chance(50) {
                pages.update(PAGE, |page| page.list.clone_from(&list))?;
            } else {
                let list = Value::List(list.into_iter().map(Value::Str).collect());
                pages.as_dynamic().set(PAGE, Map::from([("list".to_owned(), list)]))?;
            }
        }
        Part::Shared => write_text(&pages, "shared", |page| &mut page.shared, edit, random)?,
        Part::Divided => write_text(&pages, "divided", |page| &mut page.divided, edit, random)?,
    }
    Ok(())
}

/// Edits a text where it changes, or hands over the whole of it.
fn write_text(
    pages: &Collection<Page>,
    name: &str,
    text_of: fn(&mut Page) -> &mut Text,
    edit: &WordEdit,
    random: &mut Random,
) -> Result<(), EditError> {
    let apply = |page: &mut Page| {
        let text = text_of(page);
        for (place, gone, new) in edit.steps.iter().rev() {
            // All letters are of one byte.
            let start_of = |place: usize| edit.before.get(place).and_then(|word| text.find(word.as_str()));
            let position = start_of(*place).unwrap_or(text.len());
            let end = start_of(place + gone).unwrap_or(text.len());
            let new: String = new.iter().flat_map(|word| [word, " "]).collect();
            text.splice(position, end - position, &new);
        }
    };
    if random.chance(40) {
        pages.update(PAGE, apply)?;
    } else {
        let mut page = pages.get(PAGE)?.unwrap_or_default();
        apply(&mut page);
        let whole = Value::Str(text_of(&mut page).to_string());
        pages.as_dynamic().set(PAGE, Map::from([(name.to_owned(), whole)]))?;
    }
    Ok(())
}

/// The words of a text, also where nothing stands between two of them.
fn words_of(text: &str) -> Vec<String> {
    let numbers = text.split(|letter: char| letter == SHARED || letter.is_whitespace());
    numbers.filter(|number| !number.is_empty()).map(|number| format!("{SHARED}{number}")).collect()
}

/// Checks the intents of everybody on a replica that has heard of everything. `tried` are words that somebody tried to take out, whether
/// or not the disk let it.
pub(crate) fn check<'a>(
    replica: &Replica,
    space: SpaceId,
    intents: impl Iterator<Item = &'a Intents>,
    tried: &BTreeSet<String>,
) -> Result<(), Violation> {
    let pages = replica.space(space).collection::<Page>(COLLECTION).map_err(Violation::failed("open"))?;
    let page = pages.get(PAGE).map_err(Violation::failed("read"))?.unwrap_or_default();
    // word -> how often it is there.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let shared = words_of(&page.shared);
    let whole = shared.iter().chain(&page.list).map(String::as_str);
    for word in whole.chain(page.divided.split_whitespace()) {
        *counts.entry(word).or_default() += 1;
    }
    for intents in intents {
        for word in &intents.removed {
            let is_gone = !counts.contains_key(word.as_str());
            Promise::IntentIsKept.hold(is_gone, || format!("{word} was taken out, and is in {page:?}"))?;
        }
        for word in intents.added.iter().filter(|word| !tried.contains(*word)) {
            let count = counts.get(word.as_str()).copied().unwrap_or(0);
            Promise::IntentIsKept.hold(count == 1, || format!("{word} is {count} times in {page:?}"))?;
        }
    }
    Ok(())
}
