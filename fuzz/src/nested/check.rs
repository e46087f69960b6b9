//! What must have become of everybody's edits.

use std::collections::{BTreeMap, BTreeSet};

use headwater::{Map, Value};

use super::author::{Act, Intent};
use super::tree::{self, Kind, Leaf, Path, Step};

/// Everything that anybody meant.
struct Meant<'a> {
    intents: &'a [&'a Intent],
    /// What each device made the entity with, if each did.
    apart: Option<&'a [Map]>,
    /// What was there before, and what was made: each once for everybody who made it.
    leaves: Vec<(Path, Leaf)>,
    /// What was there before alone.
    base: Vec<(Path, Leaf)>,
}

/// Whether the edits of a round came to what their authors meant.
pub(super) fn intents(
    before: &Map,
    apart: Option<&[Map]>,
    intents: &[&Intent],
    met: &Map,
) -> Result<(), String> {
    let mut base = Vec::new();
    match apart {
        None => base = tree::leaves(before)?,
        Some(begun) => {
            let mut seen = BTreeSet::new();
            for fields in begun {
                for (path, leaf) in tree::leaves(fields)? {
                    if seen.insert((path.clone(), format!("{leaf:?}"))) {
                        base.push((path, leaf));
                    }
                }
            }
        }
    }
    let mut leaves = base.clone();
    for intent in intents {
        match &intent.act {
            Act::Make(made) => leaves.extend(made.iter().cloned()),
            Act::Add(word) => leaves.push((intent.path.clone(), Leaf::Word(word.clone()))),
            Act::Set(word) => leaves.push((intent.path.clone(), Leaf::Scalar(word.clone()))),
            Act::Count(by) => leaves.push((intent.path.clone(), Leaf::Count(*by))),
            Act::AddKey(key) => leaves.push((intent.path.clone(), Leaf::Key(*key))),
            Act::Switch(case) => leaves.push((intent.path.clone(), Leaf::Case(case.clone()))),
            Act::Remove(_) | Act::Unset | Act::RemoveKey(_) => {}
        }
    }
    let meant = Meant { intents, apart, leaves, base };
    let found = tree::leaves(met)?;
    let checked = meant
        .words(&found)
        .and_then(|()| meant.registers(&found))
        .and_then(|()| meant.counts(&found))
        .and_then(|()| meant.keys(&found))
        .and_then(|()| meant.gone(&found));
    checked.map_err(|broken| format!("{broken}; before {before:?}, intents {intents:?}, met {met:?}"))
}

