//! What is printed on standard output: for people, or as JSON for programs.

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use headwater::Record;
use headwater::model::{JsonStyle, json_from_map};
use serde::Serialize;

use crate::args::Arguments;
use crate::failure::Failure;
use crate::record::Outgoing;

/// How many characters of an entity a person sees in a list.
const SUMMARY_CHARS_MAX: usize = 100;

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Human,
    /// Programs.
    Json,
}

/// Standard output.
pub(crate) struct Output {
    format: Format,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Output {
        Output { format, out: BufWriter::new(io::stdout().lock()) }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Prints a result: a line for people, or an object for programs.
    pub(crate) fn result(
        &mut self,
        human: impl FnOnce() -> String,
        json: &impl Serialize,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Human => writeln!(self.out, "{}", human())?,
            Format::Json => self.json_line(json)?,
        }
        Ok(())
    }

    /// Prints one entity by itself.
    pub(crate) fn entity(&mut self, record: &Record) -> Result<(), Failure> {
        let entity = Outgoing { record, style: JsonStyle::Plain };
        match self.format {
            Format::Human => {
                serde_json::to_writer_pretty(&mut self.out, &entity).map_err(io::Error::from)?;
                Ok(self.out.write_all(b"\n")?)
            }
            Format::Json => self.json_line(&entity),
        }
    }

    /// Prints one entity of many.
    pub(crate) fn list_item(&mut self, record: &Record) -> Result<(), Failure> {
        match self.format {
            Format::Human => Ok(writeln!(self.out, "{}  {}", record.id, summary(record))?),
            Format::Json => self.json_line(&Outgoing { record, style: JsonStyle::Plain }),
        }
    }

    /// Prints an object on a line of its own, whatever the format.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        write_json_line(&mut self.out, value)
    }

    pub(crate) fn completions(&mut self, shell: Shell) -> Result<(), Failure> {
        // Into memory first: the generator itself panics when standard output is closed.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "headwater", &mut script);
        Ok(self.out.write_all(&script)?)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says something on stderr that is no result. Nobody may be listening there any more, which is no reason to
/// stop.
pub(crate) fn tell(message: impl std::fmt::Display) {
    let _is_heard = writeln!(io::stderr(), "{message}").is_ok();
}

/// A number of things, as a person says it.
pub(crate) fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Writes an object and a line end.
pub(crate) fn write_json_line(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// The beginning of an entity's fields, on one line.
fn summary(record: &Record) -> String {
    let text = json_from_map(&record.fields, JsonStyle::Plain).to_string();
    match text.char_indices().nth(SUMMARY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
