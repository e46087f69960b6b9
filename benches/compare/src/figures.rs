//! What was measured: by workload, by what of it, by system.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// Every figure of a run.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// (workload, what) -> system -> the figure of each round, and why there are fewer than rounds.
    of: BTreeMap<String, BTreeMap<String, Figure>>,
}

/// One figure of one system.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    rounds: Vec<f64>,
    failed: Option<String>,
}

/// What a number counts. In all but one of them, less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
    Bytes,
    Mebibytes,
    Kibibytes,
    PerSecond,
    Percent,
}

impl Unit {
    /// By the end of a figure's name.
    pub(crate) fn of(what: &str) -> Unit {
        match what.rsplit_once(", ").map_or("", |(_, unit)| unit) {
            "ms" => Unit::Millis,
            "bytes" => Unit::Bytes,
            "MiB" => Unit::Mebibytes,
            "KiB" => Unit::Kibibytes,
            "per s" => Unit::PerSecond,
            "%" => Unit::Percent,
            _ => Unit::Seconds,
        }
    }

    pub(crate) fn less_is_better(self) -> bool {
        !matches!(self, Unit::PerSecond | Unit::Percent)
    }
}

impl Figures {
    /// Notes one round's figure. The name of `what` ends with its unit.
    pub(crate) fn note(&mut self, workload: &str, what: &str, system: &str, value: f64) {
        self.figure(workload, what, system).rounds.push(value);
    }

    /// Notes that a workload could not be done.
    pub(crate) fn failed(&mut self, workload: &str, system: &str, why: &str) {
        self.figure(workload, "failed", system).failed = Some(why.to_owned());
    }

    fn figure(&mut self, workload: &str, what: &str, system: &str) -> &mut Figure {
        let key = format!("{workload}|{what}");
        self.of.entry(key).or_default().entry(system.to_owned()).or_default()
    }

    /// The workloads, in order.
    pub(crate) fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.of.keys().filter_map(|key| Some(key.split_once('|')?.0)).collect();
        names.dedup();
        names
    }

    /// What was measured of a workload, with each system's figure.
    pub(crate) fn of_workload<'a>(
        &'a self,
        workload: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a BTreeMap<String, Figure>)> {
        self.of.iter().filter_map(move |(key, figures)| {
            let (of, what) = key.split_once('|')?;
            (of == workload).then_some((what, figures))
        })
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }

    pub(crate) fn read(path: &Path) -> Result<Figures> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

impl Figure {
    /// The middle one of the rounds.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.rounds.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// The least and the most of the rounds.
    fn range(&self) -> Option<(f64, f64)> {
        let least = self.rounds.iter().copied().min_by(f64::total_cmp)?;
        Some((least, self.rounds.iter().copied().max_by(f64::total_cmp)?))
    }

    /// Why it is missing.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

/// How two figures of one run stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Less,
    More,
    /// Some round of one is within the rounds of the other.
    Noise,
}

fn order(one: &Figure, other: &Figure) -> Option<Order> {
    let ((least, most), (other_least, other_most)) = (one.range()?, other.range()?);
    Some(match () {
        () if most < other_least => Order::Less,
        () if least > other_most => Order::More,
        () => Order::Noise,
    })
}

/// Says which orders of two systems differ between two runs. Fails if one is turned round.
pub(crate) fn agree(earlier: &Figures, later: &Figures) -> Result<()> {
    let (mut same, mut noise, mut turned) = (0, 0, Vec::new());
    for (what, systems) in &earlier.of {
        let Some(again) = later.of.get(what) else { continue };
        for (one, other) in pairs(systems) {
            let then = systems.get(one).zip(systems.get(other)).and_then(|(one, other)| order(one, other));
            let now = again.get(one).zip(again.get(other)).and_then(|(one, other)| order(one, other));
            match (then, now) {
                (Some(then), Some(now)) if then == now => same += 1,
                (Some(Order::Noise), Some(_)) | (Some(_), Some(Order::Noise)) => noise += 1,
                (Some(_), Some(_)) => turned.push(format!("{what}: {one} and {other}")),
                _ => {}
            }
        }
    }
    println!(
        "{same} orders of two systems are the same in both runs, {noise} are clear in one only, {} are turned round",
        turned.len()
    );
    turned.iter().for_each(|turned| println!("    {turned}"));
    if turned.is_empty() { Ok(()) } else { Err("the runs do not agree".into()) }
}

fn pairs(systems: &BTreeMap<String, Figure>) -> impl Iterator<Item = (&String, &String)> {
    systems
        .keys()
        .flat_map(move |one| systems.keys().filter(move |other| one < *other).map(move |other| (one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, &[f64])]) -> Figures {
        let mut figures = Figures::default();
        for (system, rounds) in of {
            rounds.iter().for_each(|value| figures.note("W1", "time, s", system, *value));
        }
        figures
    }

    #[test]
    fn only_orders_that_are_clear_in_both_runs_can_contradict_each_other() {
        // Would call noise a disagreement, or a disagreement noise.
        let clear = figures(&[("a", &[1.0, 1.2]), ("b", &[2.0, 2.1])]);
        let noisy = figures(&[("a", &[1.0, 2.05]), ("b", &[2.0, 2.1])]);
        let turned = figures(&[("a", &[3.0, 3.2]), ("b", &[2.0, 2.1])]);
        assert!(agree(&clear, &clear).is_ok());
        assert!(agree(&clear, &noisy).is_ok());
        assert!(agree(&clear, &turned).is_err());
    }

    #[test]
    fn the_median_is_of_all_rounds() {
        // Would publish the best round.
        let figures = figures(&[("a", &[3.0, 1.0, 2.0])]);
        let (_, of) = figures.of_workload("W1").next().unwrap();
        assert_eq!(of["a"].median(), Some(2.0));
    }
}
