//! What stands at a place of a document: a field of a map, or an element of a list.
//!
//! Two devices that are apart can each put something there, and the engine keeps all of it and shows the last. A reader of
//! Headwater sees more: containers of one form that were made apart are one container, and counters add up. So nothing is hidden
//! that somebody wrote into a text, a list or a map, whoever made it first.

use automerge::{ObjId, ObjType, Prop, ReadDoc, ScalarValue, Value as Held};

use crate::document::ViewError;

/// Makes a map a list told apart by the field that it names.
pub(crate) const KEYED_KEY: &str = "_keyed";
/// Makes a map one case of an enum, by its name.
pub(crate) const VARIANT_KEY: &str = "_variant";
/// Makes a map a list of a fixed length, which it holds.
pub(crate) const TUPLE_KEY: &str = "_tuple";
/// Reserved for a set of values, each told by its key.
pub(crate) const SET_KEY: &str = "_set";
/// Where an element of a keyed list stands.
pub(crate) const PLACE_KEY: &str = "_at";
/// Whether an element of a keyed list was removed.
pub(crate) const REMOVED_KEY: &str = "_removed";

/// Names in the maps of a document that no field of an app can have.
pub(crate) const RESERVED_KEYS: [&str; 6] =
    [KEYED_KEY, VARIANT_KEY, TUPLE_KEY, SET_KEY, PLACE_KEY, REMOVED_KEY];

/// A place in a document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// A field of a map: of several that are one, in ascending order of the operations that made them.
    Field {
        maps: &'a [ObjId],
        name: &'a str,
    },
    Element {
        list: &'a ObjId,
        index: usize,
    },
}

/// What a reader sees at a place.
#[derive(Debug)]
pub(crate) enum Shown {
    Scalar(ScalarValue, ObjId),
    /// Counters that add up. `ids` are the operations that made them.
    Counter {
        ids: Vec<ObjId>,
        engine: i64,
    },
    /// Objects of one form that are one container, in ascending order of the operations that made them.
    Container(ObjType, Vec<ObjId>),
}

/// What a map is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Keyed,
    Variant,
    Tuple,
}

impl<'a> Place<'a> {
    /// The field's name. Elements have none.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Place::Field { name, .. } => name,
            Place::Element { .. } => "",
        }
    }

    fn objects(self) -> (&'a [ObjId], Prop) {
        match self {
            Place::Field { maps, name } => (maps, Prop::Map(name.to_owned())),
            Place::Element { list, index } => (std::slice::from_ref(list), Prop::Seq(index)),
        }
    }

    /// Everything that stands here, in ascending order of the operations that put it there.
    pub(crate) fn standing<'d, D: ReadDoc>(
        self,
        document: &'d D,
    ) -> Result<Vec<(Held<'d>, ObjId)>, ViewError> {
        let (objects, prop) = self.objects();
        let mut standing = Vec::new();
        for object in objects {
            standing.extend(document.get_all(object, prop.clone()).map_err(unreadable)?);
        }
        if objects.len() > 1 || standing.len() > 1 {
            standing.sort_by(|(_, a), (_, b)| a.cmp(b));
        }
        Ok(standing)
    }

    /// What a reader sees here; `None` where nothing is.
    pub(crate) fn shown(self, document: &impl ReadDoc) -> Result<Option<Shown>, ViewError> {
        let mut standing = self.standing(document)?;
        if let Place::Field { name: REMOVED_KEY, .. } = self
            && let Some(back) = standing.iter().rposition(|(held, _)| !is_true(held))
        {
            // Adding a key again wins over a removal that did not see it.
            standing.truncate(back + 1);
        }
        let Some((winner, _)) = standing.last() else { return Ok(None) };
        let winner = match winner {
            // Somebody who emptied the place did not see what another put into it meanwhile.
            Held::Scalar(scalar) if **scalar == ScalarValue::Null => {
                standing.iter().rposition(|(held, _)| held.is_object() || is_counter(held))
            }
            _ => None,
        };
        let winner = winner.unwrap_or(standing.len() - 1);
        Ok(Some(match &standing[winner].0 {
            Held::Object(kind) => {
                let kind = *kind;
                let united = self.united(document, &standing, winner, kind)?;
                Shown::Container(kind, united)
            }
            Held::Scalar(scalar) => match &**scalar {
                ScalarValue::Counter(counter) => {
                    let engine = i64::from(counter);
                    let ids = standing.iter().filter(|(held, _)| is_counter(held)).map(|(_, id)| id.clone());
                    Shown::Counter { ids: ids.collect(), engine }
                }
                scalar => Shown::Scalar(scalar.clone(), standing[winner].1.clone()),
            },
        }))
    }

    /// The objects that are one container with the one that wins.
    fn united(
        self,
        document: &impl ReadDoc,
        standing: &[(Held<'_>, ObjId)],
        winner: usize,
        kind: ObjType,
    ) -> Result<Vec<ObjId>, ViewError> {
        let is_tuple = matches!(self, Place::Field { name: TUPLE_KEY, .. });
        let alike = standing.iter().filter(|(held, _)| matches!(held, Held::Object(other) if *other == kind));
        let alike: Vec<&ObjId> = alike.map(|(_, id)| id).collect();
        // The elements of a tuple belong together by their places, and those of two would not.
        if alike.len() == 1 || is_tuple {
            return Ok(vec![standing[winner].1.clone()]);
        }
        if kind != ObjType::Map {
            return Ok(alike.into_iter().cloned().collect());
        }
        let form = form_of(document, &standing[winner].1)?;
        let (mut there, mut removed) = (Vec::new(), Vec::new());
        for object in alike {
            if form_of(document, object)? == form {
                let is_there = is_there(document, object)?;
                if is_there { &mut there } else { &mut removed }.push(object.clone());
            }
        }
        // What was removed counts only where all of it was.
        Ok(if there.is_empty() { removed } else { there })
    }

    /// Whether anything stands here, hidden or not.
    pub(crate) fn is_taken(self, document: &impl ReadDoc) -> Result<bool, ViewError> {
        Ok(!self.standing(document)?.is_empty())
    }
}

fn form_of(document: &impl ReadDoc, map: &ObjId) -> Result<Form, ViewError> {
    for (key, form) in [(KEYED_KEY, Form::Keyed), (VARIANT_KEY, Form::Variant), (TUPLE_KEY, Form::Tuple)] {
        if document.get(map, key).map_err(unreadable)?.is_some() {
            return Ok(form);
        }
    }
    Ok(Form::Plain)
}

/// Whether a map is there, as an element of a keyed list: nobody removed it, or somebody added its key again.
pub(crate) fn is_there(document: &impl ReadDoc, map: &ObjId) -> Result<bool, ViewError> {
    let flags = document.get_all(map, REMOVED_KEY).map_err(unreadable)?;
    Ok(flags.is_empty() || flags.iter().any(|(held, _)| !is_true(held)))
}

fn is_counter(held: &Held<'_>) -> bool {
    matches!(held, Held::Scalar(scalar) if matches!(**scalar, ScalarValue::Counter(_)))
}

fn is_true(held: &Held<'_>) -> bool {
    matches!(held, Held::Scalar(scalar) if **scalar == ScalarValue::Boolean(true))
}

pub(crate) fn unreadable(error: automerge::AutomergeError) -> ViewError {
    ViewError::Unreadable(error.to_string())
}
