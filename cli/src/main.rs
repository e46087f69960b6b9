//! `headwater`: a replica from the terminal, for people and scripts.
//!
//! A command travels through the modules in this order: [`args`] says what was asked, [`open`] finds the
//! replica, one of [`edit`], [`read`], [`import`], [`export`], [`relay`], [`status`] and [`care`] does it,
//! [`output`] prints it, [`failure`] turns what went wrong into an exit code. [`stop`] hears of ctrl-c;
//! [`beside`] is how `status` asks a running `watch`.

mod args;
#[cfg(unix)]
mod beside;
mod care;
mod edit;
mod export;
mod failure;
mod import;
mod open;
mod output;
mod read;
mod record;
mod relay;
mod status;
mod stop;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Arguments, Verb};
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::report_parse_error(&error),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // Colours are for people: in a file or a pipe their codes hide the words.
    let is_coloured =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured)
        .init();
    let mut output = Output::new(arguments.options.format());
    match run(arguments, &mut output).and_then(|()| Ok(output.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output.format()),
    }
}

fn run(Arguments { options, verb }: Arguments, output: &mut Output) -> Result<(), Failure> {
    match verb {
        Verb::Init => edit::init(&options, output),
        Verb::Put(put) => edit::put(&options, put, output),
        Verb::Get(entity) => read::get(&options, &entity, output),
        Verb::Set(set) => edit::set(&options, set, output),
        Verb::Rm(entity) => edit::remove(&options, &entity, output),
        Verb::Restore(entity) => edit::restore(&options, &entity, output),
        Verb::Ls(ls) => read::list(&options, &ls, output),
        Verb::Import(import) => import::import(&options, import, output),
        Verb::Export(export) => export::export(&options, &export, output),
        Verb::Sync => relay::sync(&options, output),
        Verb::Watch(watch) => relay::watch(&options, &watch, output),
        Verb::Status => status::status(&options, output),
        Verb::Verify => care::verify(&options, output),
        Verb::Quarantine { action } => care::quarantine(&options, &action, output),
        Verb::Completions(completions) => output.completions(completions.shell),
    }
}
