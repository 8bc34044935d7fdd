//! What is published, how names do, and whether the files are what is served.

use super::page::Page;
use super::unix;
use crate::dns::serial::highest;
use crate::host::aside;
use crate::status::board::{Board, Facts};

pub(super) fn write(page: &mut Page, board: &Board, known: &Facts) {
    names(page, board);
    publishing(page, board, known);
    configuration(page, board, known);
    let help = "1: the state on disk is up to date";
    page.gauge("eipdns_state_writable", help).is(known.state_trouble.is_none());
    let (hanging, not_begun) = aside::hanging();
    page.gauge("eipdns_file_readings_hanging", "Readings of files that do not end").is(hanging);
    let help = "Readings of files not begun because too many hang";
    page.counter("eipdns_file_readings_not_begun_total", help).is(not_begun);
    serials(page, board, known);
}

fn names(page: &mut Page, board: &Board) {
    let views = board.names.of(&board.store.full().snapshot);
    let mut names = page.gauge("eipdns_names", "Bound names that a view sees");
    for view in views.iter() {
        names.with(&[("view", &view.view)], view.names);
    }
    let help = "Bound names without an address: NODATA";
    let mut without = page.gauge("eipdns_names_without_address", help);
    for view in views.iter() {
        without.with(&[("view", &view.view)], view.without_address);
    }
    let help = "Bound names of which no source has said anything yet: SERVFAIL";
    let mut not_ready = page.gauge("eipdns_names_not_ready", help);
    for view in views.iter() {
        not_ready.with(&[("view", &view.view)], view.not_ready);
    }
    let mut pointers = page.gauge("eipdns_pointers", "Addresses of a view that have PTR records");
    for view in views.iter() {
        pointers.with(&[("view", &view.view)], view.pointers);
    }
    let help = "Addresses of a view that have more names than PTR records";
    let mut crowded = page.gauge("eipdns_pointers_crowded", help);
    for view in board.store.full().snapshot.views.iter() {
        crowded.with(&[("view", &view.name)], view.reverse.crowded.len());
    }
    let known = board.known.borrow().moves;
    page.counter("eipdns_moves_total", "Bound names whose answer changed").is(known);
}

fn publishing(page: &mut Page, board: &Board, known: &Facts) {
    let publishing = board.publishing();
    let help = "Unix time at which the current snapshot was published";
    page.gauge("eipdns_published_timestamp_seconds", help).is(unix(board, known.published_at));
    let help = "1: what was delivered last is not answered, because building it failed";
    page.gauge("eipdns_publish_failing", help).is(known.publish_trouble.is_some());
    let help = "Since the last turn of the loop that publishes; beyond 10 it hangs";
    page.gauge("eipdns_publish_loop_turned_seconds", help).is(publishing.turned);
    let help = "Deliveries of sources that wait to be published";
    page.gauge("eipdns_deliveries_waiting", help).is(publishing.waiting);
    let generation = board.store.full().snapshot.generation;
    page.gauge("eipdns_generation", "Snapshots published").is(generation as f64);
    let help = "Time the last snapshot took to build";
    page.gauge("eipdns_build_seconds", help).is(known.built_in.as_secs_f64());
    let help = "From associate-address to answer: poll + 3 s + TTL; of a file: the TTL";
    let worst = known.worst_case().total();
    page.gauge("eipdns_worst_case_seconds", help).is(worst.as_secs_f64());
}

/// The first two as Prometheus has them of its own configuration.
fn configuration(page: &mut Page, board: &Board, known: &Facts) {
    let reloads = &known.reloads;
    let help = "0: the last reload was refused, and the files are not what is served";
    page.gauge("eipdns_config_last_reload_successful", help).is(reloads.trouble.is_none());
    let help = "Unix time at which the configuration in use was taken";
    page.gauge("eipdns_config_last_reload_success_timestamp_seconds", help)
        .is(unix(board, reloads.taken_at));
    let help = "Reloads refused because of the configuration";
    page.counter("eipdns_reloads_refused_total", help).is(reloads.refused);
    let help = "Reloads asked for over HTTP that were turned away, because too many waited";
    page.counter("eipdns_reloads_turned_away_total", help).is(board.asks.turned_away());
}

fn serials(page: &mut Page, board: &Board, known: &Facts) {
    let current = board.store.full();
    let snapshot = &current.snapshot;
    let mut serials =
        page.gauge("eipdns_zone_serial", "Serial of each zone, the highest of all views");
    for zone in &known.config.zones {
        let tables = snapshot.views.iter().filter_map(|view| view.zones.get(zone.origin.octets()));
        let mut of_views = tables.map(|table| table.serial).peekable();
        if of_views.peek().is_some() {
            let serial = highest(of_views);
            serials.with(&[("zone", &zone.origin.to_string())], f64::from(serial));
        }
    }
}
