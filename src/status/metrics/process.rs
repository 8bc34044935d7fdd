//! The process: its build, what it takes of the host, its log.

use std::time::Instant;

use super::page::Page;
use crate::host::descriptors;
use crate::host::log::STDERR;
use crate::host::process::Process;
use crate::source::ec2;
use crate::status::board::{Board, Facts};

pub(super) fn write(page: &mut Page, board: &Board, known: &Facts) {
    build(page);
    process(page);
    descriptors(page, known);
    log(page);
    page.gauge("eipdns_ready", "1: /readyz says so").is(board.ready().is_ok());
}

fn build(page: &mut Page) {
    let ec2 = if ec2::calls().is_some() { "true" } else { "false" };
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("ec2", ec2)];
    page.gauge("eipdns_build_info", "1, with what was built").with(&labels, true);
}

/// As every client library of Prometheus calls them.
fn process(page: &mut Page) {
    let process = Process::read();
    let seconds = "Start of the process in Unix time, as the kernel has it";
    let open = descriptors::open().ok().map(|open| open as u64);
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory in use", process.resident),
        ("process_virtual_memory_bytes", "Address space", process.virtual_memory),
        ("process_open_fds", "File descriptors that are open", open),
        ("process_max_fds", "File descriptors there may be", process.most_descriptors),
    ] {
        if let Some(value) = value {
            page.gauge(name, help).is(value as f64);
        }
    }
    if let Some(started) = process.started {
        page.gauge("process_start_time_seconds", seconds).is(started);
    }
    if let Some(cpu) = process.cpu {
        page.counter("process_cpu_seconds_total", "Processor time, the kernel's included").is(cpu);
    }
}

fn descriptors(page: &mut Page, known: &Facts) {
    let budget = &known.budget;
    page.gauge("eipdns_descriptors_limit", "File descriptors the process may have")
        .is(budget.limit);
    page.gauge("eipdns_descriptors_wanted", "File descriptors this configuration can use")
        .is(budget.wanted);
    // Without /proc nobody knows.
    if let Ok(open) = descriptors::open() {
        page.gauge("eipdns_descriptors_open", "File descriptors it has open").is(open);
    }
    let help = "File descriptors by purpose: how many there are for it";
    let mut shares = page.gauge("eipdns_descriptors_budget", help);
    for (purpose, count) in [
        ("reserve", budget.reserve),
        ("tcp", budget.tcp),
        ("http", budget.http),
        ("upstreams", budget.upstreams),
    ] {
        shares.with(&[("for", purpose)], count);
    }
}

fn log(page: &mut Page) {
    let log = STDERR.status(Instant::now());
    let help = "Log lines left out: stderr was read too slowly";
    page.counter("eipdns_log_lines_dropped_total", help).is(log.dropped);
    let help = "Log lines lost because stderr took none";
    page.counter("eipdns_log_write_errors_total", help).is(log.write_errors);
    page.gauge("eipdns_log_lines_waiting", "Log lines that wait to be written")
        .is(log.waiting as f64);
}
