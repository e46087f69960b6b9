use headwater::{Map, Text, Value};

use crate::Random;

/// Syllables of words: few, so that words that have nothing to do with each other share many letters.
const SYLLABLES: [&str; 16] =
    ["ka", "ki", "ko", "ta", "ti", "to", "ma", "mi", "mo", "na", "ni", "no", "sa", "si", "é", "ßu"];
const SEPARATORS: [&str; 5] = [" ", " ", "\n", ", ", "\n\n"];

/// A word of a text, or an element of a list. No two that were ever made have the same word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is known by.
    pub word: String,
    /// What stands behind it in a text.
    pub separator: String,
    /// What a record holds beside its name; 0 as long as nobody has changed it.
    pub number: i64,
}

/// What the items are to the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One text of all words.
    Text,
    /// A list of strings.
    Strings,
    /// A list of maps.
    Records,
}

impl Item {
    pub(crate) fn new(next: &mut u64, random: &mut Random) -> Item {
        let mut left = *next;
        *next += 1;
        let mut word = String::new();
        while left > 0 || word.is_empty() {
            word.push_str(SYLLABLES[(left % 16) as usize]);
            left /= 16;
        }
        // What ends a word begins none, or two words together could be a third one.
        word.push('e');
        let separator = random.pick(&SEPARATORS).copied().unwrap_or(" ").to_owned();
        Item { word, separator, number: 0 }
    }
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 3] = [Form::Text, Form::Strings, Form::Records];

    /// The items as the value of a field.
    pub fn render(self, items: &[Item]) -> Value {
        match self {
            Form::Text => Value::Text(Text::from(text_of(items))),
            Form::Strings => Value::List(items.iter().map(|item| Value::from(item.word.as_str())).collect()),
            Form::Records => {
                let record = |item: &Item| {
                    Value::Map(Map::from([
                        ("done".to_owned(), Value::Bool(false)),
                        ("name".to_owned(), Value::from(item.word.as_str())),
                        ("number".to_owned(), Value::Int(item.number)),
                    ]))
                };
                Value::List(items.iter().map(record).collect())
            }
        }
    }

    /// The items in the value of a field.
    pub(crate) fn parse(self, value: &Value) -> Result<Vec<Item>, String> {
        let item = |word: &str, number| Item { word: word.to_owned(), separator: String::new(), number };
        match (self, value) {
            (Form::Text, Value::Text(text)) => words_of(text),
            (Form::Strings, Value::List(items)) => {
                let word = |value: &Value| value.as_str().map(|word| item(word, 0));
                items.iter().map(word).collect::<Option<_>>().ok_or_else(|| format!("no string: {items:?}"))
            }
            (Form::Records, Value::List(items)) => {
                let record = |value: &Value| {
                    let map = value.as_map()?;
                    let is_whole = map.len() == 3 && map.get("done") == Some(&Value::Bool(false));
                    let number = map.get("number")?.as_i64()?;
                    is_whole.then_some(item(map.get("name")?.as_str()?, number))
                };
                items.iter().map(record).collect::<Option<_>>().ok_or_else(|| format!("no record: {items:?}"))
            }
            _ => Err(format!("another kind: {value:?}")),
        }
    }
}

fn words_of(text: &str) -> Result<Vec<Item>, String> {
    let mut items: Vec<Item> = Vec::new();
    let mut is_in_word = false;
    for letter in text.chars() {
        match (letter.is_alphanumeric(), items.last_mut()) {
            (true, Some(item)) if is_in_word => item.word.push(letter),
            (true, _) => items.push(Item { word: letter.into(), separator: String::new(), number: 0 }),
            (false, Some(item)) => item.separator.push(letter),
            (false, None) => return Err(format!("begins with {letter:?}")),
        }
        is_in_word = letter.is_alphanumeric();
    }
    Ok(items)
}

pub(crate) fn text_of(items: &[Item]) -> String {
    items.iter().flat_map(|item| [item.word.as_str(), &item.separator]).collect()
}
