use std::collections::{HashMap, HashSet};

use super::item::text_of;
use super::{Form, Item};
use crate::Random;

/// What one device has, and what its edits were meant to do.
#[derive(Clone, Debug)]
pub struct Author {
    /// Everything that it shows, in order.
    pub items: Vec<Item>,
    /// The words of what it took out.
    pub removed: Vec<String>,
    /// word -> what it made of the number of that record.
    pub changed: HashMap<String, i64>,
    /// The words that it inserted, run by run, by edits that took nothing out: where a text is handed over whole, what stands between
    /// removed words can be taken for what stands between new ones.
    runs: Vec<Vec<String>>,
    /// How many items there were before its edits.
    base: usize,
}

/// One edit: what the device had before, has after it, and what stands between them.
#[derive(Clone, Debug)]
pub struct Edit {
    /// All items before it.
    pub before: Vec<Item>,
    /// All items after it.
    pub after: Vec<Item>,
    /// Where letters of the text went and came, in characters: position, how many went, what came. Each holds when the ones before it are
    /// done.
    pub splices: Vec<(usize, usize, String)>,
}

impl Author {
    pub(crate) fn new(items: &[Item]) -> Author {
        let (removed, changed) = (Vec::new(), HashMap::new());
        Author { items: items.to_vec(), removed, changed, runs: Vec::new(), base: items.len() }
    }

    /// Makes a few changes at once. What is there already is changed or removed by one author only: `place` says which of how many this
    /// one is.
    pub(crate) fn edit(
        &mut self,
        form: Form,
        place: (usize, usize),
        next: &mut u64,
        random: &mut Random,
    ) -> Edit {
        let before = self.items.clone();
        let (removed, runs) = (self.removed.len(), self.runs.len());
        let mut splices = Vec::new();
        // A person changes part of what is there. Of a text that is handed over rewritten nobody can say which word became which.
        let most = if random.chance(10) { 1 + (self.items.len() / 4).min(100) } else { 4 };
        for _ in 0..1 + random.below(most) {
            let at = random.below(self.items.len() + 1);
            let is_own = self.items.get(at).is_some_and(|item| is_of(place, item));
            match random.below(10) {
                0..5 => {
                    let run: Vec<Item> = (0..1 + random.below(3)).map(|_| Item::new(next, random)).collect();
                    self.replace(at, 0, run, &mut splices);
                }
                5 if is_own => {
                    let len = self.items[at..].iter().take(4).take_while(|item| is_of(place, item)).count();
                    self.replace(at, 1 + random.below(len), Vec::new(), &mut splices);
                }
                6 if is_own => {
                    let new = Item::new(next, random);
                    self.replace(at, 1, vec![new], &mut splices);
                }
                7 if is_own && form == Form::Text => self.correct(at, &mut splices),
                7..10 if is_own && form == Form::Records => {
                    let item = &mut self.items[at];
                    item.number = 1 + random.below(1_000_000) as i64;
                    self.changed.insert(item.word.clone(), item.number);
                }
                _ => {}
            }
        }
        if self.removed.len() > removed {
            self.runs.truncate(runs);
        }
        Edit { before, after: self.items.clone(), splices }
    }

    fn replace(&mut self, at: usize, len: usize, new: Vec<Item>, splices: &mut Vec<(usize, usize, String)>) {
        let position = text_of(&self.items[..at]).chars().count();
        let deleted = text_of(&self.items[at..at + len]).chars().count();
        splices.push((position, deleted, text_of(&new)));
        if !new.is_empty() {
            self.runs.push(new.iter().map(|item| item.word.clone()).collect());
        }
        let gone = self.items.splice(at..at + len, new);
        self.removed.extend(gone.map(|item| item.word));
    }

    /// Puts a letter into a word, as who corrects a misspelling does.
    fn correct(&mut self, at: usize, splices: &mut Vec<(usize, usize, String)>) {
        let position = text_of(&self.items[..at]).chars().count() + 1;
        let item = &mut self.items[at];
        self.removed.push(item.word.clone());
        let behind_first = item.word.char_indices().nth(1).map_or(item.word.len(), |(index, _)| index);
        item.word.insert(behind_first, 'q');
        splices.push((position, 0, "q".to_owned()));
    }

    /// The runs that are still as they were inserted.
    pub(super) fn unbroken_runs<'a>(&'a self, removed: &HashSet<&str>) -> Vec<Vec<&'a str>> {
        let words: Vec<&str> = self.items.iter().map(|item| item.word.as_str()).collect();
        let is_whole = |run: &Vec<String>| {
            let start = words.iter().position(|word| *word == run[0]);
            let here = start.and_then(|start| words.get(start..start + run.len()));
            here.is_some_and(|here| here.iter().zip(run).all(|(a, b)| a == b))
                && !run.iter().any(|word| removed.contains(word.as_str()))
        };
        // Looking each run up takes long where there are many items.
        let few = self.runs.iter().take(if self.base > 2_000 { 4 } else { usize::MAX });
        few.filter(|run| is_whole(run)).map(|run| run.iter().map(String::as_str).collect()).collect()
    }
}

/// Whether an item is one that this author changes: which one follows from its word.
fn is_of((author, authors): (usize, usize), item: &Item) -> bool {
    let first: u32 = item.word.chars().filter(|letter| *letter != 'q').map(u32::from).sum();
    first as usize % authors == author
}
