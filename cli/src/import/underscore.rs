//! Names that begin with `_`, which are Headwater's own, in records of programs that use them too.

use std::collections::BTreeMap;

use clap::ValueEnum;
use headwater::Map;

/// How many names are remembered for the report.
const NAMES_MAX: usize = 100;

/// What to do with a field whose name begins with `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Underscore {
    /// Leave the field out.
    Skip,
    /// Call it by what follows the underscores; if that is taken or empty, by that with `field_` in front, as
    /// often as it takes.
    Rename,
}

/// What became of names, for the report: name -> its new one, or `None` where the field was left out.
pub(crate) type Renamed = BTreeMap<String, Option<String>>;

/// Sees to the names of a record that begin with `_`.
///
/// # Errors
/// The first such name, where nobody said what to do with it.
pub(crate) fn settle(
    fields: &mut Map,
    what: Option<Underscore>,
    renamed: &mut Renamed,
) -> Result<(), String> {
    let reserved: Vec<String> = fields.keys().filter(|name| name.starts_with('_')).cloned().collect();
    for name in reserved {
        let what = what.ok_or_else(|| name.clone())?;
        let Some(value) = fields.remove(&name) else { continue };
        let after = match what {
            Underscore::Skip => None,
            Underscore::Rename => {
                let after = free_name(&name, fields);
                fields.insert(after.clone(), value);
                Some(after)
            }
        };
        if renamed.len() < NAMES_MAX {
            renamed.insert(name, after);
        }
    }
    Ok(())
}

fn free_name(name: &str, fields: &Map) -> String {
    let mut after = name.trim_start_matches('_').to_owned();
    while after.is_empty() || fields.contains_key(&after) {
        after.insert_str(0, "field_");
    }
    after
}

#[cfg(test)]
mod tests {
    use headwater::model::map_from_json_text;

    use super::*;

    fn settled(text: &str, what: Option<Underscore>) -> Result<(Vec<String>, Renamed), String> {
        let mut fields = map_from_json_text(text.as_bytes()).unwrap();
        let mut renamed = Renamed::new();
        settle(&mut fields, what, &mut renamed)?;
        Ok((fields.into_keys().collect(), renamed))
    }

    #[test]
    fn a_reserved_name_is_refused_left_out_or_renamed() {
        // Would end an import at the first record of CouchDB or MongoDB, or write one field over another.
        let text = r#"{"_id": 1, "_": 2, "__rev": 3, "rev": 4, "name": {"_inner": 5}}"#;
        assert_eq!(settled(text, None), Err("_".to_owned()));
        let (names, left_out) = settled(text, Some(Underscore::Skip)).unwrap();
        assert_eq!(names, ["name", "rev"]);
        assert_eq!(left_out.len(), 3);
        let (names, renamed) = settled(text, Some(Underscore::Rename)).unwrap();
        assert_eq!(names, ["field_", "field_rev", "id", "name", "rev"]);
        assert_eq!(renamed["__rev"], Some("field_rev".to_owned()));
    }
}
