//! The edits of one device, on what it has, and what each of them is meant to do.

use headwater::{Map, Value};

use super::tree::{self, CASES, DEPTH_MAX, KEY, KEYS, Kind, Leaf, NAMES, Path, Step};
use crate::Random;

/// What one edit is meant to do.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) device: usize,
    pub(super) path: Path,
    pub(super) act: Act,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    /// All of this is new.
    Make(Vec<(Path, Leaf)>),
    /// This word is to be there.
    Add(String),
    /// This word is to go. What is inside of a record of this name goes with it.
    Remove(String),
    Count(i64),
    Set(String),
    /// All that is at the path is to go.
    Unset,
    AddKey(i64),
    RemoveKey(i64),
    /// Another case takes the place of the one that is there.
    Switch(String),
}

pub(super) struct Author {
    device: usize,
    pub(super) intents: Vec<Intent>,
}

impl Author {
    /// As many as there are devices, none of which has done anything yet.
    pub(super) fn each(count: usize) -> Vec<Author> {
        (0..count).map(|device| Author { device, intents: Vec::new() }).collect()
    }

    /// Edits something, anywhere.
    pub(super) fn edit(&mut self, fields: &mut Map, next: &mut u64, random: &mut Random) {
        self.in_map(fields, &mut Vec::new(), 1, true, next, random);
    }

    /// Adds something, anywhere: nothing that is there goes.
    pub(super) fn add(&mut self, fields: &mut Map, next: &mut u64, random: &mut Random) {
        self.in_map(fields, &mut Vec::new(), 1, false, next, random);
    }

    fn note(&mut self, path: &Path, act: Act) {
        self.intents.push(Intent { device: self.device, path: path.clone(), act });
    }

    fn in_map(
        &mut self,
        fields: &mut Map,
        path: &mut Path,
        depth: usize,
        may_remove: bool,
        next: &mut u64,
        random: &mut Random,
    ) {
        let (name, kind) = NAMES[random.below(NAMES.len())];
        let is_leaf = matches!(kind, Kind::Scalar | Kind::Text | Kind::Counter | Kind::Strings | Kind::Tuple);
        if depth >= DEPTH_MAX && !is_leaf {
            return;
        }
        path.push(Step::Field(name.to_owned()));
        match fields.get_mut(name) {
            None => {
                let value = tree::value(kind, depth, next, random);
                self.note(path, Act::Make(tree::leaves_of(kind, &value, path)));
                fields.insert(name.to_owned(), value);
            }
            Some(_) if may_remove && random.chance(8) => {
                fields.remove(name);
                self.note(path, Act::Unset);
            }
            Some(value) => self.in_value(kind, value, path, depth, may_remove, next, random),
        }
        path.pop();
    }

