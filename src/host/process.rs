//! What the kernel counts of this process: proc(5).
//!
//! Reading /proc waits for no disk.

use std::path::Path;

use super::files;

/// Ticks a second in /proc: `USER_HZ`, 100 on every architecture that Linux and
/// Rust share (Prometheus' own reader takes it for a constant too).
const TICKS: f64 = 100.0;

/// More octets than any of these files has: /proc/stat has some for each
/// interrupt.
const MOST: u64 = 1 << 20;

/// One reading. What the kernel does not tell is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    /// When it began, in Unix time: as the kernel counts it, from the boot on.
    pub started: Option<f64>,
    /// Processor time so far, its own and the kernel's for it, in seconds.
    pub cpu: Option<f64>,
    /// Octets of memory in use.
    pub resident: Option<u64>,
    /// Octets of address space.
    pub virtual_memory: Option<u64>,
    /// Descriptors it may have: the soft limit. None also where there is none.
    pub most_descriptors: Option<u64>,
}

impl Process {
    /// This process now.
    pub(crate) fn read() -> Self {
        let read = |path: &str| {
            let octets = files::read(Path::new(path), MOST).unwrap_or_default();
            String::from_utf8_lossy(&octets).into_owned()
        };
        Self::of(
            &read("/proc/self/stat"),
            &read("/proc/self/status"),
            &read("/proc/self/limits"),
            &read("/proc/stat"),
        )
    }

    fn of(stat: &str, status: &str, limits: &str, system: &str) -> Self {
        // The name of the program may hold blanks and parentheses; behind it
        // stand the fields from the third on.
        let fields: Vec<&str> = match stat.rsplit_once(')') {
            Some((_, rest)) => rest.split_ascii_whitespace().collect(),
            None => Vec::new(),
        };
        let ticks = |nth: usize| fields.get(nth - 3)?.parse::<f64>().ok().map(|t| t / TICKS);
        let line = |text: &str, start: &str| {
            text.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        };
        let octets = |start: &str| {
            let kilobytes = line(status, start)?;
            kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        let booted = line(system, "btime ").and_then(|at| at.trim().parse::<f64>().ok());
        Self {
            started: ticks(22).zip(booted).map(|(after, booted)| booted + after),
            cpu: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            resident: octets("VmRSS:"),
            virtual_memory: octets("VmSize:"),
            most_descriptors: line(limits, "Max open files")
                .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let stat = "4711 (a b) (c) S 1 2 3 4 5 6 7 8 9 10 150 250 0 0 20 0 3 0 12345 1000 200\n";
        let status = "Name:\ta\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        let read = Process::of(stat, status, limits, "cpu 1 2 3\nbtime 1700000000\n");
        assert_eq!(
            read,
            Process {
                started: Some(1_700_000_123.45),
                cpu: Some(4.0),
                resident: Some(1 << 20),
                virtual_memory: Some(2 << 20),
                most_descriptors: Some(1024),
            }
        );
        let none = Process::of("", "VmRSS: many\n", "Max open files  unlimited\n", "btime x\n");
        assert_eq!(none, Process::default());
    }

    #[test]
    fn the_kernel_tells_all_of_this_process() {
        let read = Process::read();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let started = Duration::from_secs_f64(read.started.unwrap());
        assert!(started <= now + Duration::from_secs(2) && started.as_secs() > 1_500_000_000);
        assert!(read.resident.unwrap() > 1 << 20 && read.virtual_memory > read.resident);
        assert!(read.cpu.is_some());
    }
}