impl Meant<'_> {
    /// Each word is there once, unless it was taken out. Those that were there before keep their order.
    fn words(&self, found: &[(Path, Leaf)]) -> Result<(), String> {
        let mut there: BTreeMap<(&Path, &str), usize> = BTreeMap::new();
        for (path, leaf) in found {
            if let Leaf::Word(word) = leaf {
                *there.entry((path, word)).or_default() += 1;
            }
        }
        let mut wanted: BTreeMap<(&Path, &str), bool> = BTreeMap::new();
        for (path, leaf) in &self.leaves {
            if let Leaf::Word(word) = leaf {
                let is_removed = self.intents.iter().any(|intent| {
                    intent.path == *path && matches!(&intent.act, Act::Remove(removed) if removed == word)
                });
                wanted.insert((path, word), is_removed);
            }
        }
        if let Some(odd) = there.keys().find(|place| !wanted.contains_key(*place)) {
            return Err(format!("nobody wrote {odd:?}"));
        }
        for ((path, word), is_removed) in wanted {
            let count = there.get(&(path, word)).copied().unwrap_or(0);
            // An earlier round can have left several.
            let had =
                self.base.iter().filter(|(at, leaf)| at == path && *leaf == Leaf::Word(word.to_owned()));
            let most = self.copies(path).max(had.count());
            if most > 1 && is_removed {
                continue;
            }
            let least = usize::from(!is_removed && !self.is_taken(path));
            let most = if is_removed { 0 } else { most };
            if count < least || count > most {
                return Err(format!("{word} is there {count} times at {path:?}, not {least} to {most}"));
            }
        }
        if self.apart.is_none() {
            let order = |leaves: &[(Path, Leaf)]| -> Vec<String> {
                let words = leaves.iter().filter(|(_, leaf)| matches!(leaf, Leaf::Word(_)));
                words.map(|place| format!("{place:?}")).collect()
            };
            let (held, had) = (order(found), order(&self.base));
            // Of several equal ones nobody can say which is which.
            let is_one = |word: &&String| had.iter().filter(|other| other == word).count() == 1;
            let kept: Vec<&String> = held.iter().filter(is_one).collect();
            let expected: Vec<&String> =
                had.iter().filter(is_one).filter(|word| held.contains(word)).collect();
            let sorted = |mut words: Vec<&String>| {
                // By their place alone: lists are read in the order of their names.
                words.sort_by_key(|word| word.split("Word").next().map(str::to_owned));
                words.into_iter().cloned().collect::<Vec<_>>()
            };
            if sorted(kept.clone()) != sorted(expected.clone()) {
                return Err(format!("{kept:?} stood in the order {expected:?}"));
            }
        }
        Ok(())
    }

    /// A scalar is what somebody set it to, a case one that somebody chose, and what nobody touched is what it was.
    fn registers(&self, found: &[(Path, Leaf)]) -> Result<(), String> {
        let is_register = |leaf: &Leaf| matches!(leaf, Leaf::Scalar(_) | Leaf::Case(_));
        let paths: BTreeSet<&Path> =
            self.leaves.iter().filter(|(_, leaf)| is_register(leaf)).map(|(path, _)| path).collect();
        for path in paths {
            if self.is_taken(path) || self.copies(path) > 1 || self.is_doubled(path) {
                continue;
            }
            let at = |leaves: &[(Path, Leaf)]| -> Vec<Leaf> {
                let here = leaves.iter().filter(|(at, leaf)| at == path && is_register(leaf));
                here.map(|(_, leaf)| leaf.clone()).collect()
            };
            let (now, set) = (at(found), at(&self.leaves[self.base.len()..]));
            let allowed = if set.is_empty() || self.apart.is_some() { at(&self.leaves) } else { set };
            if now.len() != 1 || !allowed.contains(&now[0]) {
                return Err(format!("{now:?} stands at {path:?}, not one of {allowed:?}"));
            }
        }
        Ok(())
    }

    /// Counters add up.
    fn counts(&self, found: &[(Path, Leaf)]) -> Result<(), String> {
        let mut sums: BTreeMap<&Path, i64> = BTreeMap::new();
        for (path, leaf) in &self.leaves {
            if let Leaf::Count(count) = leaf {
                *sums.entry(path).or_default() += count;
            }
        }
        for (path, sum) in sums {
            let is_loose = self.copies(path) > 1 && path.len() > self.container(path).len();
            if self.is_taken(path) || is_loose || self.is_doubled(path) {
                continue;
            }
            let now = found.iter().find(|(at, leaf)| at == path && matches!(leaf, Leaf::Count(_)));
            if now.is_none_or(|(_, leaf)| *leaf != Leaf::Count(sum)) {
                return Err(format!("{now:?} is counted at {path:?}, not {sum}"));
            }
        }
        Ok(())
    }

    /// A key is there once, unless somebody removed it and nobody added it.
    fn keys(&self, found: &[(Path, Leaf)]) -> Result<(), String> {
        let keys_at = |leaves: &[(Path, Leaf)]| -> BTreeMap<(Path, i64), usize> {
            let mut keys = BTreeMap::new();
            for (path, leaf) in leaves {
                if let Leaf::Key(key) = leaf {
                    *keys.entry((path.clone(), *key)).or_default() += 1;
                }
            }
            keys
        };
        let (there, wanted) = (keys_at(found), keys_at(&self.leaves));
        let added = keys_at(&self.leaves[self.base.len()..]);
        // A record that each device began the entity with is there once for each, with the list in it.
        let is_copied = |path: &Path| {
            let is_record = path.iter().any(|step| matches!(step, Step::Named(_)));
            self.is_doubled(path) || is_record && self.copies(path) > 1
        };
        let is_odd = |((path, key), count): &(&(Path, i64), &usize)| {
            **count > 1 && !is_copied(path) || !wanted.contains_key(&(path.clone(), *key))
        };
        if let Some((place, count)) = there.iter().find(is_odd) {
            return Err(format!("the key {place:?} is there {count} times"));
        }
        for place in wanted.keys() {
            let (path, key) = place;
            let is_removed = self.intents.iter().any(|intent| {
                intent.path == *path && matches!(intent.act, Act::RemoveKey(removed) if removed == *key)
            });
            let is_there = there.contains_key(place);
            let may_be = !is_removed || added.contains_key(place) || self.copies(path) > 1;
            let must_be = !is_removed && !self.is_taken(path);
            if is_there && !may_be || !is_there && must_be {
                return Err(format!("the key {place:?} is there: {is_there}"));
            }
        }
        Ok(())
    }

    /// What one device took out, and no other one touched, is gone.
    fn gone(&self, found: &[(Path, Leaf)]) -> Result<(), String> {
        if self.apart.is_some() {
            return Ok(());
        }
        for (at, intent) in self.intents.iter().enumerate() {
            let is_inside = |other: &&&Intent| other.path.starts_with(&intent.path);
            let is_last = !self.intents[at + 1..].iter().any(|other| is_inside(&other));
            let is_alone = self.intents.iter().filter(is_inside).all(|other| other.device == intent.device);
            if matches!(intent.act, Act::Unset)
                && !self.is_doubled(&intent.path)
                && is_last
                && is_alone
                && found.iter().any(|(path, _)| path.starts_with(&intent.path))
            {
                return Err(format!("{:?} was taken out, and is there", intent.path));
            }
        }
        Ok(())
    }

    /// Whether somebody took out what is at a path, or something around it, or put something else there.
    fn is_taken(&self, path: &Path) -> bool {
        let around = |outer: &Path, step: &Step| {
            path.starts_with(outer) && path.get(outer.len()).is_some_and(|inner| inner == step)
        };
        let is_taken = self.intents.iter().any(|intent| match &intent.act {
            Act::Unset => path.starts_with(&intent.path),
            Act::RemoveKey(key) => around(&intent.path, &Step::Key(*key)),
            Act::Remove(name) => around(&intent.path, &Step::Named(name.clone())),
            Act::Switch(_) => path.len() > intent.path.len() && path.starts_with(&intent.path),
            _ => false,
        });
        let cases_made = |outer: &[Step]| {
            let made = self.leaves.iter().filter(|(at, leaf)| at == outer && matches!(leaf, Leaf::Case(_)));
            made.count()
        };
        let is_of_a_lost_case =
            (0..path.len()).any(|at| matches!(path[at], Step::Case(_)) && cases_made(&path[..at]) > 1);
        // Of two tuples that are made apart, one is there as a whole.
        is_taken || is_of_a_lost_case
    }

    /// Whether an earlier round left two records of one name around a path.
    fn is_doubled(&self, path: &Path) -> bool {
        (0..path.len()).any(|at| {
            let Step::Named(name) = &path[at] else { return false };
            let is_it =
                |(outer, leaf): &&(Path, Leaf)| outer[..] == path[..at] && *leaf == Leaf::Word(name.clone());
            self.base.iter().filter(is_it).count() > 1
        })
    }

    /// How often what is at a path may be there: as often as devices made the entity with another container around it.
    fn copies(&self, path: &Path) -> usize {
        let Some(begun) = self.apart else { return 1 };
        let container = self.container(path);
        let mut held: Vec<&Value> = Vec::new();
        for fields in begun {
            let mut value = None;
            let mut fields = Some(fields);
            for step in container {
                let Step::Field(name) = step else { break };
                value = fields.and_then(|fields| fields.get(name));
                fields = value.and_then(Value::as_map);
            }
            if let Some(value) = value.filter(|value| !held.contains(value)) {
                held.push(value);
            }
        }
        held.len().max(1)
    }

    /// The path of the outermost container around a path that is no map.
    fn container<'p>(&self, path: &'p Path) -> &'p [Step] {
        let is_map = |step: &Step| match step {
            Step::Field(name) => tree::kind_of(name) == Some(Kind::Map),
            _ => false,
        };
        let maps = path.iter().take_while(|step| is_map(step)).count();
        &path[..(maps + 1).min(path.len())]
    }
}
