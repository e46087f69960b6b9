//! What can be asked on the command line.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use headwater::{CollectionName, EntityId};

use crate::import::Underscore;
use crate::output::Format;
use crate::record::Assignment;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    not done: nothing by that id, a bad line in an import, something that could not be synced, a disk that failed
  2    not understood: an option, an id, a name or a value on the command line
  130  an import was stopped by ctrl-c (143: by SIGTERM), and says how far it came

Values are JSON. What JSON has no type for is an object with one key:
  {\"$text\": \"...\"}       a text that merges letter by letter
  {\"$counter\": 5}        a number to which every device's increments add up
  {\"$bytes\": \"c0ffee\"}   bytes, in hexadecimal
  {\"$timestamp\": 0}      milliseconds since 1970-01-01 UTC
  {\"$float\": \"NaN\"}      a float that is no JSON number: NaN, Infinity, -Infinity
  {\"$map\": {...}}        a map, whatever its only key looks like";

/// A Headwater replica from the terminal: data that lives in a local file and merges with other devices through a relay.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The replica's file. Default: $XDG_DATA_HOME/headwater/replica.redb, or the same below ~/.local/share
    #[arg(long, global = true, value_name = "PATH", env = "HEADWATER_REPLICA")]
    pub(crate) replica: Option<PathBuf>,
    /// The space to work in: a UUID, or a name that stands for one
    #[arg(long, global = true, value_name = "NAME-OR-UUID", default_value = "default")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) space: String,
    /// The relay to sync with, such as ws://127.0.0.1:8787
    #[arg(long, global = true, value_name = "URL", env = "HEADWATER_RELAY")]
    pub(crate) relay: Option<String>,
    /// Print JSON: one object, or one per line where there can be several; errors as {"error": {...}} on stderr
    #[arg(long, global = true)]
    json: bool,
}

impl Options {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Human }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create the replica, or say that it is there
    Init,
    /// Add an entity and print its id
    Put(Put),
    /// Print an entity
    Get(Entity),
    /// Set fields of an entity and leave the others
    Set(Set),
    /// Delete an entity, on every device; `restore` takes it back
    Rm(Entity),
    /// Take the deletion of an entity back
    Restore(Entity),
    /// List the entities of a collection
    Ls(Ls),
    /// Add the records of a file, or bring those that are there up to date
    Import(Import),
    /// Write all entities of a collection as JSON Lines, in ascending order of their ids, for import
    Export(Export),
    /// Exchange changes with the relay once
    Sync,
    /// Stay connected to the relay and print changes as they come, until ctrl-c
    Watch(Watch),
    /// Show what this replica holds and what waits for the relay; beside a running `watch`, also how its connection is
    Status,
    /// Check every stored change, repair what can be repaired, and say what cannot
    Verify,
    /// Changes that are kept apart, because they could not be used
    Quarantine {
        /// What to do with them
        #[command(subcommand)]
        action: Quarantine,
    },
    /// Print the completion script of a shell
    Completions(Completions),
}

/// What to do with changes that are kept apart.
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List them, one line each: hash, entity, reason
    Ls,
    /// Print all that is known of one, and what it had written
    Show {
        /// The change, or the first digits of its hash
        hash: String,
    },
    /// Write what they had written as JSON Lines, one change on each
    Export {
        /// The change, or the first digits of its hash; all of them if left out
        hash: Option<String>,
    },
    /// Make what one had written a new edit, for every device
    Apply {
        /// The change, or the first digits of its hash
        hash: String,
    },
    /// Try to use one after all
    Release {
        /// The change, or the first digits of its hash
        hash: String,
    },
}

/// Arguments of `put`.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Where to put it
    #[arg(value_parser = collection)]
    pub(crate) collection: CollectionName,
    /// Its fields, as a JSON object; a UUID in the field `id` becomes its id
    #[arg(value_name = "JSON")]
    pub(crate) record: String,
}

/// Arguments of the verbs that take one entity.
#[derive(Debug, Args)]
pub(crate) struct Entity {
    /// The collection it is in
    #[arg(value_parser = collection)]
    pub(crate) collection: CollectionName,
    /// Its id
    pub(crate) id: EntityId,
}

/// Arguments of `set`.
#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) entity: Entity,
    /// A field and its new value in JSON, such as rating=4.5 or 'name="Guji"'
    #[arg(value_name = "FIELD=JSON", required = true)]
    pub(crate) assignments: Vec<Assignment>,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The collection
    #[arg(value_parser = collection)]
    pub(crate) collection: CollectionName,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Where to put the records
    #[arg(value_parser = collection)]
    pub(crate) collection: CollectionName,
    /// A file with one JSON object per line, or with one JSON array of objects; `-` for standard input. A UUID in the field `id` is the
    /// entity's id. Any other `id` goes to the field `source_id`, and is recognised when it comes again. What differs is written to
    /// entities that are there
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The field that tells the records apart, in place of `id`
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,
    /// Go on after a record that cannot be stored, and name each on stderr; the exit code is 1 if there was any
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// What to do with fields whose names begin with `_`, which are Headwater's own
    #[arg(long, value_enum)]
    pub(crate) underscore: Option<Underscore>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The collection
    #[arg(value_parser = collection)]
    pub(crate) collection: CollectionName,
    /// Where to write it; standard output if left out or `-`
    pub(crate) file: Option<PathBuf>,
    /// For other programs: a text as a plain string, a counter as a plain number. Imported again, they are no text and counter
    #[arg(long)]
    pub(crate) plain: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Print the changes of this collection only
    #[arg(value_parser = collection)]
    pub(crate) collection: Option<CollectionName>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

fn collection(name: &str) -> Result<CollectionName, headwater::NameError> {
    CollectionName::new(name)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        // Would panic in a person's hands if two arguments had one name.
        Arguments::command().debug_assert();
    }
}
