//! The last words of each benchmark: every figure beside its baseline, and the goal.

use std::time::{Duration, Instant};

/// Times taken of one thing, in the order they came.
///
/// ```
/// use headwater_benches::table::Samples;
/// use std::time::Duration;
/// let samples: Samples = (1..=100).map(Duration::from_millis).collect();
/// assert_eq!(samples.median(), Duration::from_millis(51));
/// assert_eq!(samples.percentile(99), Duration::from_millis(100));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The middle one. Zero if there are none.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The one that `percent` of them are below. Zero if there are none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Samples {
        Samples(samples.into_iter().collect())
    }
}

/// How long `run` took.
pub fn time<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = run();
    (start.elapsed(), value)
}

/// Measures all of `subjects` by turns, so that a noisy stretch of the machine falls on each alike. Each one times itself and is
/// given the number of the round.
pub fn by_turns<const N: usize>(
    rounds: usize,
    mut subjects: [&mut dyn FnMut(usize) -> Duration; N],
) -> [Samples; N] {
    let mut samples: [Samples; N] = std::array::from_fn(|_| Samples::default());
    for round in 0..rounds {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            samples.push(subject(round));
        }
    }
    samples
}

/// One benchmark's figures.
///
/// ```
/// use headwater_benches::table::Table;
/// use std::time::Duration;
/// let table = Table::new("update").goal("1.3 times").row("replica", Duration::from_micros(390)).row("redb", Duration::from_micros(300));
/// assert!(table.to_string().contains("1.30"));
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    goal: String,
    rows: Vec<(String, Duration)>,
    notes: Vec<String>,
}

impl Table {
    /// A table without rows. The first row is the figure, the others are what it is compared with.
    pub fn new(title: &str) -> Table {
        Table { title: title.to_owned(), goal: String::new(), rows: Vec::new(), notes: Vec::new() }
    }

    /// What the figure is to reach.
    #[must_use]
    pub fn goal(mut self, goal: &str) -> Table {
        goal.clone_into(&mut self.goal);
        self
    }

    /// A figure, or a baseline.
    #[must_use]
    pub fn row(mut self, name: &str, time: Duration) -> Table {
        self.rows.push((name.to_owned(), time));
        self
    }

    /// A line below the rows.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Table {
        self.notes.push(note.into());
        self
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.goal.as_str() {
            "" => writeln!(f, "\n== {}", self.title)?,
            goal => writeln!(f, "\n== {} (goal: {goal})", self.title)?,
        }
        let Some((_, figure)) = self.rows.first() else { return Ok(()) };
        for (name, time) in &self.rows {
            let ratio = figure.as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE);
            writeln!(f, "{name:<62} {:>11}  x {ratio:>6.2}", in_unit(*time))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "   {note}"))
    }
}

fn in_unit(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
