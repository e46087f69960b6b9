//! The memory of this process, as Linux counts it. Elsewhere everything is zero.

/// What is resident now, in KiB.
pub fn resident_kb() -> u64 {
    status("VmRSS:")
}

/// The most that was resident since [`forget_peak`], in KiB.
pub fn peak_kb() -> u64 {
    status("VmHWM:")
}

/// Begins counting the peak anew, where the system lets us.
pub fn forget_peak() {
    // 5 resets the peak; see proc(5), clear_refs.
    let _refused = std::fs::write("/proc/self/clear_refs", "5").is_err();
}

fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
