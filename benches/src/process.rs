//! What the system says of a process: its memory and its processor time, as Linux counts them. Elsewhere everything is zero.

use std::time::Duration;

/// A process of this machine.
///
/// ```
/// use headwater_benches::process::Process;
/// let me = Process::this();
/// assert_eq!(me.resident_kb() > 0, cfg!(target_os = "linux"));
/// assert_eq!(me.peak_kb() > 0, cfg!(target_os = "linux"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

/// The kernel counts processor time in ticks of 10 ms for whoever asks; see proc(5).
const TICK: Duration = Duration::from_millis(10);

impl Process {
    /// This one.
    pub fn this() -> Process {
        Process::of(std::process::id())
    }

    /// The one with this id.
    pub fn of(pid: u32) -> Process {
        Process { pid }
    }

    /// What is resident now, in KiB.
    pub fn resident_kb(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that was resident since [`Process::forget_peak`], in KiB.
    pub fn peak_kb(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Begins counting the peak anew, where the system lets us.
    pub fn forget_peak(self) {
        // 5 resets the peak; see proc(5), clear_refs.
        let _refused = std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5").is_err();
    }

    /// The processor time of all its threads so far, of the user and of the system.
    pub fn processor_time(self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th fields after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap_or(0));
        TICK * ticks.sum::<u32>()
    }

    fn status(self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    }
}