    #[expect(clippy::too_many_arguments, reason = "where it is, and what it may do there")]
    fn in_value(
        &mut self,
        kind: Kind,
        value: &mut Value,
        path: &mut Path,
        depth: usize,
        may_remove: bool,
        next: &mut u64,
        random: &mut Random,
    ) {
        let removes = may_remove && random.chance(30);
        match (kind, value) {
            (Kind::Scalar, value) => {
                let word = tree::word(next);
                *value = word.as_str().into();
                self.note(path, Act::Set(word));
            }
            (Kind::Counter, Value::Counter(count)) => {
                let by = random.below(9) as i64 - 4;
                *count += by;
                self.note(path, Act::Count(by));
            }
            (Kind::Tuple, Value::Tuple(places)) => {
                let (at, word) = (random.below(places.len()), tree::word(next));
                places[at] = word.as_str().into();
                path.push(Step::At(at));
                self.note(path, Act::Set(word));
                path.pop();
            }
            (Kind::Text, Value::Text(text)) => {
                let words: Vec<String> = text.as_str().split_whitespace().map(str::to_owned).collect();
                let at = random.below(words.len() + 1);
                let position: usize = words[..at].iter().map(|word| word.chars().count() + 1).sum();
                match words.get(at).filter(|_| removes) {
                    Some(word) => {
                        text.delete(position, word.chars().count() + 1);
                        self.note(path, Act::Remove(word.clone()));
                    }
                    None => {
                        let word = tree::word(next);
                        text.insert(position, &format!("{word} "));
                        self.note(path, Act::Add(word));
                    }
                }
            }
            (Kind::Strings, Value::List(items)) => {
                let at = random.below(items.len() + 1);
                if removes && at < items.len() {
                    let word = items.remove(at).as_str().unwrap_or_default().to_owned();
                    self.note(path, Act::Remove(word));
                } else {
                    let word = tree::word(next);
                    items.insert(at, word.as_str().into());
                    self.note(path, Act::Add(word));
                }
            }
            (Kind::Records, Value::List(items)) => {
                let at = random.below(items.len() + 1);
                let name = items.get(at).and_then(|item| Some(item.as_map()?.get(KEY)?.as_str()?.to_owned()));
                match (name, items.get_mut(at)) {
                    (Some(name), _) if removes => {
                        items.remove(at);
                        self.note(path, Act::Remove(name));
                    }
                    (Some(name), Some(Value::Map(record))) => {
                        path.push(Step::Named(name));
                        self.in_map(record, path, depth + 1, may_remove, next, random);
                        path.pop();
                    }
                    _ => {
                        let record = tree::record(depth + 1, next, random);
                        let name =
                            record.as_map().and_then(|record| record[KEY].as_str()).unwrap_or_default();
                        self.note(path, Act::Add(name.to_owned()));
                        path.push(Step::Named(name.to_owned()));
                        self.note(path, Act::Make(tree::leaves_in(&record, path)));
                        path.pop();
                        items.push(record);
                    }
                }
            }
            (Kind::Keyed, Value::Keyed(_, items)) => {
                self.in_keyed(items, path, depth, may_remove, next, random);
            }
            (Kind::Map, Value::Map(fields)) => {
                self.in_map(fields, path, depth + 1, may_remove, next, random);
            }
            (Kind::Variant, value) => {
                let (Value::Variant(held, _) | Value::Str(held)) = &*value else { return };
                let held = held.clone();
                if removes {
                    let others: Vec<&str> = CASES.into_iter().filter(|case| *case != held).collect();
                    let other = others[random.below(others.len())];
                    *value = tree::case(other, depth, next, random);
                    self.note(path, Act::Switch(other.to_owned()));
                    self.note(path, Act::Make(tree::leaves_of(kind, value, path)));
                } else if let Value::Variant(_, content) = value
                    && let Value::Map(fields) = content.as_mut()
                {
                    path.push(Step::Case(held));
                    self.in_map(fields, path, depth + 1, may_remove, next, random);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    fn in_keyed(
        &mut self,
        items: &mut Vec<Value>,
        path: &mut Path,
        depth: usize,
        may_remove: bool,
        next: &mut u64,
        random: &mut Random,
    ) {
        let key_of = |item: &Value| item.as_map().and_then(|map| map.get(KEY)?.as_i64()).unwrap_or(0);
        let keys: Vec<i64> = items.iter().map(key_of).collect();
        let free: Vec<i64> = KEYS.filter(|key| !keys.contains(key)).collect();
        let what = random.below(100);
        if (what < 30 || items.is_empty()) && !free.is_empty() {
            let key = free[random.below(free.len())];
            let element = tree::element(key, depth + 1, next, random);
            self.note(path, Act::AddKey(key));
            path.push(Step::Key(key));
            self.note(path, Act::Make(tree::leaves_in(&element, path)));
            path.pop();
            items.insert(random.below(items.len() + 1), element);
            return;
        }
        if items.is_empty() {
            return;
        }
        let at = random.below(items.len());
        if may_remove && what < 45 {
            items.remove(at);
            self.note(path, Act::RemoveKey(keys[at]));
        } else if what < 65 {
            // A move is no one's loss, wherever it ends.
            let item = items.remove(at);
            items.insert(random.below(items.len() + 1), item);
        } else if let Value::Map(element) = &mut items[at] {
            path.push(Step::Key(keys[at]));
            self.in_map(element, path, depth + 1, may_remove, next, random);
            path.pop();
        }
    }
}
