//! What the machine has.

use std::fs;
use std::io;
use std::path::Path;
use std::thread::available_parallelism;

use super::super::output::bytes;
use super::{Finding, State};

/// Available memory below which a host with its pools is tight.
const MEMORY_MIN: u64 = 256 << 20;

pub(super) fn processors() -> Finding {
    match available_parallelism() {
        Ok(count) => Finding::ok(
            "machine",
            format!(
                "{count} processor(s), {} {}",
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
        ),
        Err(error) => Finding::bad(
            "machine",
            State::Warning,
            format!("the number of processors is not known: {error}"),
            "nothing: one is assumed",
        ),
    }
}

pub(super) fn memory() -> Finding {
    let available = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo(&text, "MemAvailable"));
    match available {
        Some(available) if available >= MEMORY_MIN => {
            Finding::ok("memory", format!("{} available", bytes(available)))
        }
        Some(available) => Finding::bad(
            "memory",
            State::Warning,
            format!("{} available", bytes(available)),
            "free some: a step may use 64 MiB unless its grant says otherwise",
        ),
        None => Finding::ok("memory", "not known on this system"),
    }
}

/// Whether the kernel makes calls fast: undoing what one wrote is most of what a small call costs.
pub(super) fn page_scan() -> Finding {
    if stepseal_sandbox::has_page_scan() {
        return Finding::ok(
            "kernel",
            "tells which pages a call wrote, so only those are restored",
        );
    }
    Finding::bad(
        "kernel",
        State::Warning,
        "does not tell which pages a call wrote, so all of them are given back and faulted in again",
        "calls work, but slower: Linux 6.7 or newer has PAGEMAP_SCAN (some containers forbid /proc/self/pagemap)",
    )
}

/// Whether the processor could fence memories off by keys. Said and not used: that would pack more of them into less address
/// space, which there is enough of, for a change of keys at each call into a guest.
pub(super) fn protection_keys() -> Finding {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let found = if has_flag(&flags, "ospke") {
        "memory protection keys are there; not used, guard pages fence memories off"
    } else {
        "no memory protection keys; guard pages fence memories off"
    };
    Finding::ok("processor", found)
}

/// Whether the first processor of `/proc/cpuinfo` has a feature.
fn has_flag(cpuinfo: &str, name: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == name))
}

/// Bytes of one line of `/proc/meminfo`, which counts in KiB.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Free bytes for this user on the disk that holds `path`.
pub(super) fn disk_free(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       16384 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), Some(2048 * 1024));
        assert_eq!(meminfo(text, "Mem"), None);
    }

    #[test]
    fn a_feature_is_found_by_its_whole_name() {
        let text = "processor: 0\nflags\t\t: fpu pku ospke\nbugs: spectre\n";
        assert!(has_flag(text, "ospke") && !has_flag(text, "osp") && !has_flag(text, "spectre"));
    }

    #[test]
    fn the_disk_of_the_current_directory_has_a_size() {
        assert!(disk_free(Path::new(".")).is_ok());
        assert!(disk_free(Path::new("no/such/place")).is_err());
    }
}
