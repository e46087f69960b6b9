//! The tables, as Markdown.

use std::fmt::Write as _;
use std::path::Path;

use crate::Result;
use crate::figures::{Figures, Unit};
use crate::systems::System;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";
/// What everything is compared with.
const SUBJECT: &str = "headwater";

/// What each system has done when it confirms an edit: the times stand for different promises.
pub(crate) fn promises(systems: &[System]) -> String {
    let mut out = "| | an edit is confirmed when it is |\n| --- | --- |\n".to_owned();
    for System { name, confirms, .. } in systems {
        let _infallible = writeln!(out, "| {name} | {confirms} |");
    }
    out
}

/// One table for each workload: a row for each figure, a column for each system, and how many times Headwater's it is.
pub(crate) fn tables(figures: &Figures) -> String {
    let mut out = String::new();
    for workload in figures.workloads() {
        let rows: Vec<_> = figures.of_workload(workload).filter(|(what, _)| *what != "failed").collect();
        let mut systems: Vec<&str> = Vec::new();
        for (_, of) in &rows {
            systems.extend(of.keys().map(String::as_str));
        }
        systems.sort_unstable_by_key(|system| (*system != SUBJECT, *system));
        systems.dedup();
        let _infallible = writeln!(out, "\n### {workload}\n");
        if !systems.is_empty() {
            let _infallible = writeln!(out, "| | {} |", systems.join(" | "));
            let _infallible = writeln!(out, "| --- |{}", " --- |".repeat(systems.len()));
        }
        for (what, of) in rows {
            let unit = Unit::of(what);
            let subject = of.get(SUBJECT).and_then(|figure| figure.median());
            let cells = systems.iter().map(|system| {
                let median = of.get(*system).and_then(|figure| figure.median());
                median
                    .map_or("-".to_owned(), |value| cell(unit, value, subject.filter(|_| *system != SUBJECT)))
            });
            let cells: Vec<String> = cells.collect();
            let _infallible = writeln!(out, "| {what} | {} |", cells.join(" | "));
        }
        for (system, figure) in figures.of_workload(workload).flat_map(|(_, of)| of) {
            if let Some(why) = figure.failure() {
                let _infallible = writeln!(out, "\n{system}: {why}.");
            }
        }
    }
    out
}

fn cell(unit: Unit, value: f64, subject: Option<f64>) -> String {
    let text = number(unit, value);
    match subject.filter(|subject| *subject > 0.0 && unit != Unit::Percent) {
        Some(subject) => format!("{text} (×{})", short(value / subject)),
        None => text,
    }
}

fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Bytes if value >= 1e6 => format!("{:.2} MB", value / 1e6),
        Unit::Bytes if value >= 1e3 => format!("{:.1} KB", value / 1e3),
        Unit::Bytes => format!("{value:.0} B"),
        Unit::Seconds if value < 0.1 => format!("{} ms", short(value * 1e3)),
        Unit::Seconds => format!("{} s", short(value)),
        Unit::Millis if value < 0.1 => format!("{} µs", short(value * 1e3)),
        Unit::PerSecond => format!("{value:.0}"),
        _ => short(value),
    }
}

/// Three digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v < 0.1 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

/// Puts the tables between the two marks of a document. What stands around them was written by people.
pub(crate) fn write(path: &Path, tables: &str) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let (Some((before, rest)), true) = (text.split_once(BEGIN), text.contains(END)) else {
        return Err(format!("{} lacks the marks {BEGIN} and {END}", path.display()).into());
    };
    let after = rest.split_once(END).map_or("", |(_, after)| after);
    Ok(std::fs::write(path, format!("{before}{BEGIN}\n{tables}\n{END}{after}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_beside_headwaters() {
        // Would publish a ratio that is upside down.
        let mut figures = Figures::default();
        figures.note("W1", "time, s", "headwater", 0.2);
        figures.note("W1", "time, s", "other", 1.0);
        let tables = tables(&figures);
        assert!(tables.contains("| | headwater | other |"), "{tables}");
        assert!(tables.contains("| time, s | 0.20 s | 1.00 s (×5.00) |"), "{tables}");
    }

    #[test]
    fn what_people_wrote_around_the_tables_stays() {
        // Would overwrite the explanations with every run.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("performance.md");
        std::fs::write(&path, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        write(&path, "new").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert!(write(&directory.path().join("none.md"), "new").is_err());
    }
}
