//! What `raw` needs of its surroundings, for a relay that is a process of its own.

use std::time::Duration;

use headwater::SpaceId;

pub(crate) const SPACE: &str = "home";

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

/// Where a relay listens.
pub(crate) struct Relay {
    pub(crate) url: String,
}

impl Relay {
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

/// Held by whoever measures memory: the tests are one process.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a process has used: memory at its peak, in KiB, and processor time, in milliseconds. Linux only; zero elsewhere.
pub(crate) fn used(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
    // Behind the name in brackets: state, and 10 more; then user and system time in ticks of 10 ms.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    (peak, ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}
